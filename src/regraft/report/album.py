"""Small copies of the images of a run, made of the files themselves when a report is written.

A file can be gone or changed by then: it has a reason instead of a picture.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regraft.errors import RegraftError, ResourceError


@dataclass(frozen=True)
class Print:
    """A small copy as a data URI, with the size of the file's upright image; or why there is none."""

    source: str = ""
    width: int = 0
    height: int = 0
    gone: str = ""


@dataclass
class Album:
    """The prints that were made so far; ``fault`` is why none can be made, if so."""

    fault: str = ""
    _made: dict[tuple[str, int], Print] = field(default_factory=dict, repr=False)

    def print_of(self, path: Any, size: int) -> Print:
        """A copy of the image at ``path`` with no side above ``size`` pixels."""
        if not isinstance(path, str):
            return Print(gone="has no file")
        if (path, size) not in self._made:
            self._made[path, size] = self._print(Path(path), size)
        return self._made[path, size]

    def _print(self, path: Path, size: int) -> Print:
        from regraft.data.pictures import open_picture, thumbnail

        try:
            picture = open_picture(path)
            return Print(data_uri(thumbnail(picture, size)), picture.width, picture.height)
        except ResourceError as error:
            self.fault = str(error)
            return Print(gone="is not shown")
        except (ValueError, RegraftError) as error:
            return Print(gone=str(error).splitlines()[0])


def data_uri(packed: bytes) -> str:
    """The bytes of a PNG, JPEG or WebP as an address that holds them."""
    kind = "png" if packed.startswith(b"\x89PNG") else "webp" if packed.startswith(b"RIFF") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(packed).decode('ascii')}"
