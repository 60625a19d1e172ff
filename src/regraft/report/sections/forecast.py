"""Did it take what was foreseen? The forecast from before the run beside what the run then took."""

from __future__ import annotations

from typing import Any

from regraft.report.blocks import Block, Note, Section, Table
from regraft.report.material import Material
from regraft.report.words import duration

PLACE = 80
_PARTS = {
    "preparing": "Hashing and proving what is frozen",
    "filling": "Filling the store",
    "training": "Training",
    "validation": "Validation",
    "saving": "Checkpoints",
    "evaluation": "Scores, baselines, the saved model",
}
_PROMISED = 0.25


def render(material: Material) -> Section | None:
    forecast, end = material.plan.get("forecast") or {}, material.last("end")
    fact = end.get("parts") or {}
    if not forecast or not fact:
        return None
    foreseen = forecast.get("parts") or {}
    pairs = [(title, foreseen.get(part, 0.0), fact.get(part, 0.0)) for part, title in _PARTS.items()]
    total = ("In all", sum(pair[1] for pair in pairs), sum(pair[2] for pair in pairs))
    rows = [
        [title, duration(before), duration(after), _apart(before, after)] for title, before, after in [*pairs, total]
    ]
    missed = [("time", _share(*total[1:]))]
    if forecast.get("memory") and end.get("peak_memory"):
        before, after = forecast["memory"], end["peak_memory"]
        rows.append(["Memory at its peak", _size(before), _size(after), _apart(before, after)])
        missed.append(("memory", _share(before, after)))
    sentence = "What was foreseen from a few batches before the run, and what it took."
    table = Table(sentence, ["", "Foreseen", "Taken", "Apart"], rows)
    return Section("forecast", "Did it take what was foreseen?", [table, *_notes(material, missed)])


def _notes(material: Material, missed: list[tuple[str, float]]) -> list[Block]:
    notes: list[Block] = []
    wrong = [what for what, share in missed if abs(share) > _PROMISED]
    if wrong:
        notes.append(
            Note(
                f"The forecast of {' and '.join(wrong)} was more than 25\N{NO-BREAK SPACE}% off. Other work on the "
                "machine, then or now, is the usual reason; early stopping is another.",
                tone="warn",
            )
        )
    if material.all("resume"):
        notes.append(Note("The run was stopped and resumed: what was done twice counts twice."))
    return notes


def _share(before: Any, after: Any) -> float:
    return before / after - 1 if after else 0.0


def _apart(before: float, after: float) -> str:
    if max(before, after) < 0.05:
        return "–"
    return f"{_share(before, after):+.0%}".replace("-", "\N{MINUS SIGN}").replace("%", "\N{NO-BREAK SPACE}%")


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
