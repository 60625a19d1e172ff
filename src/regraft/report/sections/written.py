"""How far texts are from the truth: the words that differ, those taken for others, and how surprising the truth was."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from regraft.report.blocks import Bar, Block, Cell, Figure, Section, Table
from regraft.report.differences import Compared
from regraft.report.figures import FIRST, INK, SOFT, drawing, svg
from regraft.report.gallery import row_of
from regraft.report.material import TEXTS, Material
from regraft.report.sections.samples import drawn
from regraft.report.words import count, number, percent, share, shortened
from regraft.report.writings import compared

PLACE = 40
_MOST_COMPARED = 2000
_MOST_EXCHANGED = 12
_STEPS = ((0.0, "none"), (0.1, "to 10 %"), (0.25, "to 25 %"), (0.5, "to 50 %"), (0.75, "to 75 %"), (1.0, "more"))


def render(material: Material) -> Section | None:
    table = material.predictions
    if material.kind not in TEXTS or table is None or not len(table):
        return None
    rows = drawn(table, _MOST_COMPARED)
    part = f" Of {len(rows):,} of {len(table):,} test {material.unit}s." if len(rows) < len(table) else ""
    found = [each for row in rows if (each := compared(material, row_of(material, row))) is not None]
    blocks: list[Block] = [*_distances(material, found, part), *_likelihoods(material), *_exchanged(found, part)]
    title = "How surprised is it?" if material.kind == "passages" else "How far is it from the truth?"
    return Section("answers", title, blocks) if blocks else None


def _distances(material: Material, found: Sequence[Compared], part: str) -> list[Figure]:
    """How many answers have which share of words that differ."""
    if not found:
        return []
    places = [next(place for place, (end, _) in enumerate(_STEPS) if each.share <= end) for each in found]
    amounts = [places.count(place) for place in range(len(_STEPS))]
    signs = "case and signs aside" if material.kind == "transcripts" else "signs count as words"
    sentence = (
        f"The share of an answer's words that differ from the truth, {signs}; further to the left is better.{part}"
    )
    return [Figure(sentence, _bars(amounts, f"{material.unit}s"))]


def _bars(amounts: Sequence[int], unit: str) -> Markup:
    names = [name for _, name in _STEPS]
    with drawing() as (figure, axes):
        axes.bar(range(len(amounts)), amounts, color=FIRST, alpha=0.75, width=0.8)
        for place, amount in enumerate(amounts):
            axes.annotate(f"{amount:,}", (place, amount), (0, 3), textcoords="offset points", ha="center", color=INK)
        axes.set_xticks(range(len(names)), names)
        axes.tick_params(axis="x", length=0)
        axes.margins(y=0.12)
        axes.set(xlabel="words that differ", ylabel=unit)
        axes.grid(axis="y")
        told = ", ".join(f"{name}: {amount}" for name, amount in zip(names, amounts, strict=True))
        return svg(figure, name="distances", alt=f"{unit} by the share of words that differ: {told}")


def _likelihoods(material: Material) -> list[Figure]:
    """How the perplexities of the truths are spread."""
    assert material.predictions is not None
    if "loss" not in material.predictions.column_names:
        return []
    losses = [loss for loss in material.predictions.column("loss").to_pylist() if _is_number(loss)]
    if len(losses) < 2:
        return []
    what = "text" if material.kind == "passages" else "truth"
    sentence = f"How surprising each {what} was for the model (its perplexity); further to the left is better."
    return [Figure(sentence, _hill(losses, f"{material.unit}s"))]


def _hill(losses: Sequence[float], unit: str) -> Markup:
    """A histogram of perplexities, each step as many times the one before."""
    ends = min(losses), max(losses)
    middle = sorted(losses)[len(losses) // 2]
    with drawing() as (figure, axes):
        axes.hist(losses, bins=min(31, max(5, len(losses) // 8)), color=FIRST, alpha=0.7)
        axes.axvline(middle, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"half below {number(math.exp(middle))}", (middle, 1), (0, 3), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="left" if 2 * middle < sum(ends) else "right", color=INK,
        )  # fmt: skip
        ticks = _ticks(*ends)
        axes.set_xticks([math.log(tick) for tick in ticks], [f"{tick:,g}" for tick in ticks])
        axes.set(xlabel="perplexity", ylabel=unit)
        axes.grid(axis="y")
        told = ", ".join(number(math.exp(min(each, 700.0))) for each in (ends[0], middle, ends[1]))
        return svg(figure, name="likelihoods", alt=f"perplexities, smallest, middle and largest: {told}")


def _ticks(low: float, high: float) -> list[float]:
    """Round perplexities between two losses, about six."""
    low, high = min(low, 300.0), min(high, 300.0)
    if high - low < math.log(10):
        found = MaxNLocator(6).tick_values(math.exp(low), math.exp(high))
    else:
        powers = range(math.floor(low / math.log(10)), math.ceil(high / math.log(10)) + 1)
        found = [step * 10.0**power for power in powers for step in ((1, 2, 5) if high - low < 5 else (1,))]
    inside = [float(tick) for tick in found if tick > 0 and low <= math.log(tick) <= high]
    return inside[:: max(1, -(-len(inside) // 7))]


def _exchanged(found: Sequence[Compared], part: str) -> list[Table]:
    """What was most often written for something else, left out or put in."""
    pairs = Counter(pair for each in found for pair in each.exchanged)
    most = [(pair, times) for pair, times in pairs.most_common(_MOST_EXCHANGED) if times > 1]
    if not most:
        return []
    rows: list[list[Cell]] = [
        [_word(true, "put in"), _word(told, "left out"), Bar(times / most[0][1], count(times))]
        for (true, told), times in most
    ]
    covered = percent(share(sum(times for _, times in most), sum(pairs.values())))
    sentence = f"The most frequent of {sum(pairs.values()):,} differences, {covered} of all.{part}"
    return [Table(sentence, ["True", "Written", "Times"], rows, numeric=3)]


def _word(text: str, otherwise: str) -> str:
    return shortened(text, 40) if text else f"({otherwise})"


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
