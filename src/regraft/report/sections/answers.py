"""Right and wrong answers: the confusion matrix and each label, or predicted against true numbers."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from matplotlib.patches import Rectangle

from regraft.report.blocks import Bar, Block, Cell, Figure, Section, Strip, Strips, Table
from regraft.report.figures import FIRST, INK, SECOND, SOFT, drawing, svg
from regraft.report.gallery import shot
from regraft.report.material import Material
from regraft.report.words import count, interval, number, percent, shortened, visible

PLACE = 40
_LARGEST_DRAWN = 20
_LARGEST_NARROW = 8
_MOST_LABELS = 30
_MOST_POINTS = 2000
_MOST_STRIPS, _MOST_SHOTS = 6, 5
_MEASURED = {"boxes": ("ap", "ap_50"), "masks": ("iou", "dice")}
_TITLES = {"ap": "AP", "ap_50": "AP50", "iou": "IoU", "dice": "Dice"}


def render(material: Material) -> Section | None:
    confusion = material.scores.get("confusion") or {}
    labels = material.scores.get("per_label") or []
    if material.kind in _MEASURED:
        blocks: list[Block] = [*_pixels(confusion), *_measured(material.kind, labels)]
    else:
        blocks = [*_matrix(confusion), *_per_label(labels, material.unit), *_worst(confusion, material)]
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


def _matrix_figure(labels: list[str], matrix: np.ndarray[Any, Any], *, of_row: bool = False) -> Markup:
    """The matrix with its numbers, or, ``of_row``, with how many of 100 in a row each is."""
    shown = [shortened(visible(label), 18) for label in labels]
    side = max(2.6, 1.0 + 0.38 * len(labels))
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    with drawing(width=side + 1.0, height=side) as (figure, axes):
        for (row, column), value in np.ndenumerate(matrix):
            colour = FIRST if row == column else SECOND
            axes.add_patch(
                Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=colour, alpha=0.04 + 0.5 * shares[row, column])
            )
            if value:
                axes.text(
                    column,
                    row,
                    f"{100 * shares[row, column]:.1f}" if of_row else f"{value:,}",
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
        right, total = np.trace(matrix), matrix.sum()
        told = f"{percent(right / total)} of the pixels" if of_row else f"{int(right):,} of {int(total):,}"
        return svg(figure, name="confusion", alt=f"confusion matrix: {told} right")


def _pixels(confusion: dict[str, Any]) -> list[Figure]:
    """The matrix of masks, in shares of all pixels."""
    labels, matrix = confusion.get("labels") or [], confusion.get("matrix")
    if not matrix or not 1 < len(labels) <= _LARGEST_DRAWN:
        return []
    sentence = "Of 100 pixels of the class in a row, how many were taken for which class."
    shares = np.asarray(matrix, dtype=np.float64)
    drawn = _matrix_figure([str(label) for label in labels], shares, of_row=True)
    return [Figure(sentence, drawn, wide=len(labels) > _LARGEST_NARROW)]


def _measured(kind: str, labels: list[dict[str, Any]]) -> list[Table]:
    """Each label of boxes or masks with its two measures and their intervals."""
    if not labels:
        return []
    first, second = _MEASURED[kind]
    shown = sorted(labels, key=lambda each: -(each.get("support") or 0))[:_MOST_LABELS]
    rest = f" The {_MOST_LABELS} most frequent of {len(labels):,} labels." if len(labels) > len(shown) else ""
    if kind == "boxes":
        sentence, support = "AP is the mean over overlaps from 0.5 to 0.95; AP50 asks for half.", "Objects"
    else:
        sentence, support = "IoU: what is rightly found, of all that is there or told.", "Pixels"
    rows: list[list[Cell]] = [
        [
            str(each["label"]),
            _support(each.get("support")),
            *_with_interval(each.get(first)),
            *_with_interval(each.get(second)),
        ]
        for each in shown
    ]
    columns = ["Label", support, _TITLES[first], "Interval", _TITLES[second], "Interval"]
    return [Table(f"Each label on its own. {sentence}{rest}", columns, rows)]


def _with_interval(estimate: dict[str, Any] | None) -> list[str]:
    return [number((estimate or {}).get("value")), interval(estimate)]


def _support(value: Any) -> str:
    """A count, or a share."""
    return percent(value) if isinstance(value, float) else count(value)


def _worst(confusion: dict[str, Any], material: Material) -> list[Table | Strips]:
    worst = confusion.get("worst") or []
    if material.of_images and material.predictions is not None and worst:
        return _examples(material, material.predictions, worst[:_MOST_STRIPS])
    if len(confusion.get("labels") or []) <= 2 or not worst:
        return []
    most = worst[0]["count"]
    rows: list[list[Cell]] = [
        [str(each["target"]), str(each["prediction"]), Bar(each["count"] / most, count(each["count"]))]
        for each in worst[:10]
    ]
    return [
        Table("The most frequent mix-ups.", ["True", "Answered", f"{material.unit.capitalize()}s"], rows, numeric=3)
    ]


def _examples(material: Material, table: pa.Table, worst: list[dict[str, Any]]) -> list[Table | Strips]:
    """The most frequent mix-ups, each with a few images: those of which the model was surest."""
    pairs = list(zip(table.column("target").to_pylist(), table.column("prediction").to_pylist(), strict=True))
    sure = table.column("confidence").to_pylist()
    strips = []
    for each in worst:
        rows = [row for row, pair in enumerate(pairs) if pair == (each["target"], each["prediction"])]
        rows = sorted(rows, key=lambda row: -(sure[row] or 0.0))[:_MOST_SHOTS]
        paths = [table.column("image")[row].as_py() for row in rows]
        title = f"{each['target']} taken for {each['prediction']}"
        shots = [shot(material, path, alt=f"{PurePath(str(path)).name}: {title}") for path in paths]
        strips.append(Strip(title, f"{each['count']:,} {'image' if each['count'] == 1 else 'images'}", shots))
    return [Strips("The most frequent mix-ups, with the images of which the model was surest.", strips)]


def _per_label(labels: list[dict[str, Any]], unit: str) -> list[Table]:
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
    columns = ["Label", f"Test {unit}s", "Precision", "Recall", "F1"]
    return [Table(sentence, columns, rows, wide=not narrow)]


def _numbers(material: Material) -> list[Figure]:
    true, answered = (_column(material, name) for name in ("target", "prediction"))
    if len(true) < 2:
        return []
    stride = max(1, -(-len(true) // _MOST_POINTS))
    part = f" Every {stride}th is shown." if stride > 1 else ""
    exact = f"Each point is a test {material.unit}; on the line, the answer is exactly right.{part}"
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
