"""What it learned from: rows on each side, labels or numbers, rows and steps left out, and notes."""

from __future__ import annotations

from typing import Any

from regraft.report.blocks import Bar, Block, Cell, Fact, Facts, Note, Section, Table
from regraft.report.material import TEXTS, Material
from regraft.report.words import count, number, percent, share

PLACE = 70
_SIDES = ("train", "validation", "test")
_MOST_LABELS = 30
_MOST_ROWS = 50
_LONG: dict[str | None, str] = {
    **dict.fromkeys(TEXTS, "How many characters the texts have that are to be written"),
    "speech": "How many seconds the speech lasts that is to be spoken",
}


def render(material: Material) -> Section | None:
    data = material.plan.get("data") or {}
    skipped = material.by_step("skipped")
    if not data and not skipped:
        return None
    blocks: list[Block] = [_facts(material, data), *_labels(data.get("labels")), *_targets(material, data)]
    blocks += _bad_rows(data.get("bad_rows") or []) if data else []
    blocks += [Note(f"A step was left out: {each.get('reason', '')}", tone="warn") for each in skipped]
    blocks += [Note(str(note)) for note in [*(data.get("notes") or []), *(material.plan.get("notes") or [])]]
    return Section("data", "What did it learn from?", blocks)


def _facts(material: Material, data: dict[str, Any]) -> Facts:
    titles = {"train": "Training", "validation": "Validation", "test": "Test"}
    facts = [Fact(f"{titles[side]} {material.unit}s", count(data[side])) for side in _SIDES if side in data]
    columns = [f"{column} as {name}" for name, column in (data.get("columns") or {}).items()]
    return Facts([*facts, Fact("Columns", ", ".join(columns))] if columns else facts)


def _labels(
    labels: dict[str, dict[str, int]] | None,
    *,
    sentence: str = "How often each label occurs",
    wholes: dict[str, int] | None = None,
) -> list[Table]:
    if not labels:
        return []
    sides = [side for side in _SIDES if labels.get(side)]
    names = sorted({name for side in sides for name in labels[side]}, key=lambda name: (-_total(labels, name), name))
    whole = wholes or {side: max(1, sum(labels[side].values())) for side in sides}
    largest = max((labels[side].get(name, 0) / whole[side] for side in sides for name in names), default=1) or 1

    def cell(name: str, side: str) -> Cell:
        part = share(labels[side].get(name, 0), whole[side])
        return Bar(part / largest, f"{labels[side].get(name, 0):,} ({percent(part)})")

    rows = [[name, *(cell(name, side) for side in sides)] for name in names[:_MOST_LABELS]]
    rest = f" The {_MOST_LABELS} most frequent of {len(names):,}." if len(names) > _MOST_LABELS else ""
    told = f"{sentence}; the sides should look alike.{rest}"
    return [Table(told, ["Label", *(side.capitalize() for side in sides)], rows, numeric=len(sides) + 1)]


def _total(labels: dict[str, dict[str, int]], name: str) -> int:
    return sum((labels.get(side) or {}).get(name, 0) for side in _SIDES)


def _targets(material: Material, data: dict[str, Any]) -> list[Table]:
    targets = data.get("targets")
    if not targets:
        return []
    if material.kind in {"boxes", "masks"}:
        return _occurring(material, targets, data)
    if material.kind in _LONG:
        return _lengths(_LONG[material.kind], targets)
    keys = ("min", "mean", "max", "std")
    rows = [
        [side.capitalize(), *(number(targets[side].get(key)) for key in keys)] for side in _SIDES if targets.get(side)
    ]
    columns = ["Side", "Smallest", "Mean", "Largest", "Spread"]
    return [Table("The numbers to predict; the sides should look alike.", columns, rows)]


def _lengths(sentence: str, targets: dict[str, dict[str, Any]]) -> list[Table]:
    """How long the texts are, or the speech; of passages nothing is to be written."""
    rows = [
        [side.capitalize(), *(f"{targets[side].get(key, 0):,}" for key in ("min", "mean", "max"))]
        for side in _SIDES
        if targets.get(side)
    ]
    columns = ["Side", "Shortest", "Mean", "Longest"]
    return [Table(f"{sentence}; the sides should look alike.", columns, rows, wide=False)] if rows else []


def _occurring(material: Material, targets: dict[str, dict[str, int]], data: dict[str, Any]) -> list[Table]:
    """How many objects there are of each label, or in how many images each class is."""
    if material.kind == "boxes":
        sentence, wholes = "How many objects of each label there are", None
    else:
        sentence, wholes = (
            "In how many images each class occurs",
            {side: max(1, data.get(side) or 1) for side in _SIDES},
        )
    return _labels(targets, sentence=sentence, wholes=wholes)


def _bad_rows(bad: list[dict[str, Any]]) -> list[Block]:
    if not bad:
        return [Note("Nothing was left out.", tone="good")]
    more = f" The first {_MOST_ROWS} of them." if len(bad) > _MOST_ROWS else ""
    rows = [[str(each.get(key) or "–") for key in ("file", "row", "column", "reason")] for each in bad[:_MOST_ROWS]]
    rest = "row could not be used and was" if len(bad) == 1 else "rows could not be used and were"
    sentence = f"{len(bad):,} {rest} left out.{more}"
    return [Table(sentence, ["File", "Row", "Column", "Why"], rows, numeric=4)]
