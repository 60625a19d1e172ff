"""Can its confidence be believed? The reliability curve before and after temperature scaling."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from regraft.report.blocks import Fact, Facts, Figure, Section
from regraft.report.figures import FIRST, SOFT, THIRD, drawing, svg
from regraft.report.material import Material
from regraft.report.words import number

PLACE = 50


def render(material: Material) -> Section | None:
    calibration = material.scores.get("calibration") or {}
    before, after = calibration.get("before") or {}, calibration.get("after") or {}
    if not before.get("curve") and not after.get("curve"):
        return None
    sentence = (
        "On the dashed line, 80 % sure means right in 80 of 100 cases. Below it, the model is too sure of itself; "
        "above it, too modest. Larger dots hold more answers."
    )
    facts = [
        Fact(
            "Temperature", number(calibration.get("temperature")), "above 1, answers are made less sure; below 1, surer"
        ),
        Fact("Calibration error", number(after.get("ece")), f"{number(before.get('ece'))} before scaling"),
        Fact("Log-loss", number(after.get("log_loss")), f"{number(before.get('log_loss'))} before scaling"),
    ]
    curves = _curves(before.get("curve") or [], after.get("curve") or [])
    return Section(
        "calibration", "Can its confidence be believed?", [Figure(sentence, curves), Facts(facts, wide=False)]
    )


def _curves(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Markup:
    total = max(1, sum(each["count"] for each in before))
    with drawing(height=3.6) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for curve, colour, label in ((before, THIRD, "before scaling"), (after, FIRST, "after scaling")):
            x, y = [each["confidence"] for each in curve], [each["accuracy"] for each in curve]
            axes.plot(x, y, color=colour, linewidth=1.6, label=label)
            axes.scatter(
                x, y, s=[12 + 160 * each["count"] / total for each in curve], color=colour, linewidths=0, alpha=0.8
            )
        low = min([each["confidence"] for each in [*before, *after]], default=0)
        axes.set(
            xlim=(max(0, low - 0.06), 1.02),
            ylim=(-0.03, 1.05),
            xlabel="stated confidence",
            ylabel="share that is right",
        )
        axes.grid(visible=True)
        axes.legend(loc="lower right", labelcolor=SOFT)
        return svg(figure, name="calibration", alt="reliability curve before and after temperature scaling")
