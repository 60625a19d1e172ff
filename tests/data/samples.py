"""Columns such as tasks read, and examples made without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regraft.data import Column, Example
from regraft.fingerprint import example_id
from regraft.recipe import DataOptions


def parse_text(cell: Any) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise ValueError("is empty")
    return cell


def parse_label(cell: Any) -> str:
    if isinstance(cell, bool) or not isinstance(cell, str | int) or not str(cell).strip():
        raise ValueError("is empty, or not a label")
    return str(cell).strip()


TEXT = Column("text", "input", parse_text, synonyms=("review", "sentence"))
PAIR = Column("text_b", "input", parse_text, synonyms=("second",), required=False)
LABEL = Column("label", "target", parse_label, synonyms=("class", "stars"))
COLUMNS = (TEXT, PAIR, LABEL)


def options_for(path: str | Path, **given: Any) -> DataOptions:
    return DataOptions(train=str(path), **given)


def example(text: str, target: Any = "yes", *, group: str | None = None, row: int = 2) -> Example:
    inputs = {"text": text}
    return Example(example_id(inputs), inputs, target, group, "a.csv", row)
