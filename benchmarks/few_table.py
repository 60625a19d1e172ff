"""The table of few labels, and its picture: ``python -m benchmarks.few_table --json FILE --plot FILE.svg``.

A cell is a dataset and a number of labels; its scores are means over the seeds that a contestant was asked for, with
the interval of a t-distribution over these seeds (which says nothing of the test rows: they are the same each time).
Seconds are medians. Beneath it is what is asked of ``auto``: in how many cells it is within one point of the best
strategy in hindsight, and how it compares with each peer over all pairs of the same dataset, labels and seed, by the
mean difference and a Wilcoxon signed-rank test.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

from scipy import stats

from benchmarks.few_labels import DATASETS, PEERS, STRATEGIES, Cell, read_results

_WITHIN = 0.01  # of the best
_CONFIDENCE = 0.95
_APART = 1.03  # how far contestants stand apart in the picture, as a ratio of labels


@dataclass(frozen=True)
class Told:
    """What a contestant reached from one draw of labels, and in which time."""

    accuracy: float
    seconds: float


Answers = Mapping[str, Mapping[Cell, Told]]  # of each contestant


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table and the comparisons; draw the picture."""
    parser = argparse.ArgumentParser("benchmarks.few_table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="what few_labels has written")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the picture there")
    asked = parser.parse_args(arguments)
    answers = read_answers(asked.json)
    print("\n".join([*table(answers), "", *hindsight(answers), "", *against_peers(answers)]))
    if asked.plot is not None:
        draw(answers, asked.plot)


def read_answers(file: Path) -> Answers:
    """The answers of a file, by contestant."""
    found: defaultdict[str, dict[Cell, Told]] = defaultdict(dict)
    for each in read_results(file):
        cell = Cell(each["dataset"], each["labels"], each["seed"])
        found[each["contestant"]][cell] = Told(each["accuracy"], each["seconds"])
    return {name: found[name] for name in [*STRATEGIES, *PEERS] if name in found}


def seeds_of(told: Mapping[Cell, Told], dataset: str, labels: int) -> list[Told]:
    """What was told from each draw of so many labels."""
    return [each for cell, each in told.items() if (cell.dataset, cell.labels) == (dataset, labels)]


def places(answers: Answers) -> list[tuple[str, int]]:
    """The datasets and numbers of labels that there are, in the order of the table."""
    found = {(cell.dataset, cell.labels) for told in answers.values() for cell in told}
    return sorted(found, key=lambda place: ([*DATASETS].index(place[0]), place[1]))


def half_width(values: Sequence[float]) -> float:
    """Of the interval of a mean; nan where there is only one value."""
    if len(values) < 2:
        return math.nan
    return float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values)))


def table(answers: Answers) -> Iterator[str]:
    """In Markdown: of each contestant the mean accuracy, its interval, and the median of the seconds."""
    yield f"| dataset | labels | {' | '.join(answers)} |"
    yield "|---" * (len(answers) + 2) + "|"
    for dataset, labels in places(answers):
        columns = [_column(seeds_of(told, dataset, labels)) for told in answers.values()]
        yield f"| {dataset} | {labels} | {' | '.join(columns)} |"


def _column(told: Sequence[Told]) -> str:
    if not told:
        return ""
    scores = [each.accuracy for each in told]
    wide = half_width(scores)
    interval = "" if math.isnan(wide) else f" ± {wide:.3f}"
    return f"{fmean(scores):.3f}{interval}, {median(each.seconds for each in told):.0f} s ({len(told)})"


def hindsight(answers: Answers) -> Iterator[str]:
    """How far ``auto`` is below the best strategy of each cell, on the draws that both were asked for."""
    gaps = {place: _gap(answers, *place) for place in places(answers)}
    known = {place: gap for place, gap in gaps.items() if gap is not None}
    near = sum(round(below, 6) <= _WITHIN for below, _ in known.values())
    yield f"auto is within {_WITHIN:.0%} of the best other strategy in hindsight in {near} of {len(known)} cells:"
    for (dataset, labels), (below, best) in known.items():
        yield f"  {dataset} {labels}: {best} {below:+.3f}"


def _gap(answers: Answers, dataset: str, labels: int) -> tuple[float, str] | None:
    gaps = []
    for name in STRATEGIES:
        pairs = _pairs(answers, name, "auto")
        found = [
            one.accuracy - auto.accuracy
            for cell, one, auto in pairs
            if (cell.dataset, cell.labels) == (dataset, labels)
        ]
        if found and name != "auto":
            gaps.append((fmean(found), name))
    return max(gaps, default=None)


def against_peers(answers: Answers) -> Iterator[str]:
    """``auto`` beside each peer, over the draws that both were asked for."""
    for name in PEERS:
        pairs = [(auto, peer) for _, auto, peer in _pairs(answers, "auto", name)]
        if len(pairs) < 2:
            continue
        gaps = [auto.accuracy - peer.accuracy for auto, peer in pairs]
        p = float(stats.wilcoxon(gaps).pvalue) if any(gaps) else 1.0
        ratio = median(auto.seconds / peer.seconds for auto, peer in pairs)
        whole = sum(auto.seconds for auto, _ in pairs) / sum(peer.seconds for _, peer in pairs)
        yield (
            f"auto beside {name}: {fmean(gaps):+.3f} ± {half_width(gaps):.3f} over {len(pairs)} pairs, p = {p:.2g}; "
            f"its time is {ratio:.2f} of theirs in the median, {whole:.2f} in all"
        )


def _pairs(answers: Answers, one: str, other: str) -> list[tuple[Cell, Told, Told]]:
    first, second = answers.get(one, {}), answers.get(other, {})
    return [(cell, told, second[cell]) for cell, told in first.items() if cell in second]


def draw(answers: Answers, file: Path) -> None:
    """Accuracy above, seconds beneath, a column a dataset; bars are the intervals of the table."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "few labels", "svg.fonttype": "none"})
    import matplotlib.pyplot as plt

    datasets = [name for name in DATASETS if any(place[0] == name for place in places(answers))]
    ticks = sorted({labels for _, labels in places(answers)})
    figure, axes = plt.subplots(2, len(datasets), figsize=(3.2 * len(datasets), 6), sharex=True, squeeze=False)
    for column, dataset in enumerate(datasets):
        above, beneath = axes[0][column], axes[1][column]
        for number, (name, told) in enumerate(answers.items()):
            labels = [labels for of, labels in places(answers) if of == dataset and seeds_of(told, dataset, labels)]
            of_each = [seeds_of(told, dataset, count) for count in labels]
            scores = [[each.accuracy for each in seeds] for seeds in of_each]
            style = {"marker": "o", "markersize": 3, "label": name, "linewidth": 2.5 if name == "auto" else 1}
            wide = [0.0 if len(values) < 2 else half_width(values) for values in scores]
            beside = [count * _APART ** (number - len(answers) / 2) for count in labels]
            above.errorbar(beside, [fmean(values) for values in scores], wide, **style)
            beneath.plot(beside, [median(each.seconds for each in seeds) for seeds in of_each], **style)
        above.set(title=dataset, xscale="log")
        beneath.set(xlabel="labels a class", yscale="log")
        beneath.minorticks_off()
        beneath.set_xticks(ticks, [str(labels) for labels in ticks])
    axes[0][0].set(ylabel="accuracy")
    axes[1][0].set(ylabel="seconds")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
