"""Precision against recall of each class: what finding more of it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from regraft.report.blocks import Figure, Section
from regraft.report.figures import CLASSES, INK, SOFT, drawing, svg
from regraft.report.material import Material
from regraft.report.words import number, shortened, visible

PLACE = 45
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


def render(material: Material) -> Section | None:
    curves = material.scores.get("curves") or {}
    precision, recall = curves.get("precision") or {}, curves.get("recall") or []
    if not precision or not recall:
        return None
    averages = curves.get("average_precision") or {}
    labels = _coloured(material, list(precision))
    rest = [label for label in precision if label not in labels]
    thin = f" The other {len(rest)} classes are grey." if rest else ""
    right = f" A box is right from an overlap (IoU) of {curves['iou']:g} on." if curves.get("iou") else ""
    sentence = (
        "To the right, more of a class is found; the curve falls as more of what is told is false. The number is the "
        f"average precision (AP), the area below the curve.{right}{thin}"
    )
    drawn = _figure(recall, precision, averages, labels, rest)
    return Section("curves", "What does finding more cost?", [Figure(sentence, drawn, wide=True)])


def _coloured(material: Material, labels: Sequence[str]) -> list[str]:
    """The labels that get a colour of their own: the most frequent."""
    support = {str(each["label"]): each.get("support") or 0 for each in material.scores.get("per_label") or []}
    if len(labels) <= len(CLASSES):
        return list(labels)
    return sorted(labels, key=lambda label: -support.get(label, 0))[: len(CLASSES)]


def _figure(
    recall: Sequence[float],
    precision: Mapping[str, Sequence[float]],
    averages: Mapping[str, Any],
    labels: Sequence[str],
    rest: Sequence[str],
) -> Markup:
    lines = -(-len(labels) // 2)
    with drawing(width=5.4, height=3.2 + 0.22 * lines) as (figure, axes):
        for label in rest:
            axes.plot(recall, precision[label], color=SOFT, linewidth=0.7, alpha=0.45)
        for place, label in enumerate(labels):
            name = f"{shortened(visible(label), 22)}  {number(averages.get(label))}"
            dash = _DASHES[place % len(_DASHES)]
            axes.plot(recall, precision[label], color=CLASSES[place], linewidth=1.8, linestyle=dash, label=name)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.04), xlabel="recall", ylabel="precision")
        axes.grid(visible=True)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, labelcolor=INK, handlelength=2.6)
        alt = "; ".join(f"{visible(label)}: average precision {number(averages.get(label))}" for label in labels)
        return svg(figure, name="curves", alt=alt)
