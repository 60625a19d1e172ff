"""Short copies of the sounds of a run to be played in the page, made of the files themselves when a report is written.

A file can be gone or changed by then: it has a reason instead of a player.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regraft.errors import RegraftError, ResourceError

SECONDS = 10  # of a sound that are kept
_RATE = 16_000  # Hz, at most
_ROOM = 4_000_000  # characters of all sounds together, so that a report can still be sent by mail


@dataclass(frozen=True)
class Recording:
    """The beginning of a sound as a data URI, with how long the whole is; or why there is none."""

    source: str = ""
    seconds: float = 0.0
    gone: str = ""

    @property
    def length(self) -> str:
        """How long it is, and how much of that can be heard."""
        if self.gone:
            return ""
        part = f", of which the first {SECONDS} are kept" if self.seconds > SECONDS else ""
        return f"{self.seconds:.1f} s{part}"


@dataclass
class Recordings:
    """The copies that were made so far; ``fault`` is why none can be made, if so."""

    fault: str = ""
    _room: int = _ROOM
    _made: dict[str, Recording] = field(default_factory=dict, repr=False)

    def copy_of(self, path: Any) -> Recording:
        """The beginning of the sound at ``path``, one channel of 16 bits."""
        if not isinstance(path, str | Path):
            return Recording(gone="has no file")
        if str(path) not in self._made:
            self._made[str(path)] = self._copied(Path(path))
        found = self._made[str(path)]
        if len(found.source) > self._room:
            return Recording(gone="is left out: with it the report would become too large")
        self._room -= len(found.source)  # each time: it stands in the page as often as it is shown
        return found

    def _copied(self, path: Path) -> Recording:
        from regraft.data.sounds import open_sound, playable

        try:
            sound = open_sound(path)
            rate = min(_RATE, sound.rate)
            packed = base64.b64encode(playable(sound.samples(rate)[: SECONDS * rate], rate)).decode("ascii")
        except ResourceError as error:
            self.fault = str(error)
            return Recording(gone="is not played")
        except (ValueError, RegraftError) as error:
            return Recording(gone=str(error).splitlines()[0])
        kind = "wav" if packed.startswith("UklG") else "flac"  # RIFF, in base64
        return Recording(f"data:audio/{kind};base64,{packed}", sound.seconds)
