"""Intervals: how far a score could have come out otherwise with other test rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from regraft.evaluation.metrics import Metric, find_metric, kind_of, plain
from regraft.evaluation.weighted import Array, Floats, Statistic
from regraft.fingerprint import draw

_BLOCK = 200_000  # weights made at once: 1.6 MB, which stay in the processor's cache
_AFFORDABLE = 300_000_000  # weights times classes, or detections of an image, for one metric: a few seconds
_FEWEST = 200

# 1 where every row is right, 0 where every row is wrong.
_SHARES = {
    *("accuracy", "exact_match", "balanced_accuracy", "macro_f1", "micro_f1", "precision", "recall", "f1"),
    *("recall_100", "pixel_accuracy", "mean_accuracy", "mean_iou", "mean_dice", "iou", "dice"),
}
PRECISIONS = {"map", "map_50", "map_75", "ap", "ap_50"}  # whose resamples come out too high


@dataclass(frozen=True)
class Estimate:
    """A score with its interval; nan where it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sampling:
    """How intervals and tests are drawn."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0


def bootstrap(
    names: Sequence[str], target: Array, scores: Array, *, resamples: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """Each metric with its percentile bootstrap interval over rows (Efron, 1979).

    All metrics see the same resamples, which are a pure function of ``seed``. Where AUC, Spearman or average precision
    has to be sorted out for many rows and classes or detections (above 3e8 weights in all), it uses the first of the
    resamples only, never fewer than 200. Resamples in which a metric is undefined are left out of its interval.

    Where every row is right, or every row wrong, accuracy, F1, recall and overlap have the Wilson interval of that
    share of rows instead, and the ends of AUC are undefined: resamples of equal rows are equal. Average precision is
    never above recall, so where it is 0 it has the same upper end; where it is 1 its ends are undefined, since a
    single bad image may spoil any part of it.

    Average precision takes the best of what follows, which makes it too high on few images, and on resamples once
    more: their percentiles would hold the truth in 66 to 93 of 100 cases instead of 95. Its interval is therefore the
    basic one (Davison and Hinkley, 1997), which turns the resamples about the value, on the scale of arcsin of the
    root; it holds the truth in 82 to 97 of 100.

    Raises:
        RecipeError: a name is not a metric for this kind of answers.
    """
    metrics = [find_metric(name, kind_of(target)) for name in names]
    if len(target) == 0:
        return dict.fromkeys(names, Estimate(float("nan"), float("nan"), float("nan")))
    statistics = {metric.name: metric.function(target, scores) for metric in metrics}
    counts = {m.name: affordable(m, scores, wanted=resamples, fewest=_FEWEST) for m in metrics}
    drawn = _resampled(statistics, counts, len(target), resamples, seed)
    values = {name: plain(statistic, len(target)) for name, statistic in statistics.items()}
    return {name: _estimate(name, values[name], drawn[name], len(target), confidence) for name in names}


def bootstrap_columns(
    names: Sequence[str],
    statistic: Statistic,
    *,
    rows: int,
    cases: Sequence[float],
    work: int,
    sampling: Sampling,
) -> list[Estimate]:
    """Each column ``[k]`` of a statistic with its interval, over the resamples that ``bootstrap`` sees.

    Args:
        names: of the columns; the same name may come often.
        statistic: weights ``[b, rows]`` to values ``[b, k]``.
        cases: how many cases each column is a share of.
        work: how many numbers one weighting has to look at; for many there are fewer resamples.
    """
    count = min(sampling.resamples, max(_FEWEST, _AFFORDABLE // max(1, work)))
    values = statistic(np.ones((1, rows)))[0]
    blocks = resampled_weights(rows, resamples=count, seed=sampling.seed)
    drawn = np.concatenate([statistic(weights) for weights in blocks])
    columns = zip(names, values, drawn.T, cases, strict=True)
    return [_estimate(name, float(value), column, of, sampling.confidence) for name, value, column, of in columns]


def wilson(share: float, rows: float, confidence: float) -> tuple[float, float]:
    """The score interval of a share of so many rows (Wilson, 1927); it has a width where all rows agree."""
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z / (1 + z * z / rows) * float(np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)))
    return (0.0 if share == 0 else centre - reach), (1.0 if share == 1 else centre + reach)


def _estimate(name: str, value: float, drawn: Floats, rows: float, confidence: float) -> Estimate:
    """Resampling rows that are all right, or all wrong, shows no spread: then the share of right rows decides."""
    low, high = percentiles(drawn, confidence)
    if low == high == value and value in {0.0, 1.0}:
        if name in _SHARES or (name in PRECISIONS and value == 0):
            low, high = wilson(value, rows, confidence)
        elif name == "auc" or name in PRECISIONS:
            low = high = float("nan")
    elif name in PRECISIONS and np.isfinite(value):
        low, high = _turned(value, low, high)
    return Estimate(value, low, high)


def _turned(value: float, low: float, high: float) -> tuple[float, float]:
    """The ends as far on the other side of a value in 0 to 1, on the scale of arcsin of the root."""
    centre, *ends = np.arcsin(np.sqrt(np.clip([value, high, low], 0, 1)))
    turned = np.sin(np.clip(2 * centre - ends, 0, np.pi / 2)) ** 2
    return min(value, float(turned[0])), max(value, float(turned[1]))


def resampled_weights(rows: int, *, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn in each resample, in blocks ``[b, rows]``."""
    rng = np.random.default_rng(draw("bootstrap", seed))
    most = max(1, _BLOCK // rows)
    for start in range(0, resamples, most):
        block = min(most, resamples - start)
        cells = rng.integers(0, rows, size=(block, rows)) + np.arange(block)[:, None] * rows
        yield np.bincount(cells.ravel(), minlength=block * rows).reshape(block, rows).astype(np.float64)


def percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    """The two ends of the percentile interval of what is defined; nan if nothing is."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def affordable(metric: Metric, scores: Array, *, wanted: int, fewest: int, work: int = 1) -> int:
    """How many weightings of the rows a metric may be asked for before it takes more than a few seconds.

    ``work`` is how many times the rows one such weighting has to look at.
    """
    weights = work * len(scores) * (scores.shape[1] if metric.per_column else 1)
    return min(wanted, max(fewest, _AFFORDABLE // weights))


def _resampled(
    statistics: Mapping[str, Statistic], counts: Mapping[str, int], rows: int, resamples: int, seed: int
) -> dict[str, Floats]:
    """Each statistic of so many of the resamples, the first ones."""
    left = dict(counts)
    parts: dict[str, list[Floats]] = {name: [] for name in statistics}
    for weights in resampled_weights(rows, resamples=resamples, seed=seed):
        for name, statistic in statistics.items():
            if left[name] > 0:
                parts[name].append(statistic(weights[: left[name]]))
                left[name] -= len(weights)
    return {name: np.concatenate(part) for name, part in parts.items()}
