"""From the rows of a table to examples."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from regraft.data.cells import Row, broken
from regraft.data.columns import check_keys, recognise
from regraft.data.example import BadRow, Column, Example
from regraft.data.folders import Root, media_of
from regraft.data.table import Source, find_source, locate, read_header, read_table
from regraft.errors import DataError
from regraft.fingerprint import canonical, example_id
from regraft.recipe import DataOptions

_LISTED = 10  # bad rows in a message
_LONGEST_REASON = 300  # characters
_MOST_THREADS = 8  # that open files
_AHEAD = 32  # rows a thread that are read before they are asked for


def read_examples(
    path: str, columns: Sequence[Column], options: DataOptions, *, targets: bool = True
) -> tuple[list[Example], list[BadRow], dict[str, str]]:
    """All examples of a file, its bad rows, and which column was taken for what.

    Raises:
        RecipeError: ``data.columns``, ``data.encoding`` or ``data.delimiter`` asks for what does not exist.
        DataError: the file cannot be read, a column is not found, no row is good, or a row is bad and
            ``data.on_bad_rows`` is "error".
    """
    mapping = find_columns(path, columns, options, targets=targets)
    examples: list[Example] = []
    bad: list[BadRow] = []
    for item in _items(path, columns, options, mapping, targets=targets):
        if isinstance(item, BadRow):
            bad.append(item)
        else:
            examples.append(item)
    if bad and options.on_bad_rows == "error":
        raise DataError(
            _bad_rows(path, bad, total=len(examples) + len(bad)),
            fix="correct them, or leave them out with data.on_bad_rows=skip",
        )
    if bad and not examples:
        raise DataError(_bad_rows(path, bad, total=len(bad)), fix="correct them: no row is good")
    if not examples:
        raise broken(path, 1, "there are no rows", fix="each line below the header is a row")
    return examples, bad, mapping


def stream_examples(
    path: str, columns: Sequence[Column], options: DataOptions, *, targets: bool = False
) -> Iterator[Example | BadRow]:
    """The rows of a file one at a time, for prediction: few are held in memory, a bad row is a value.

    Raises:
        RecipeError, DataError: as :func:`read_examples`, but for bad rows.
    """
    mapping = find_columns(path, columns, options, targets=targets)
    yield from _items(path, columns, options, mapping, targets=targets)


def find_columns(path: str, columns: Sequence[Column], options: DataOptions, *, targets: bool = True) -> dict[str, str]:
    """Which column of a file is taken for what: the task's name, then the file's."""
    check_keys(columns, options)
    source = _source(path, columns)
    header = read_header(path, options, media=source.media)
    if source.is_folder and targets and not options.columns:
        for column in columns:
            if column.required and column.name not in header:  # no synonym counts: a label is not the name of a mask
                raise _unsaid(source, column.name)
    return recognise(header, columns, options, file=source.file, targets=targets, named=source.is_table)


def _source(path: str, columns: Sequence[Column]) -> Source:
    """The table or folder; a folder only where a column opens files."""
    if not any(column.opens for column in columns):
        locate(path)
    return find_source(path, media_of(columns))


def _unsaid(source: Source, name: str) -> DataError:
    """The error for a folder that does not tell what the task has to know of each file."""
    media = source.media
    told = {"classes": "a folder for each class", "masks": "images and masks", "alone": f"{media.several} alone"}
    others = "; or name annotations in COCO, YOLO or VOC form" if name in {"objects", "mask"} else ""
    return DataError(
        f"{source.file} holds {told[source.kind]}; that does not say what the {name!r} of {media.one} is",
        fix=f"name a table with the columns {media.column!r} and {name!r},"
        f" or put one named metadata.csv into it{others}",
    )


def _items(
    path: str, columns: Sequence[Column], options: DataOptions, mapping: Mapping[str, str], *, targets: bool
) -> Iterator[Example | BadRow]:
    read = [column for column in columns if column.name in mapping and (targets or column.role == "input")]
    group = options.group if targets else None
    only = {mapping[column.name] for column in read} | ({group} if group is not None else set())
    source = _source(path, columns)
    rows = read_table(path, options, only=sorted(only), media=source.media)
    opens = any(column.opens for column in read)
    root = _root(source, options) if opens else None
    made = partial(_example, columns=read, mapping=mapping, group=group, source=source, root=root)
    yield from _in_threads(made, rows) if opens else map(made, rows)


def _root(source: Source, options: DataOptions) -> Root:
    """Where paths in cells start: at ``data.images``, or where the table lies."""
    if options.images is None:
        return Root(source.root)
    folder = locate(options.images, folders=True)
    if not folder.is_dir():
        raise DataError(
            f"data.images = {options.images} is not a folder", fix="name the folder that the paths start in"
        )
    return Root(folder)


def _in_threads(
    made: Callable[[Row | BadRow], Example | BadRow], rows: Iterator[Row | BadRow]
) -> Iterator[Example | BadRow]:
    """What is made of each row, in their order: files are decoded side by side, and few rows wait."""
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="opening")
    waiting: deque[Future[Example | BadRow]] = deque()
    try:
        for row in rows:
            waiting.append(pool.submit(made, row))
            if len(waiting) > threads * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _example(
    row: Row | BadRow,
    *,
    columns: Sequence[Column],
    mapping: Mapping[str, str],
    group: str | None,
    source: Source,
    root: Root | None,
) -> Example | BadRow:
    if isinstance(row, BadRow):
        return row
    file = os.path.join(source.file, row.values[source.media.column]) if source.is_folder else source.file
    inputs: dict[str, Any] = {}
    aside: dict[str, Any] = {}
    target = None
    for column in columns:
        cell = row.values[mapping[column.name]]
        if not column.required and _is_missing(cell):
            continue
        try:
            value = _value(column, cell, root)
        except (ValueError, OverflowError) as error:
            return BadRow(file, row.row, mapping[column.name], str(error)[:_LONGEST_REASON])
        if column.role == "input":
            inputs[column.name] = value
        elif column.role == "aside":
            aside[column.name] = value
        else:
            target = value
    belongs = _group(row.values[group]) if group is not None else None
    return Example(example_id(inputs), inputs, target, belongs, file, row.row, aside)


def _value(column: Column, cell: Any, root: Root | None) -> Any:
    """What a cell stands for; a path stands for what is in the file."""
    value = column.parse(cell)
    if column.opens is None or root is None or not isinstance(value, str | os.PathLike):
        return value
    return column.opens(root.find(os.fspath(value)))


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _group(cell: Any) -> str | None:
    """A group's name as text. An empty cell is no group: such a row stands alone."""
    if _is_missing(cell):
        return None
    return canonical(cell).decode() if isinstance(cell, list | dict) else str(cell).strip()


def _bad_rows(path: str, bad: Sequence[BadRow], *, total: int) -> str:
    lines = [f"{path}: {len(bad)} of {total} rows cannot be used", *(f"  {row}" for row in bad[:_LISTED])]
    if len(bad) > _LISTED:
        lines.append(f"  ... and {len(bad) - _LISTED} more")
    return "\n".join(lines)
