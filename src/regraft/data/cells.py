"""Rows as they are read, what a cell may hold, and how a place in a file is named."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from regraft.data.example import BadRow
from regraft.errors import DataError

LONGEST_CELL = 1_000_000  # characters
LONGEST_LINE = 64_000_000  # characters; also of a record in quotes
DEEPEST = 32  # lists and objects inside each other
LARGEST = 10**300  # of whole numbers: a larger one is no float


@dataclass(frozen=True)
class Row:
    """One row of a table: its cells by the name of their column, and where it starts."""

    values: dict[str, Any]
    row: int


def broken(file: str, row: int, problem: str, *, fix: str = "") -> DataError:
    """The error for a file that cannot be read on from ``row``."""
    return DataError(f"{file}, row {row}: {problem}", fix=fix)


def checked(values: Mapping[str, Any], only: Collection[str] | None, *, file: str, row: int) -> Row | BadRow:
    """The wanted cells as a row, or the first that cannot be used. A cell nobody asked for spoils nothing."""
    wanted = {name: values.get(name) for name in only} if only is not None else dict(values)
    for name, value in wanted.items():
        reason = fault(value)
        if reason:
            return BadRow(file, row, name, reason)
    return Row(wanted, row)


def fault(value: Any) -> str | None:
    """What makes a cell unusable, if anything does. Walks lists and objects without recursion."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > DEEPEST:
            return f"is nested more than {DEEPEST} deep"
        reason = _text_fault(item) if isinstance(item, str) else _other_fault(item)
        if reason:
            return reason
        if isinstance(item, dict):
            waiting.extend((inner, depth + 1) for pair in item.items() for inner in pair)
        elif isinstance(item, list):
            waiting.extend((inner, depth + 1) for inner in item)
    return None


def shown(text: object, longest: int = 60) -> str:
    """A value in quotes for a message: one line, escaped, not too long."""
    whole = repr(text[: longest + 1] if isinstance(text, str) else text)
    return whole if len(whole) <= longest + 2 else whole[:longest] + "…" + whole[0]


def _text_fault(text: str) -> str | None:
    if len(text) > LONGEST_CELL:
        return f"has {len(text):,} characters; a cell may have {LONGEST_CELL:,}"
    if "\0" in text:
        return "contains NUL characters: the file is damaged, or in another encoding (data.encoding)"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "contains half a surrogate pair, which is no character"
    return None


def _other_fault(item: Any) -> str | None:
    if isinstance(item, int) and abs(item) >= LARGEST:
        return "is a number of more than 300 digits"
    if isinstance(item, float) and not math.isfinite(item):
        return f"is {item}, not a finite number"
    if item is None or isinstance(item, int | float | list | dict):
        return None
    return f"holds {type(item).__name__}, not text, a number or a list"
