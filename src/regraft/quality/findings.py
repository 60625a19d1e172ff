"""The nouns of a look at data: a row on its side, what was found of some rows, and all that was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from regraft.data import Example, Splits
from regraft.tasks import NAMES

Level = Literal["error", "warning", "note"]
SIDES = ("train", "validation", "test")

_LISTED = 200  # items of a finding in quality.json
_LONGEST = 300  # characters of a text that are shown


@dataclass(frozen=True)
class Row:
    """An example and the side that it lies on."""

    side: str
    example: Example


@dataclass(frozen=True)
class Place:
    """A row as people find it again. ``shown`` is its text, or the path of its file."""

    side: str
    file: str
    row: int
    shown: str
    label: str


@dataclass(frozen=True)
class Item:
    """One case: the rows that it is about, how strong it is (1 the strongest), and what is to be said of it."""

    rows: tuple[Place, ...]
    score: float
    told: str = ""


@dataclass(frozen=True)
class Finding:
    """What was found of some rows.

    Attributes:
        kind: what it is, in a word: near-duplicates, wrong-labels, …
        level: error where scores would not be true, warning where a look is due, note where it is good to know.
        told: a sentence.
        fix: what to do.
        count: how many cases there are.
        items: the cases, the strongest first.
    """

    kind: str
    level: Level
    told: str
    fix: str = ""
    count: int = 0
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Quality:
    """All that was found of the data, the gravest first, and what was looked for."""

    rows: Mapping[str, int]
    looked_for: tuple[str, ...]
    findings: tuple[Finding, ...]

    def of(self, level: Level) -> list[Finding]:
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Quality:
        """What ``to_json`` gave, less the cases beyond those that it keeps."""
        findings = [
            Finding(**{**finding, "items": tuple(_item(item) for item in finding["items"])})
            for finding in values["findings"]
        ]
        return cls(values["rows"], tuple(values["looked_for"]), tuple(findings))

    def to_json(self) -> dict[str, Any]:
        """The content of ``quality.json``: of each finding at most 200 cases."""
        return {
            "rows": dict(self.rows),
            "looked_for": list(self.looked_for),
            "findings": [asdict(replace(finding, items=finding.items[:_LISTED])) for finding in self.findings],
        }


def rows_of(splits: Splits) -> list[Row]:
    """The rows of all sides, as they stand in the tables: what a task adds to them is left out."""
    sides: dict[str, Sequence[Example]] = {name: getattr(splits, name) for name in SIDES}
    return [Row(side, example) for side, examples in sides.items() for example in examples if example.file != NAMES]


def place_of(row: Row) -> Place:
    """A row as it is told of."""
    example = row.example
    return Place(row.side, example.file, example.row, _shown(example), label_of(example))


def label_of(example: Example) -> str:
    """A target in a word."""
    target = example.target
    if isinstance(target, tuple | list):
        parts = [f"{each:g}" if isinstance(each, float) else str(each) for each in target]
        return " | ".join(parts)[:_LONGEST]
    return str(getattr(target, "path", target))[:_LONGEST]


def strongest(items: Iterable[Item]) -> tuple[Item, ...]:
    """The cases, the strongest first."""
    return tuple(sorted(items, key=lambda item: -item.score))


def rows_in_words(count: int) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def _item(values: Mapping[str, Any]) -> Item:
    return Item(**{**values, "rows": tuple(Place(**place) for place in values["rows"])})


def _shown(example: Example) -> str:
    parts = [str(getattr(value, "path", value)) for value in example.inputs.values()]
    text = " · ".join(parts)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
