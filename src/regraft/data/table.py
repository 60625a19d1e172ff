"""Tables: one way to read csv, tsv, JSON lines and parquet, by the file's extension.

To those who have images or sounds, a folder is a table too; of images, so are annotations in COCO, YOLO or VOC form.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regraft.data.annotations import header as annotated_header
from regraft.data.annotations import kind as annotation_kind
from regraft.data.annotations import remarks as annotated_remarks
from regraft.data.annotations import root as annotated_root
from regraft.data.annotations import rows as annotated_rows
from regraft.data.cells import LONGEST_CELL, Row, broken, shown
from regraft.data.delimited import delimited_header, delimited_rows
from regraft.data.example import BadRow
from regraft.data.folders import IMAGES, LAYOUTS, Media, folder_remarks, folder_rows, layout, media_in, metadata_in
from regraft.data.jsonlines import json_header, json_rows
from regraft.errors import DataError
from regraft.recipe import DataOptions, nearest
from regraft.run import cache_root

_DELIMITED = (".csv", ".tsv")
_JSON = (".jsonl", ".ndjson")
_PARQUET = (".parquet",)
EXTENSIONS = (*_DELIMITED, *_JSON, *_PARQUET)

_MATERIALS = "materials:"


@dataclass(frozen=True)
class Source:
    """What a recipe means by a path: ``file`` as messages name it, where it lies, and how it is read.

    ``kind`` is the extension of a table, the layout of a folder, or the kind of its annotations. ``root`` is the
    folder that the paths in its cells start from. ``media`` is what the files of a folder are.
    """

    file: str
    path: Path
    kind: str
    root: Path
    media: Media = IMAGES

    @property
    def is_table(self) -> bool:
        """Whether it is a file with rows, and columns that its author named."""
        return self.kind in EXTENSIONS

    @property
    def is_folder(self) -> bool:
        """Whether each row is a file of its own."""
        return self.kind in LAYOUTS


def find_source(path: str, media: Media | None = None) -> Source:
    """The table that a path leads to, or the folder of images or sounds.

    Args:
        media: which files of a folder count; None for those that are there.

    Raises:
        DataError: there is nothing, or nothing that can be read.
    """
    found = locate(path, folders=True)
    suffix = Path(path).suffix.lower()
    if found.is_file() and suffix in EXTENSIONS:
        return Source(path, found, suffix, found.parent)
    table = metadata_in(found, file=path)
    if table is not None:
        return find_source(os.path.join(path, table))
    annotated = annotation_kind(found) if media in {None, IMAGES} else None
    if annotated is not None:
        return Source(path, found, annotated, annotated_root(found))
    if found.is_dir():
        media = media or media_in(found)
        return Source(path, found, layout(found, media, file=path), found, media)
    raise DataError(f"{path}: a file that ends in {suffix!r} is not a table that can be read", fix=_NAME_A_FILE)


def locate(path: str, *, folders: bool = False) -> Path:
    """The file that a recipe means: ``materials:vader/movie.csv`` lies in the cache, ``~`` is home.

    Args:
        folders: whether it may be a folder.

    Raises:
        DataError: there is no such file, or it is not one that can be read as a table.
    """
    found = _material(path) if path.startswith(_MATERIALS) else _at_home(path)
    try:
        kind = "file" if found.is_file() else "folder" if found.is_dir() else "other" if found.exists() else "none"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if kind == "file" or (folders and kind == "folder"):
        return found
    if kind == "none":
        raise DataError(f"{path}: there is no such file", fix=_hint_for_missing(path, found))
    raise DataError(
        f"{path} is not a file but a {'folder' if kind == 'folder' else 'device or pipe'}", fix=_NAME_A_FILE
    )


def read_header(path: str, options: DataOptions, *, media: Media | None = None) -> list[str]:
    """The names of a table's columns: the first line, or the keys of the first JSON objects; ``media`` of a folder.

    Raises:
        DataError: the file cannot be read, or a name is empty or there twice; the message names file and row.
    """
    source = find_source(path, media)
    if source.is_folder:
        return [source.media.column, *LAYOUTS[source.kind]]
    if not source.is_table:
        return annotated_header(source.path, file=source.file)
    if source.kind in _JSON:
        return json_header(source.path, options, file=source.file)  # JSON has no double keys, and "" is a key
    if source.kind in _DELIMITED:
        names = delimited_header(source.path, options, file=source.file)
    else:
        from regraft.data.parquet import parquet_header

        names = parquet_header(source.path, file=source.file)
    _check_names(names, source.file)
    return names


def read_table(
    path: str, options: DataOptions, *, only: Collection[str] | None = None, media: Media | None = None
) -> Iterator[Row | BadRow]:
    """The rows of a table, one at a time; a row that cannot be used is a :class:`BadRow`.

    ``only`` names the columns that are wanted; what is in the others is not looked at. ``media`` are the files that
    count in a folder.

    Raises:
        DataError: the file as a whole cannot be read; the message names file and row.
    """
    source = find_source(path, media)
    if source.is_folder:
        yield from folder_rows(source.path, source.kind, source.media, file=source.file, only=only)
    elif not source.is_table:
        yield from annotated_rows(source.path, file=source.file, only=only)
    elif source.kind in _JSON:
        yield from json_rows(source.path, options, file=source.file, only=only)
    else:
        yield from _named_rows(source, options, only)


def remarks(path: str, media: Media | None = None) -> list[str]:
    """What a folder holds that is not read, and what annotations leave out."""
    source = find_source(path, media)
    if not source.is_table and not source.is_folder:
        return annotated_remarks(source.path, file=source.file)
    return folder_remarks(source.path, source.kind, source.media, file=source.file) if source.is_folder else []


_NAME_A_FILE = f"name a table: a file that ends in {', '.join(EXTENSIONS)}; a json file only as COCO writes it"


def _named_rows(source: Source, options: DataOptions, only: Collection[str] | None) -> Iterator[Row | BadRow]:
    """The rows of a table with a header, which is looked at first."""
    read_header(source.file, options)
    if source.kind in _DELIMITED:
        yield from delimited_rows(source.path, options, file=source.file, only=only)
    else:
        from regraft.data.parquet import parquet_rows

        yield from parquet_rows(source.path, file=source.file, only=only)


def _check_names(names: Sequence[str], file: str) -> None:
    for number, name in enumerate(names, start=1):
        if not name.strip():
            fix = "give it a name in the header" + (
                "; pandas writes such a column unless told to_csv(..., index=False)" if number == 1 else ""
            )
            raise broken(file, 1, f"column {number} of {len(names)} has no name", fix=fix)
        if len(name) > LONGEST_CELL:
            raise broken(file, 1, f"the name of column {number} has {len(name):,} characters")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise broken(file, 1, f"the header has the column {shown(twice)} twice", fix="rename one of them")


def _at_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{path}: there is no such home folder", fix="write the path in full") from None


def _material(path: str) -> Path:
    inside = Path(path.removeprefix(_MATERIALS))
    if inside.is_absolute() or ".." in inside.parts:
        raise DataError(f"{path} leads out of the materials", fix="write materials:NAME/FILE, or the path of the file")
    return cache_root() / "materials" / inside


def _hint_for_missing(path: str, found: Path) -> str:
    if path.startswith(_MATERIALS):
        name = path.removeprefix(_MATERIALS).split("/")[0]
        return f"fetch it with `python -m materials {name}`"
    try:
        beside = [entry.name for entry in found.parent.iterdir()]
    except OSError:
        return f"there is no folder {found.parent} either"
    near = nearest(found.name, beside)
    return f"did you mean {found.parent / near}?" if near else "check the path; it starts from the folder you are in"
