"""csv and tsv: quoted newlines keep exact line numbers, and a spoiled row costs that row alone."""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from regraft.data.cells import LONGEST_LINE, Row, broken, checked, shown
from regraft.data.example import BadRow
from regraft.data.text import Lines, open_lines
from regraft.errors import RecipeError
from regraft.recipe import DataOptions

_DELIMITERS = ",;\t|"
_FIELD_LIMIT = threading.Lock()  # csv keeps one limit for the whole process


def delimited_header(path: Path, options: DataOptions, *, file: str) -> list[str]:
    """The names of the columns: the first line that is not blank."""
    lines = Lines(open_lines(path, file=file, encoding=options.encoding))
    return _header(lines, _delimiter(lines, path, options), file)


def delimited_rows(
    path: Path, options: DataOptions, *, file: str, only: Collection[str] | None
) -> Iterator[Row | BadRow]:
    """The rows below the header; each starts at the physical line that it is numbered by."""
    lines = Lines(open_lines(path, file=file, encoding=options.encoding))
    delimiter = _delimiter(lines, path, options)
    header = _header(lines, delimiter, file)
    for row, cells in _records(lines, delimiter):
        if isinstance(cells, str):
            yield BadRow(file, row, None, cells)
        elif len(cells) != len(header):
            yield BadRow(file, row, None, _ragged(len(cells), len(header), delimiter))
        else:
            yield checked(dict(zip(header, cells, strict=True)), only, file=file, row=row)


def _records(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each record: the number of its first line, and its cells or what is wrong. Blank lines are skipped."""
    while True:
        row = lines.mark()
        try:
            cells = _next_record(lines, delimiter)
        except StopIteration:
            return
        except csv.Error as error:
            lines.rewind(keep=1)
            yield row, _explained(str(error), delimiter)
            continue
        if not lines.blank():
            yield row, cells


def _next_record(lines: Lines, delimiter: str) -> list[str]:
    """One record. The limit that csv puts on a cell is lifted for this call only."""
    with _FIELD_LIMIT:
        before = csv.field_size_limit(2 * LONGEST_LINE + 2)
        try:
            return next(csv.reader(lines, delimiter=delimiter, strict=True))
        finally:
            csv.field_size_limit(before)


def _header(lines: Lines, delimiter: str, file: str) -> list[str]:
    row, cells = next(_records(lines, delimiter))  # there is one: open_lines raises where all lines are blank
    if isinstance(cells, str):
        raise broken(file, row, f"the header {cells}")
    names = [cell.strip() for cell in cells]
    if "\0" in "".join(names):
        raise broken(
            file,
            row,
            "the header contains NUL characters",
            fix="is it text? data.encoding says how it is encoded",
        )
    return names


def _delimiter(lines: Lines, path: Path, options: DataOptions) -> str:
    if options.delimiter is not None:
        return _chosen(options.delimiter)
    if path.suffix.lower() == ".tsv":
        return "\t"
    lines.mark()
    line = next((line for line in lines if line.strip()), "")
    lines.rewind(keep=0)
    outside = Counter("".join(line.split('"')[0::2]))
    return max(_DELIMITERS, key=lambda delimiter: outside[delimiter])  # the first of equals


def _chosen(delimiter: str) -> str:
    delimiter = "\t" if delimiter in {"\\t", "tab"} else delimiter
    if len(delimiter) != 1 or delimiter in '\r\n"\0':
        raise RecipeError(
            f"data.delimiter = {shown(delimiter)} cannot separate cells",
            fix="give one character: , ; | or \\t for tab",
        )
    return delimiter


def _ragged(found: int, expected: int, delimiter: str) -> str:
    cells = f"{found} cell{'s' if found != 1 else ''}"
    hint = f" (a cell that contains {delimiter!r} belongs in double quotes)" if found > expected else ""
    return f"has {cells}, the header has {expected}{hint}"


def _explained(problem: str, delimiter: str) -> str:
    if "unexpected end of data" in problem:
        return "has a double quote that is never closed"
    if "expected after" in problem:
        return f'has text after a closing quote, where {delimiter!r} belongs (a quote in a cell is written "")'
    return f"is not valid csv: {problem}"
