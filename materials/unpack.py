"""Unpack zip and tar archives; nothing in them can write outside the target folder.

Own code instead of ``extractall``: tarfile's safe filter is missing from the first releases of Python 3.11,
and zipfile renames a dangerous member where we want to refuse the archive.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from materials.errors import DamagedMaterial


def unpack(archive: Path, target: Path) -> Path:
    """Write all files of ``archive`` (zip, wheel, tar, tar.gz, tgz) into ``target`` and return it.

    Raises ``DamagedMaterial`` for a link, a device, an absolute path, a ``..``, or a broken archive.
    """
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    try:
        for name, content in members(archive):
            destination = target / _safe(name, archive)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with destination.open("wb") as file:
                shutil.copyfileobj(content, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DamagedMaterial(f"{archive.name} cannot be unpacked: {error}") from error
    return target


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DamagedMaterial(f"{archive.name} is refused: its member {member.filename!r} is a link.")
            if not member.is_dir():
                with opened.open(member) as content:
                    yield member.filename, content


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            content = opened.extractfile(member) if member.isreg() else None
            if content is None:
                raise DamagedMaterial(f"{archive.name} is refused: its member {member.name!r} is not a plain file.")
            yield member.name, content


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise DamagedMaterial(f"{archive.name} is refused: its member {name!r} leads out of the folder.")
    return path
