"""Comparisons: did tuning really help, or is the difference what chance does?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.evaluation.intervals import PRECISIONS, affordable, percentiles, resampled_weights
from regraft.evaluation.metrics import Mean, Metric, find_metric, kind_of, plain, spoken
from regraft.evaluation.weighted import Array, Floats, Statistic
from regraft.fingerprint import draw

SHUFFLES = 9_999
SIGNIFICANT = 0.05
_BLOCK = 200_000  # weights made at once: 1.6 MB, which stay in the processor's cache
_FEWEST_SHUFFLES = 499
_FEWEST_RESAMPLES = 200
_FEW_SIZES = 32


@dataclass(frozen=True)
class Comparison:
    """The tuned model against a baseline on the same rows; a positive difference is in its favour."""

    metric: str
    baseline: str
    difference: float
    low: float
    high: float
    p: float
    tuned_value: float
    baseline_value: float


def compare(
    metric: str,
    target: Array,
    scores: Array,
    baseline_scores: Array,
    *,
    baseline: str,
    resamples: int,
    confidence: float,
    seed: int,
) -> Comparison:
    """Compare two systems row by row: paired bootstrap interval, and p by approximate randomisation.

    The difference is turned so that positive means that the tuned system is better. p is two-sided. Of average
    precision the interval is the basic one (see ``intervals.bootstrap``).

    Raises:
        RecipeError: the metric does not fit this kind of answers.
    """
    found = find_metric(metric, kind_of(target))
    nan = float("nan")
    if len(target) == 0:
        return Comparison(metric, baseline, nan, nan, nan, nan, nan, nan)
    both = found.function(target, scores), found.function(target, baseline_scores)
    values = [plain(each, len(target)) for each in both]
    sign = 1.0 if found.higher_is_better else -1.0
    difference = sign * (values[0] - values[1])
    low = high = p = nan
    if np.isfinite(difference):
        count = affordable(found, scores, wanted=resamples, fewest=_FEWEST_RESAMPLES, work=2)
        drawn = sign * _resampled_differences(both, len(target), count, seed)
        low, high = _ends(metric, difference, percentiles(drawn, confidence))
        swapped = _randomised(found, target, (scores, baseline_scores), both, seed)
        p = _share_as_wide(swapped, abs(difference))
    return Comparison(metric, baseline, difference, low, high, p, values[0], values[1])


def verdict(comparison: Comparison, rows: int) -> str:
    """One plain sentence on whether tuning helped, hurt, or cannot be told from chance."""
    other = "model before tuning" if comparison.baseline == "untouched" else comparison.baseline.replace("_", " ")
    metric = spoken(comparison.metric)
    if not np.isfinite(comparison.p):
        return f"{metric} is undefined on these {rows:,} rows, so tuning cannot be compared with the {other}"
    against = f"{_pair(comparison)} for the {other}, p {_p(comparison.p)}"
    if comparison.p >= SIGNIFICANT:
        return f"no difference that {rows:,} rows could show: {metric} {against}"
    return f"tuning {'helped' if comparison.difference > 0 else 'hurt'}: {metric} {against}"


def _pair(comparison: Comparison) -> str:
    """Both values, with as many digits as it takes to tell them apart."""
    tuned, other = comparison.tuned_value, comparison.baseline_value
    digits = next((k for k in range(2, 6) if f"{tuned:.{k}f}" != f"{other:.{k}f}"), 2)
    return f"{tuned:.{digits}f} against {other:.{digits}f}"


def _p(p: float) -> str:
    return f"= {p:.1g}" if p < 0.01 else f"= {p:.2g}"


def _resampled_differences(both: tuple[Statistic, Statistic], rows: int, resamples: int, seed: int) -> Floats:
    tuned, other = both
    blocks = resampled_weights(rows, resamples=resamples, seed=seed)
    return np.concatenate([tuned(weights) - other(weights) for weights in blocks])


def _ends(metric: str, difference: float, ends: tuple[float, float]) -> tuple[float, float]:
    """The percentiles, turned about the difference where the metric comes out too high on resamples."""
    if metric not in PRECISIONS:
        return ends
    low, high = (2 * difference - end for end in reversed(ends))
    return min(difference, low), max(difference, high)


def _share_as_wide(swapped: Floats, observed: float) -> float:
    """How often a gap is as wide, the observed one counted with the rest."""
    hits = int((np.abs(swapped) >= observed * (1 - 1e-9) - 1e-12).sum())
    return (1 + hits) / (1 + len(swapped))


def _randomised(
    metric: Metric, target: Array, scores: tuple[Array, Array], prepared: tuple[Statistic, Statistic], seed: int
) -> Floats:
    """Differences of the two systems after answers were swapped at random: approximate randomisation (Noreen, 1989).

    9,999 shuffles; on large test sets fewer for metrics that must be computed anew for each, never below 499.
    """
    rng = np.random.default_rng(draw("randomisation", seed))
    tuned, other = prepared
    if isinstance(tuned, Mean) and isinstance(other, Mean):
        return _signed_means(tuned.values - other.values, rng)
    both = metric.function(np.concatenate([target, target]), _joined(*scores))
    shuffles = affordable(metric, scores[0], wanted=SHUFFLES, fewest=_FEWEST_SHUFFLES, work=4)
    return _swapped_differences(both, len(target), shuffles, rng)


def _joined(scores: Array, baseline_scores: Array) -> Array:
    """Both systems' answers, one after the other; where one gives fewer detections of an image, the rest are none."""
    short = scores.shape[1] - baseline_scores.shape[1]
    if scores.ndim != 3 or short == 0:
        return np.concatenate([scores, baseline_scores])
    room = ((0, 0), (0, max(0, -short)), (0, 0)), ((0, 0), (0, max(0, short)), (0, 0))
    filled = [np.pad(each, by, constant_values=-1) for each, by in zip((scores, baseline_scores), room, strict=True)]
    return np.concatenate(filled)


def _signed_means(gaps: Floats, rng: np.random.Generator) -> Floats:
    """The mean of the rows' gaps under random signs ``[shuffles]``: swapping a row flips its sign.

    Rows with gaps of equal size need no coin each: how many of them keep their sign is binomial. For
    accuracy, all the rows that one system has right and the other wrong are a single draw.
    """
    sizes, counts = np.unique(np.abs(gaps[gaps != 0]), return_counts=True)
    if len(sizes) <= _FEW_SIZES:
        kept = rng.binomial(counts, 0.5, size=(SHUFFLES, len(sizes)))
        return np.asarray((2 * kept - counts) @ sizes / len(gaps))
    parts = [np.einsum("bn,n->b", 2 * kept - 1, gaps) for kept in _coins(len(gaps), SHUFFLES, rng)]
    return np.concatenate(parts) / len(gaps)


def _swapped_differences(both: Statistic, rows: int, shuffles: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The difference after each shuffle: of the two answers to a row, one goes to either side."""
    parts = []
    for kept in _coins(rows, shuffles, rng):
        mine, yours = np.hstack([kept, 1 - kept]), np.hstack([1 - kept, kept])
        parts.append(both(mine) - both(yours))
    return np.concatenate(parts)


def _coins(rows: int, shuffles: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Zeros and ones in blocks ``[b, rows]``."""
    most = max(1, _BLOCK // rows)
    for start in range(0, shuffles, most):
        block = min(most, shuffles - start)
        yield rng.integers(0, 2, size=(block, rows), dtype=np.int8).astype(np.float64)
