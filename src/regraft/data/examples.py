"""From the rows of a table to examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regraft.data.cells import Row, broken
from regraft.data.columns import check_keys, recognise
from regraft.data.example import BadRow, Column, Example
from regraft.data.table import read_header, read_table
from regraft.errors import DataError
from regraft.fingerprint import canonical, example_id
from regraft.recipe import DataOptions

_LISTED = 10  # bad rows in a message
_LONGEST_REASON = 300  # characters


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
    """The rows of a file one at a time, for prediction: nothing is held in memory, a bad row is a value.

    Raises:
        RecipeError, DataError: as :func:`read_examples`, but for bad rows.
    """
    mapping = find_columns(path, columns, options, targets=targets)
    yield from _items(path, columns, options, mapping, targets=targets)


def find_columns(path: str, columns: Sequence[Column], options: DataOptions, *, targets: bool = True) -> dict[str, str]:
    """Which column of a file is taken for what: the task's name, then the file's."""
    check_keys(columns, options)
    return recognise(read_header(path, options), columns, options, file=path, targets=targets)


def _items(
    path: str, columns: Sequence[Column], options: DataOptions, mapping: Mapping[str, str], *, targets: bool
) -> Iterator[Example | BadRow]:
    read = [column for column in columns if column.name in mapping and (targets or column.role == "input")]
    group = options.group if targets else None
    only = {mapping[column.name] for column in read} | ({group} if group is not None else set())
    for row in read_table(path, options, only=sorted(only)):
        yield row if isinstance(row, BadRow) else _example(row, read, mapping, group=group, file=path)


def _example(
    row: Row, columns: Sequence[Column], mapping: Mapping[str, str], *, group: str | None, file: str
) -> Example | BadRow:
    inputs: dict[str, Any] = {}
    target = None
    for column in columns:
        cell = row.values[mapping[column.name]]
        if not column.required and _is_missing(cell):
            continue
        try:
            value = column.parse(cell)
        except (ValueError, OverflowError) as error:
            return BadRow(file, row.row, mapping[column.name], str(error)[:_LONGEST_REASON])
        if column.role == "input":
            inputs[column.name] = value
        else:
            target = value
    belongs = _group(row.values[group]) if group is not None else None
    return Example(example_id(inputs), inputs, target, belongs, file, row.row)


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
