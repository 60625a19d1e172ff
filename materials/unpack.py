"""Unpack zip and tar archives and Debian packages; nothing in them can write outside the target folder.

Own code instead of ``extractall``: tarfile's safe filter is missing from the first releases of Python 3.11,
and zipfile renames a dangerous member where we want to refuse the archive.
"""

from __future__ import annotations

import fnmatch
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from materials.errors import DamagedMaterial


def unpack(archive: Path, target: Path, *, only: Sequence[str] = ("*",)) -> Path:
    """Write the files of ``archive`` (zip, wheel, tar, tar.gz, tgz, deb) into ``target`` and return it.

    Args:
        only: patterns of the members to take, ``*`` standing for slashes too; nothing else is looked at.

    Raises ``DamagedMaterial`` for a link, a device, an absolute path, a ``..``, or a broken archive.
    """
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members

    def wanted(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name.removeprefix("./"), pattern) for pattern in only)

    try:
        for name, content in members(archive, wanted):
            destination = target / _safe(name, archive)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with destination.open("wb") as file:
                shutil.copyfileobj(content, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DamagedMaterial(f"{archive.name} cannot be unpacked: {error}") from error
    return target


def _zip_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if member.is_dir() or not wanted(member.filename):
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DamagedMaterial(f"{archive.name} is refused: its member {member.filename!r} is a link.")
            with opened.open(member) as content:
                yield member.filename, content


def _tar_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with archive.open("rb") as file, tarfile.open(fileobj=_debian_data(file, archive) or file) as opened:
        for member in opened:
            if member.isdir() or not wanted(member.name):
                continue
            content = opened.extractfile(member) if member.isreg() else None
            if content is None:
                raise DamagedMaterial(f"{archive.name} is refused: its member {member.name!r} is not a plain file.")
            yield member.name, content


def _debian_data(file: IO[bytes], archive: Path) -> IO[bytes] | None:
    """The tar with the files of a Debian package, which is itself an ar archive; ``None`` for any other file.

    Each ar member has a header of 60 bytes, its name in the first 16 and its size in decimal in 48 to 58, and
    starts at an even place. https://man7.org/linux/man-pages/man5/deb.5.html
    """
    if file.read(8) != b"!<arch>\n":
        file.seek(0)
        return None
    while len(header := file.read(60)) == 60 and header[48:58].strip().isdigit():
        size = int(header[48:58])
        if header.startswith(b"data.tar"):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, io.SEEK_CUR)
    raise DamagedMaterial(f"{archive.name} cannot be unpacked: it holds no data.tar")


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise DamagedMaterial(f"{archive.name} is refused: its member {name!r} leads out of the folder.")
    return path
