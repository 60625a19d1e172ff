"""Tables: one way to read csv, tsv, JSON lines and parquet, chosen by the file's extension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from regraft.data.cells import LONGEST_CELL, Row, broken, shown
from regraft.data.delimited import delimited_header, delimited_rows
from regraft.data.example import BadRow
from regraft.data.jsonlines import json_header, json_rows
from regraft.errors import DataError
from regraft.recipe import DataOptions, nearest
from regraft.run import cache_root

_DELIMITED = (".csv", ".tsv")
_JSON = (".jsonl", ".ndjson")
_PARQUET = (".parquet",)
EXTENSIONS = (*_DELIMITED, *_JSON, *_PARQUET)

_MATERIALS = "materials:"


def locate(path: str) -> Path:
    """The file that a recipe means: ``materials:vader/movie.csv`` lies in the cache, ``~`` is home.

    Raises:
        DataError: there is no such file, or it is not one that can be read as a table.
    """
    found = _material(path) if path.startswith(_MATERIALS) else _at_home(path)
    try:
        kind = "file" if found.is_file() else "folder" if found.is_dir() else "other" if found.exists() else "none"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if kind == "file":
        return found
    if kind == "none":
        raise DataError(f"{path}: there is no such file", fix=_hint_for_missing(path, found))
    raise DataError(
        f"{path} is not a file but a {'folder' if kind == 'folder' else 'device or pipe'}", fix=_NAME_A_FILE
    )


def read_header(path: str, options: DataOptions) -> list[str]:
    """The names of a table's columns: the first line, or the keys of the first JSON objects.

    Raises:
        DataError: the file cannot be read, or a name is empty or there twice; the message names file and row.
    """
    found, kind = _table(path)
    if kind in _DELIMITED:
        names = delimited_header(found, options, file=path)
    elif kind in _JSON:
        return json_header(found, options, file=path)  # JSON has no double keys, and "" is a key
    else:
        from regraft.data.parquet import parquet_header

        names = parquet_header(found, file=path)
    _check_names(names, path)
    return names


def read_table(path: str, options: DataOptions, *, only: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """The rows of a table, one at a time; a row that cannot be used is a :class:`BadRow`.

    ``only`` names the columns that are wanted; what is in the others is not looked at.

    Raises:
        DataError: the file as a whole cannot be read; the message names file and row.
    """
    found, kind = _table(path)
    if kind in _JSON:
        yield from json_rows(found, options, file=path, only=only)
        return
    read_header(path, options)
    if kind in _DELIMITED:
        yield from delimited_rows(found, options, file=path, only=only)
    else:
        from regraft.data.parquet import parquet_rows

        yield from parquet_rows(found, file=path, only=only)


_NAME_A_FILE = f"name a table: a file that ends in {', '.join(EXTENSIONS)}"


def _table(path: str) -> tuple[Path, str]:
    kind = Path(path).suffix.lower()
    if kind in EXTENSIONS:
        return locate(path), kind
    locate(path)  # a missing file or a folder says so first
    raise DataError(f"{path}: a file that ends in {kind!r} is not a table that can be read", fix=_NAME_A_FILE)


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
