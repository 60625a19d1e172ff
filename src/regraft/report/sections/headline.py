"""How good is it, and did tuning help? The deciding score, its interval and the two baselines."""

from __future__ import annotations

import math
from typing import Any

from regraft.report.blocks import Block, Figure, Note, Score, Section, Table
from regraft.report.figures import forest
from regraft.report.material import Material
from regraft.report.words import baselines_in_words, interval, lowered, meaning_of, number, system_of, title_of

PLACE = 10


def render(material: Material) -> Section | None:
    scores = material.scores
    if not scores.get("test") or not material.primary:
        return None
    blocks: list[Block] = [*_collapsed(material), _score(material)]
    blocks += [*_untouched(material), *_against_majority(material)]
    blocks += [*_forest(material), _table(material)]
    blocks += _signatures(material)
    return Section("score", "How good is it?", blocks)


def _score(material: Material) -> Score:
    primary, scores = material.primary or "", material.scores
    estimate = scores["test"].get(primary) or {}
    comparison = scores.get("comparison") or {}
    verdict = comparison.get("verdict") or "There was no baseline to compare with."
    share = f"{100 * scores.get('confidence', 0.95):g} % interval"
    span = interval(estimate)
    return Score(
        value=number(estimate.get("value")),
        interval=f"{share} {span}, on {scores.get('rows', 0):,} test {material.unit}s" if span else "",
        measures=f"{title_of(primary)}: {meaning_of(primary)}",
        verdict=_sentence(verdict),
        tone=_tone(comparison),
    )


def _tone(comparison: dict[str, Any]) -> str:
    p, difference = comparison.get("p"), comparison.get("difference")
    if p is None or difference is None or p >= 0.05:
        return "even"
    return "good" if difference > 0 else "bad"


def _against_majority(material: Material) -> list[Note]:
    """The verdicts beside the deciding one."""
    deciding = (material.scores.get("comparison") or {}).get("baseline")
    others = [each for each in material.scores.get("comparisons") or [] if each.get("baseline") != deciding]
    told = [each["verdict"] for each in others if each.get("verdict")]
    return [Note(_sentence(f"Against the other baseline, {verdict}")) for verdict in told]


def _collapsed(material: Material) -> list[Note]:
    """That the model has learned nothing, as far as could be seen, and what to try."""
    told = material.last("collapsed")
    if not told:
        return []
    seen = " ".join(_sentence(each) for each in told["seen"])
    return [Note(f"The model may have learned nothing. {seen} What to try: {'; '.join(told['tries'])}.", tone="warn")]


def _untouched(material: Material) -> list[Note]:
    """That the best weights are those of an earlier phase, if so."""
    told = material.last("untouched")
    if not told:
        return []
    sentence = (
        f"The best weights are those of phase {told['phase']} of {told['phases']}: {told['tensors']:,} tensors train "
        "only in later phases, and are in this model as they were before tuning. More epochs, or another rate, may let "
        "the later phases win."
    )
    return [Note(sentence, tone="warn")]


def _signatures(material: Material) -> list[Note]:
    """How metrics were counted that others count in other ways; those that were counted alike together."""
    alike: dict[str, list[str]] = {}
    for metric, how in (material.scores.get("signatures") or {}).items():
        alike.setdefault(str(how), []).append(lowered(title_of(metric)))
    told = [f"{' and '.join(metrics)}: {how}" for how, metrics in alike.items()]
    return [Note(f"How it was counted. {_sentence('; '.join(told))}", tone="small")] if told else []


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _forest(material: Material) -> list[Figure]:
    primary = material.primary or ""
    systems = {"tuned": material.scores["test"], **material.baselines}
    found = [(system_of(name, material.kind), values.get(primary) or {}) for name, values in systems.items()]
    rows = [
        (name, each["value"], each["low"], each["high"])
        for name, each in found
        if all(
            isinstance(each.get(part), int | float) and math.isfinite(each[part]) for part in ("value", "low", "high")
        )
    ]
    if not rows:
        return []
    each = material.unit
    side = "right" if material.scores.get("higher_is_better", True) else "left"
    sentence = (
        f"Further to the {side} is better. A line is where the score would lie for other such test {each}s. "
        f"The verdict compares the systems {each} by {each}, which tells more than whether two lines overlap."
    )
    return [Figure(sentence, forest(rows, label=title_of(primary)), wide=True)]


def _table(material: Material) -> Table:
    baselines = material.baselines
    columns = [
        "Metric",
        "Tuned model",
        "Interval",
        *(system_of(name, material.kind) for name in baselines),
        "Validation",
    ]
    rows = []
    for metric, estimate in material.scores["test"].items():
        theirs = [number((values.get(metric) or {}).get("value")) for values in baselines.values()]
        validation = (material.scores.get("validation") or {}).get(metric) or {}
        ours = [title_of(metric), number(estimate.get("value")), interval(estimate)]
        rows.append([*ours, *theirs, number(validation.get("value"))])
    told = baselines_in_words(baselines, material.kind)
    sentence = (
        f"All metrics on the test {material.unit}s. {told}{' ' if told else ''}"
        f"The validation {material.unit}s chose the best moment of training, so their scores are a little too good."
    )
    return Table(sentence, columns, rows)
