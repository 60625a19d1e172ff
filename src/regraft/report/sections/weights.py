"""What was made of the tuned weights: the mean of epochs, and the way between the untouched model and the tuned one."""

from __future__ import annotations

import math
from typing import Any

from regraft.report.blocks import Block, Figure, Note, Section
from regraft.report.figures import SECOND, drawing, svg
from regraft.report.material import Material
from regraft.report.words import lowered, number, title_of

PLACE = 22


def render(material: Material) -> Section | None:
    average, between = material.last("average"), material.last("interpolation")
    blocks: list[Block] = [_averaged(average)] if average.get("epochs") else []
    blocks += _interpolated(material, between) if between else []
    return Section("weights", "What was made of the weights?", blocks) if blocks else None


def _averaged(average: dict[str, Any]) -> Note:
    epochs, of = average["epochs"], average.get("of", 0)
    listed = ", ".join(str(each) for each in epochs)
    if average.get("how") == "uniform":
        return Note(f"The result is the mean of the weights after {len(epochs)} epochs: {listed}.")
    return Note(
        f"The result is the mean of the weights after {len(epochs)} of {of} epochs ({listed}): the best, and each with "
        "which the validation score did not fall."
    )


def _interpolated(material: Material, between: dict[str, Any]) -> list[Block]:
    share = between.get("share")
    chosen = "The validation rows chose" if between.get("asked") == "auto" else "The recipe asked for"
    said = (
        f"{chosen} {share:g} of the way from the pretrained weights (0) to the tuned ones (1)."
        if share
        else (f"{chosen} the pretrained weights; only what is new was kept as it was tuned.")
    )
    points = [
        (float(each["share"]), value)
        for each in between.get("curve") or []
        if (value := _value(material, each)) is not None
    ]
    if not points:
        return [Note(said)]
    sentence = f"{said} A curve that is highest in between means that both know something."
    return [Figure(sentence, _curve(points, share, title_of(str(material.primary))))]


def _value(material: Material, point: dict[str, Any]) -> float | None:
    value = (point.get("scores") or {}).get(material.primary)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _curve(points: list[tuple[float, float]], share: float | None, title: str) -> Any:
    with drawing() as (figure, axes):
        axes.plot(*zip(*points, strict=True), "o-", color=SECOND, markersize=5)
        for x, y in points:
            if x == share:
                axes.plot([x], [y], "o", color=SECOND, markersize=11, alpha=0.35)
        axes.margins(x=0.05, y=0.15)
        axes.set(xlabel="share of the way to the tuned weights", ylabel=f"validation {lowered(title)}")
        axes.grid(axis="y")
        alt = "; ".join(f"{x:g}: {number(y)}" for x, y in points)
        return svg(figure, name="weights", alt=f"validation {title}: {alt}")
