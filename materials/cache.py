"""The cache folder: a material stands in it whole or not at all.

A material is built in a temporary folder beside its place and then renamed, so a reader never sees half of
one and processes that build the same one do not disturb each other: the first to finish wins, the others
drop theirs. ``materials.json`` inside names what it was made of and each file's size and hash. Nothing is
synced to disk: after a power cut the sizes no longer agree and the material is built again.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from regraft.fingerprint import file_sha256
from regraft.run import cache_root

MANIFEST = "materials.json"
_STALE_SECONDS = 24 * 3600


def folder(name: str) -> Path:
    """Where the material ``name`` is, or would be."""
    return cache_root() / "materials" / name


def is_whole(place: Path, origin: Mapping[str, Any]) -> bool:
    """Whether ``place`` holds all files of a material made of ``origin``. Compares sizes only."""
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        same = all(manifest[key] == value for key, value in origin.items())
        return same and all((place / name).stat().st_size == file["size"] for name, file in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def build(
    place: Path,
    origin: Mapping[str, Any],
    fill: Callable[[Path, Path], None],
    *,
    force: bool = False,
) -> None:
    """Make the material at ``place``.

    ``fill(target, scratch)`` writes the files into ``target``; ``scratch`` is for downloads and unpacked
    archives. ``origin`` goes into the manifest and is what ``is_whole`` compares. If the same material has
    come to stand there meanwhile, it stays, unless ``force``.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as temporary:
        target, scratch = Path(temporary, "target"), Path(temporary, "scratch")
        target.mkdir()
        scratch.mkdir()
        fill(target, scratch)
        _write_manifest(target, origin)
        if force or not is_whole(place, origin):
            _publish(target, place, aside=Path(temporary, "replaced"))


def _write_manifest(target: Path, origin: Mapping[str, Any]) -> None:
    files = {
        path.relative_to(target).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({**origin, "files": files}, indent=2, ensure_ascii=False)
    (target / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _publish(target: Path, place: Path, aside: Path) -> None:
    """Rename ``target`` to ``place``; an older folder there is moved ``aside`` first.

    Another process may publish between the two renames. What it put there is just as good, so it stays.
    """
    with suppress(FileNotFoundError):
        place.rename(aside)
    try:
        target.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _sweep(place: Path) -> None:
    """Remove what killed processes left behind; a day old, so that none that still runs is touched."""
    for left in place.parent.glob(f".{place.name}-*"):
        try:
            stale = time.time() - left.stat().st_mtime > _STALE_SECONDS
        except FileNotFoundError:
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)
