"""The mistakes it was most sure of: often a wrong label in the data, sometimes what the model cannot see."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from regraft.report.blocks import Quote, Quotes, Section
from regraft.report.material import Material
from regraft.report.words import number, percent, shortened, told

PLACE = 60
_MOST = 12
_LONGEST = 600
_KNOWN = ("id", "file", "row", "target", "prediction", "confidence", "probabilities")


def render(material: Material) -> Section | None:
    table = material.predictions
    if table is None or not {"target", "prediction"} <= set(table.column_names):
        return None
    rows, ranks = _ranked(material, table)
    items = [_quote(table, material, row) for row in rows[:_MOST]]
    if not items:
        return None
    if material.kind == "numbers":
        sentence = "The answers that are furthest off."
    else:
        sentence = (
            f"The wrong answers that the model was most sure of, {len(items)} of {ranks:,}. "
            "Some may be labelled wrongly in the data."
        )
    return Section("mistakes", "Its most confident mistakes", [Quotes(sentence, items)])


def _ranked(material: Material, table: pa.Table) -> tuple[list[int], int]:
    """The rows that are wrong, worst first, and how many there are."""
    targets, answers = table.column("target").to_pylist(), table.column("prediction").to_pylist()
    if material.kind == "numbers":
        gaps = [_gap(target, answer) for target, answer in zip(targets, answers, strict=True)]
        rows = sorted((row for row in range(len(gaps)) if gaps[row] > 0), key=lambda row: -gaps[row])
        return rows, len(rows)
    sure = table.column("confidence").to_pylist() if "confidence" in table.column_names else [None] * len(targets)
    wrong = [row for row in range(len(targets)) if _differ(targets[row], answers[row])]
    return sorted(wrong, key=lambda row: -(sure[row] or 0.0)), len(wrong)


def _differ(target: Any, answer: Any) -> bool:
    if isinstance(target, list) and isinstance(answer, list):
        return set(target) != set(answer)
    return bool(target != answer)


def _gap(target: Any, answer: Any) -> float:
    pairs = zip(target, answer, strict=True) if isinstance(target, list) else [(target, answer)]
    return math.hypot(*(one - other for one, other in pairs))


def _quote(table: pa.Table, material: Material, row: int) -> Quote:
    values = {name: table.column(name)[row].as_py() for name in table.column_names}
    texts = [
        shortened(str(value), _LONGEST) for name, value in values.items() if name not in _KNOWN and value is not None
    ]
    if material.kind == "numbers":
        aside = f"off by {number(_gap(values['target'], values['prediction']))}"
    else:
        sure = values.get("confidence")
        aside = f"{percent(sure)} sure" if isinstance(sure, float) else ""
    source = f"{values.get('file', 'row')}, row {values.get('row', row + 1)}"
    return Quote(texts, told(values["target"]), told(values["prediction"]), aside, source)
