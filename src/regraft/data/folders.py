"""Folders of images or sounds: read as tables; and which file a path in a cell leads to."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from regraft.data.cells import Row, shown
from regraft.data.example import BadRow, Column
from regraft.errors import DataError
from regraft.recipe import nearest

LAYOUTS = {"classes": ["label"], "masks": ["mask"], "alone": []}  # of a folder, and what it says of each file

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "_annotations.coco.json")
_SIDES = {"train": ("train", "training"), "validation": ("validation", "val", "valid"), "test": ("test", "testing")}
_COMPARED = 300  # names in a folder up to which the nearest is looked for
_NAMED = 3  # files in a note


@dataclass(frozen=True)
class Media:
    """What the files of a folder are.

    Attributes:
        column: its name, in the table that a folder is and in the tasks that read such files.
        one: what a file is called, with its article.
        several: what files are called.
        read: how the names of those end that are read.
        endings: these, and the endings of files that are named as what cannot be read.
    """

    column: str
    one: str
    several: str
    read: str
    endings: frozenset[str]

    def names(self, path: str) -> bool:
        """Whether a file is named like one, one that is not read among them; its content shows when it is opened."""
        pure = PurePosixPath(path)
        return pure.suffix.lower() in self.endings and not _hidden(pure.name)


_IMAGES = ".png .jpg .jpeg .jpe .jfif .webp .gif .tif .tiff .bmp .dib .ppm .pgm .pbm .pnm"
_SOUNDS = ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc"
_NO_IMAGES = ".heic .heif .hif .avif .jxl .jp2 .j2k .jpx"
_NO_SOUNDS = ".m4a .m4b .aac .wma .amr .3gp .mp4 .mov .webm .mka .caf .au .w64 .rf64 .sph .ape .wv"
IMAGES = Media("image", "an image", "images", _IMAGES, frozenset(f"{_IMAGES} {_NO_IMAGES}".split()))
SOUNDS = Media("audio", "a sound", "sounds", _SOUNDS, frozenset(f"{_SOUNDS} {_NO_SOUNDS}".split()))


def media_of(columns: Sequence[Column]) -> Media:
    """What files a task reads, by the column that opens them."""
    opened = {column.name for column in columns if column.opens}
    return SOUNDS if SOUNDS.column in opened else IMAGES


class Root:
    """The folder that the paths in cells start from. No path leads to a file outside it, not even by a symlink."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._real = self.folder.resolve()
        self._files: dict[Path, dict[str, str] | None] = {}

    def find(self, name: str) -> Path:
        """The file that a cell names, inside the folder.

        Raises:
            ValueError: it leads out of the folder, or to no file; with the nearest name.
        """
        if "://" in name:
            raise ValueError(f"is an address: {shown(name)}; fetch the file into the data folder first")
        named = self.folder / name
        try:
            real = named.resolve()
        except (OSError, RuntimeError):
            raise ValueError(f"names no file: {shown(name)} is a symlink to itself") from None
        if not real.is_relative_to(self._real):
            raise ValueError(f"leads out of the data folder {self.folder}: {shown(name)} (data.images names another)")
        if not os.path.isfile(real):
            raise ValueError(f"names no file: {shown(name)}{self._hint(named)}")
        return named

    def _hint(self, named: Path) -> str:
        """The file beside it that may be meant: one that differs in case or ending only, or the nearest."""
        if named.parent not in self._files:
            self._files[named.parent] = _files_by_stem(named.parent)
        beside = self._files[named.parent]
        if beside is None:
            return f"; there is no folder {named.parent}"
        same = beside.get(named.stem.casefold())
        near = same or (nearest(named.name, beside.values()) if len(beside) <= _COMPARED else None)
        return f"; did you mean {shown(near)}?" if near else ""


def metadata_in(folder: Path, *, file: str) -> str | None:
    """The name of the table that says what the files of a folder are, if there is one.

    Raises:
        DataError: there are several.
    """
    found = [name for name in _METADATA if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{file} holds {' and '.join(found)}", fix="name the one that counts, or take the others away")
    return found[0] if found else None


def sides_in(folder: Path, *, file: str) -> dict[str, str]:
    """The folders in a folder that are sides of a split: train, and validation or test; none where it has none.

    Raises:
        DataError: two folders are the same side, such as val and valid.
    """
    names = [entry.name for entry in _listed(folder) if entry.is_dir() and not _hidden(entry.name)]
    sides: dict[str, str] = {}
    for side, known in _SIDES.items():
        found = [name for name in names if name.lower() in known]
        if len(found) > 1:
            raise DataError(f"{file} holds the folders {' and '.join(found)}", fix=f"name the one that is the {side}")
        if found:
            sides[side] = os.path.join(file, found[0])
    whole = len(sides) > 1 or len(names) == 1
    return sides if "train" in sides and whole else {}


def media_in(folder: Path) -> Media:
    """What the files of a folder are, for those who do not ask for the one or the other."""
    names = [found.path for found in _walk(folder)]
    return SOUNDS if any(map(SOUNDS.names, names)) and not any(map(IMAGES.names, names)) else IMAGES


def layout(folder: Path, media: Media, *, file: str) -> str:
    """What a folder is: images with masks, a folder per class, or files and nothing more.

    Raises:
        DataError: it holds no such files, or the sides of a split.
    """
    if media is IMAGES and (folder / "images").is_dir() and (folder / "masks").is_dir():
        return "masks"
    sides = sides_in(folder, file=file)
    if sides:
        raise DataError(f"{file} holds the folders of a split", fix=f"name one: {', '.join(sides.values())}")
    if any(media.names(found.path) for label in _classes(folder) for found in _walk(folder, label)):
        return "classes"
    if any(media.names(found.path) for found in _walk(folder)):
        return "alone"
    raise DataError(
        f"{file} is not a file but a folder, and one without {media.several}",
        fix=f"name a table, or a folder of files that end in {media.read}",
    )


def folder_rows(
    folder: Path, kind: str, media: Media, *, file: str, only: Collection[str] | None = None
) -> Iterator[Row | BadRow]:
    """A row a file, sorted by path and numbered from 1; its cells are paths that start from the folder."""
    rows = {"classes": _of_classes, "masks": _of_masks, "alone": _named}[kind](folder, media)
    for number, found in zip(count(1), rows, strict=False):
        at = os.path.join(file, found.path)
        if found.fault or not _is_text(found.path):
            reason = found.fault or "has a name that is not UTF-8"
            yield BadRow(_spelt(at), number, found.column, reason)
        else:
            told = {"label": found.label, "mask": found.mask}
            wanted = {name: told[name] for name in LAYOUTS[kind] if only is None or name in only}
            yield Row({media.column: found.path, **wanted}, number)


def folder_remarks(folder: Path, kind: str, media: Media, *, file: str) -> list[str]:
    """What of a folder is passed over."""
    within = ("images", "masks") if kind == "masks" else _classes(folder) if kind == "classes" else ("",)
    files = [found for part in within for found in _walk(folder, part, hidden=True)]
    other = [found.path for found in files if not media.names(found.path)]
    notes = _passed_over(other, file, f"not named like {media.one}")
    if kind == "classes":
        beside = [entry.name for entry in _listed(folder) if entry.is_file() and media.names(entry.name)]
        notes += _passed_over(beside, file, "in no folder of a class")
        full = {found.path.split("/")[0] for found in files if media.names(found.path)}
        empty = [label for label in _classes(folder) if label not in full]
        notes += [f"{file}: there are no {media.several} in {', '.join(map(shown, empty))}."] if empty else []
    if kind == "masks":
        known = {_stem(found.path) for found in _named(folder, media, "images")}
        lone = [found.path for found in _named(folder, media, "masks") if _stem(found.path) not in known]
        notes += _passed_over(lone, file, "without an image of that name")
    return notes


@dataclass(frozen=True)
class _File:
    """A file by its path from the folder that is read, and what is wrong with it, if anything is."""

    path: str
    label: str | None = None
    mask: str | None = None
    fault: str = ""
    column: str | None = None


def _named(folder: Path, media: Media, below: str = "") -> Iterator[_File]:
    """The files below a folder that are named like its media, and what keeps some from being reached."""
    return (found for found in _walk(folder, below) if found.fault or media.names(found.path))


def _of_classes(folder: Path, media: Media) -> Iterator[_File]:
    for label in _classes(folder):
        for found in _named(folder, media, label):
            yield _File(found.path, label=label, fault=found.fault)


def _of_masks(folder: Path, media: Media) -> Iterator[_File]:
    masks: dict[str, list[_File]] = {}
    for mask in _named(folder, media, "masks"):
        masks.setdefault(_stem(mask.path), []).append(mask)
    for image in _named(folder, media, "images"):
        same = masks.get(_stem(image.path), [])
        if image.fault:
            yield image
        elif len(same) == 1:
            mask = same[0]
            fault = f"{shown(mask.path)} {mask.fault}" if mask.fault else ""
            yield _File(image.path, mask=mask.path, fault=fault, column="mask" if fault else None)
        else:
            several = f"has several masks: {', '.join(shown(mask.path) for mask in same)}"
            fault = several if same else "has no mask: no file below masks has its name"
            yield _File(image.path, fault=fault, column="mask")


def _classes(folder: Path) -> list[str]:
    return [entry.name for entry in _listed(folder) if entry.is_dir() and not _hidden(entry.name)]


def _walk(folder: Path, below: str = "", *, hidden: bool = False, above: tuple[Path, ...] = ()) -> Iterator[_File]:
    """All files below ``below``, sorted. A symlink is followed inside ``folder`` only, and never in a circle."""
    real = (folder / below).resolve()
    if not real.is_relative_to(folder.resolve()):
        yield _File(below, fault="leads out of the data folder")
        return
    if real in above or (below and real == folder.resolve()):
        yield _File(below, fault="is a symlink to a folder that it lies in")
        return
    try:
        entries = _listed(folder / below)
    except OSError as error:
        yield _File(below, fault=f"cannot be read: {error.strerror or error}")
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if _hidden(entry.name):
            if hidden:
                yield _File(path)
        elif entry.is_dir():
            yield from _walk(folder, path, hidden=hidden, above=(*above, real))
        else:
            yield _File(path)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _stem(path: str) -> str:
    """The path below its first folder, without ending."""
    return str(PurePosixPath(*PurePosixPath(path).parts[1:]).with_suffix(""))


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _spelt(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _passed_over(paths: list[str], file: str, which: str) -> list[str]:
    if not paths:
        return []
    named = ", ".join(_spelt(path) for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    files, are = ("1 file", "is") if len(paths) == 1 else (f"{len(paths)} files", "are")
    return [f"{file}: {files} {which} {are} passed over: {named}{more}."]


def _files_by_stem(folder: Path) -> dict[str, str] | None:
    """The files of a folder by their names in small letters and without ending; None where there is no folder."""
    try:
        return {Path(entry.name).stem.casefold(): entry.name for entry in _listed(folder) if entry.is_file()}
    except OSError:
        return None
