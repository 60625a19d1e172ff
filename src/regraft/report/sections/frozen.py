"""What was tuned and what was kept: the parts of the model, and the proof that the frozen ones did not change."""

from __future__ import annotations

from typing import Any

from regraft.report.blocks import Bar, Block, Cell, Fact, Facts, Note, Section, Table
from regraft.report.material import Material
from regraft.report.words import count, percent, rate, share

PLACE = 30


def render(material: Material) -> Section | None:
    plan = material.plan
    if not plan.get("tree") and not plan.get("parameters"):
        return None
    blocks: list[Block] = [_facts(plan)]
    if plan.get("choice"):
        blocks.append(Note(f"Chosen by regraft. {plan['choice']}"))
    if plan.get("tree"):
        sentence = "The parts of the model from bottom to top. A full bar was tuned; an empty one kept what it knew."
        columns = ["Part", "Tuned", "Learning rate", "Parameters"]
        blocks.append(Table(sentence, columns, [_row(part) for part in plan["tree"]], numeric=2))
    blocks += _proof(material)
    return Section("frozen", "What was tuned?", blocks)


def _facts(plan: dict[str, Any]) -> Facts:
    total, trained = (plan.get("parameters") or {}).get("total"), (plan.get("parameters") or {}).get("trainable")
    model, strategy = plan.get("model") or {}, plan.get("strategy") or {}
    options = ", ".join(
        f"{key}: {value}" for key, value in (strategy.get("options") or {}).items() if value not in (None, [])
    )
    facts = [
        Fact("Model", str(model.get("name", "–")), str(model.get("class") or "")),
        Fact("Strategy", str(strategy.get("name", "–")), options),
    ]
    if isinstance(total, int) and isinstance(trained, int):
        facts.append(Fact("Tuned parameters", count(trained), f"{percent(share(trained, total))} of {total:,}"))
    for key, title in (("loss", "Loss"), ("precision", "Precision")):
        if plan.get(key):
            facts.append(Fact(title, str(plan[key].get("name", "–")), str(plan[key].get("reason") or "")))
    return Facts(facts)


def _row(part: dict[str, Any]) -> list[Cell]:
    trained = share(part.get("trainable", 0), part.get("parameters", 0))
    rates = part.get("learning_rate")
    told = (
        "frozen"
        if not rates
        else "keeps rows"
        if not trained
        else " to ".join(dict.fromkeys(rate(each) if each else "fitted" for each in rates))
    )
    return [str(part.get("name")), Bar(trained, percent(trained)), told, count(part.get("parameters"))]


def _proof(material: Material) -> list[Note]:
    frozen = material.all("frozen")
    if not frozen:
        return []
    tensors = max(each.get("tensors", 0) for each in frozen)
    if tensors == 0:
        return [Note("Nothing was frozen: every weight could move.")]
    if all(each.get("identical") for each in frozen):
        return [
            Note(f"Proved: all {tensors:,} frozen tensors are bit for bit what they were before training.", tone="good")
        ]
    return [Note("A frozen tensor changed during training.", tone="warn")]
