"""Right and wrong answers: the confusion matrix and each label, or predicted against true numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.patches import Rectangle

from regraft.report.blocks import Bar, Block, Cell, Figure, Section, Table
from regraft.report.figures import FIRST, INK, SECOND, SOFT, drawing, svg
from regraft.report.material import Material
from regraft.report.words import count, number, shortened, visible

PLACE = 40
_LARGEST_DRAWN = 20
_LARGEST_NARROW = 8
_MOST_LABELS = 30
_MOST_POINTS = 2000


def render(material: Material) -> Section | None:
    confusion = material.scores.get("confusion") or {}
    blocks: list[Block] = [*_matrix(confusion)]
    blocks += [*_per_label(material.scores.get("per_label") or []), *_worst(confusion)]
    if material.kind == "numbers" and material.predictions is not None:
        blocks += _numbers(material)
    return Section("answers", "Where is it right, where wrong?", blocks) if blocks else None


def _matrix(confusion: dict[str, Any]) -> list[Figure]:
    labels, matrix = confusion.get("labels") or [], confusion.get("matrix")
    if not matrix or not 1 < len(labels) <= _LARGEST_DRAWN:
        return []
    sentence = "A row is what is true, a column what was answered. Full cells on the diagonal are right answers."
    drawn = _matrix_figure([str(label) for label in labels], np.asarray(matrix))
    return [Figure(sentence, drawn, wide=len(labels) > _LARGEST_NARROW)]


def _matrix_figure(labels: list[str], matrix: np.ndarray[Any, Any]) -> Markup:
    shown = [shortened(visible(label), 18) for label in labels]
    side = max(2.6, 1.0 + 0.38 * len(labels))
    of_row = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with drawing(width=side + 1.0, height=side) as (figure, axes):
        for (row, column), value in np.ndenumerate(matrix):
            colour = FIRST if row == column else SECOND
            axes.add_patch(
                Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=colour, alpha=0.04 + 0.5 * of_row[row, column])
            )
            if value:
                axes.text(
                    column,
                    row,
                    f"{value:,}",
                    ha="center",
                    va="center",
                    color=INK,
                    fontsize=10 if len(labels) < 9 else 7,
                )
        upright = max(map(len, shown)) * len(shown) > 36
        axes.set_xticks(range(len(shown)), shown, rotation=90 if upright else 0, color=INK)
        axes.set_yticks(range(len(shown)), shown, color=INK)
        axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), xlabel="answered", ylabel="true")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        right = int(np.trace(matrix))
        return svg(figure, name="confusion", alt=f"confusion matrix: {right:,} of {int(matrix.sum()):,} right")


def _worst(confusion: dict[str, Any]) -> list[Table]:
    worst = confusion.get("worst") or []
    if len(confusion.get("labels") or []) <= 2 or not worst:
        return []
    most = worst[0]["count"]
    rows: list[list[Cell]] = [
        [str(each["target"]), str(each["prediction"]), Bar(each["count"] / most, count(each["count"]))]
        for each in worst[:10]
    ]
    return [Table("The most frequent mix-ups.", ["True", "Answered", "Rows"], rows, numeric=3)]


def _per_label(labels: list[dict[str, Any]]) -> list[Table]:
    if not labels:
        return []
    shown = sorted(labels, key=lambda each: -each["support"])[:_MOST_LABELS]
    rest = f" The {_MOST_LABELS} most frequent of {len(labels):,} labels." if len(labels) > len(shown) else ""
    sentence = (
        f"Each label on its own. Precision: how often it is right when given. Recall: how much of it is found.{rest}"
    )
    rows: list[list[Cell]] = [
        [str(each["label"]), count(each["support"]), *(number(each[key]) for key in ("precision", "recall", "f1"))]
        for each in shown
    ]
    narrow = len(labels) <= _LARGEST_NARROW and max(len(str(each["label"])) for each in labels) <= 12
    columns = ["Label", "Test rows", "Precision", "Recall", "F1"]
    return [Table(sentence, columns, rows, wide=not narrow)]


def _numbers(material: Material) -> list[Figure]:
    true, answered = (_column(material, name) for name in ("target", "prediction"))
    if len(true) < 2:
        return []
    stride = max(1, -(-len(true) // _MOST_POINTS))
    part = f" Every {stride}th row is shown." if stride > 1 else ""
    exact = f"Each point is a test row; on the line, the answer is exactly right.{part}"
    off = "How far off the answers are; a hill about zero without a long tail is good."
    scatter = _scatter(true[::stride], answered[::stride])
    return [Figure(exact, scatter), Figure(off, _residuals(answered - true))]


def _column(material: Material, name: str) -> np.ndarray[Any, Any]:
    """A column of numbers; of several outputs, the first."""
    assert material.predictions is not None
    values = material.predictions.column(name).to_pylist()
    return np.array([each[0] if isinstance(each, list) else each for each in values], dtype=np.float64)


def _scatter(true: np.ndarray[Any, Any], answered: np.ndarray[Any, Any]) -> Markup:
    ends = [min(true.min(), answered.min()), max(true.max(), answered.max())]
    with drawing(height=3.6) as (figure, axes):
        axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(true, answered, "o", color=FIRST, markersize=3, alpha=0.35, markeredgewidth=0)
        axes.set(xlabel="true", ylabel="predicted")
        axes.grid(visible=True)
        return svg(figure, name="scatter", alt=f"predicted against true numbers of {len(true):,} rows")


def _residuals(gaps: np.ndarray[Any, Any]) -> Markup:
    with drawing(height=3.6) as (figure, axes):
        axes.hist(gaps, bins=31, color=FIRST, alpha=0.7)
        axes.axvline(0, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlabel="predicted minus true", ylabel="rows")
        axes.grid(axis="y")
        return svg(figure, name="residuals", alt=f"errors: mean {gaps.mean():.3g}, spread {gaps.std():.3g}")
