"""How the recipe was chosen: the trials of a sweep, and the best of them over seeds.

Shown for the sweep itself, and for a run of its winner, whose folder lies in the sweep's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regraft.report.blocks import Block, Figure, Note, Section, Table
from regraft.report.figures import forest
from regraft.report.material import Material
from regraft.report.words import interval, number, title_of
from regraft.run import read_json

PLACE = 80


def render(material: Material) -> Section | None:
    file = _file(material)
    if file is None:
        return None
    found = read_json(file)
    blocks: list[Block] = [*_winner(found), *_seeds(found), _trials(found), *_failed(found)]
    return Section("sweep", "How was it chosen?", blocks)


def _file(material: Material) -> Path | None:
    """The results of the sweep that this folder is of, or that its recipe won."""
    own, above = material.run.folder / "sweep.json", material.run.folder.resolve().parent / "sweep.json"
    if own.is_file():
        return own
    if not above.is_file():
        return None
    winner = read_json(above).get("winner") or {}
    point = winner.get("point")
    won = point is not None and all(_at(material.recipe, key) == value for key, value in point.items())
    return above if won else None


def _at(recipe: Any, key: str) -> Any:
    for part in key.split("."):
        recipe = recipe.get(part) if isinstance(recipe, dict) else None
    return recipe


def _winner(found: dict[str, Any]) -> list[Block]:
    if not found.get("winner"):
        return [Note("This sweep has not finished; what it has tried so far is below.", tone="warn")]
    verdict = found["comparison"]["verdict"]
    tone = "good" if verdict.startswith("better") else "plain"
    return [Note(f"The winner: {_words(found['winner']['point'])}. {verdict[0].upper()}{verdict[1:]}.", tone=tone)]


def _seeds(found: dict[str, Any]) -> list[Block]:
    winner = (found.get("winner") or {}).get("point")
    configurations = sorted(found["configurations"], key=lambda each: each["point"] != winner)
    spans = [
        (_words(each["point"]), each["mean"], each["low"], each["high"])
        for each in configurations
        if each["low"] is not None
    ]
    if not spans:
        return []
    percent = f"{100 * found['confidence']:g} %"
    sentence = (
        f"The best trials and the recipe as it is, with the same new seeds on the same validation rows: means with "
        f"Student's {percent} interval over seeds."
    )
    return [Figure(sentence, forest(spans, label=title_of(found["primary"])), wide=True)]


def _trials(found: dict[str, Any]) -> Table:
    keys = list(dict.fromkeys(key for each in found["trials"] for key in each["point"]))
    columns = ["Trial", *keys, title_of(found["primary"]), "Interval", "Epoch", "Seconds"]
    rows = [_row(each, keys) for each in found["trials"]]
    sentence = (
        f"{len(rows)} trials, the best first, by their best epoch on {found['rows']['validation']:,} validation rows. "
        "The intervals are over these rows, and optimistic: the best of many looks better than it is."
    )
    return Table(sentence, columns, rows, numeric=1 + len(keys))


def _row(each: dict[str, Any], keys: list[str]) -> list[str]:
    values = [_short(each["point"][key]) if key in each["point"] else "" for key in keys]
    if each["state"] != "complete":
        return [str(each["trial"]), *values, str(each["state"]), "", "", ""]
    figures = [number(each["value"]), interval(each), f"{each['epoch']:g}", f"{each['seconds']:.1f}"]
    return [str(each["trial"]), *values, *figures]


def _failed(found: dict[str, Any]) -> list[Block]:
    return [
        Note(f"Trial {each['trial']} failed: {each['reason']}", tone="warn")
        for each in found["trials"]
        if each["state"] == "failed"
    ]


def _words(point: dict[str, Any]) -> str:
    if not point:
        return "the recipe as it is"
    return ", ".join(f"{key.removeprefix('strategy.')} {_short(value)}" for key, value in point.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
