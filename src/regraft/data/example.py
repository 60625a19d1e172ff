"""The nouns of data: an example, a bad row, and the columns that a task reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Column:
    """A column that a task reads.

    ``parse`` turns a cell (text from a csv; text, number, list or None from jsonl and parquet) into the value
    the task works with, or raises ValueError with what is wrong, for example ``ValueError("is empty")``.
    What stands ``aside`` is neither asked about nor answered: it is for training alone.

    Where ``opens`` is given, ``parse`` gives the path of a file inside the data folder, and ``opens`` looks at the
    whole of that file and gives the value, or raises ValueError. It is called from several threads.
    """

    name: str
    role: Literal["input", "target", "aside"]
    parse: Callable[[Any], Any]
    synonyms: tuple[str, ...] = ()
    required: bool = True
    opens: Callable[[Path], Any] | None = None


@dataclass(frozen=True)
class Example:
    """A row: inputs, target, the group it belongs to, and where it came from.

    ``id`` is the hash of the inputs alone: two rows with equal inputs have equal ids, whatever their labels and what
    stands aside. Of an input that is a file it is the content that counts.
    ``row`` is the line of a text file on which the row starts, or the number of a parquet row, both counted
    from 1.
    """

    id: str
    inputs: dict[str, Any]
    target: Any
    group: str | None
    file: str
    row: int
    aside: dict[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> list[Any]:
        """All that is learned from, to be hashed."""
        return [self.id, self.target, *([self.aside] if self.aside else [])]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why."""

    file: str
    row: int
    column: str | None
    reason: str

    def __str__(self) -> str:
        where = f", column {self.column!r}" if self.column else ""
        return f"{self.file}, row {self.row}{where}: {self.reason}"


@dataclass(frozen=True)
class Splits:
    """The examples of a run, and what was left out of them."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    columns: dict[str, str]
    bad_rows: list[BadRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
