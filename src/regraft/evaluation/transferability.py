"""Transferability: how well features suit a task, told without tuning.

Each score takes features ``[n, f]`` of the training rows and what is right for them (see ``metrics`` for the kinds).
None replaces a linear probe: on the usual benchmark LogME correlates 0.57 with what tuning reaches, and a list ordered
by nothing but size 0.91 (arXiv 2510.06448). Rows and columns without any spread give finite numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.stats import kendalltau
from sklearn.covariance import ledoit_wolf_shrinkage

from regraft.evaluation.metrics import Kind, find_metric, measure
from regraft.evaluation.weighted import Array, Floats

_NEIGHBOURS = (1, 3, 5, 11, 21, 51)
_BLOCK = 1_000  # rows whose similarities to all others are held at once
_RANGE = 12  # decades on either side in which the ratio of the two precisions is sought
_ITERATIONS = 500
_CLOSE = 1e-9  # relative change at which the iteration has ended
_FEWEST = 3  # values that an agreement can be told from


def log_me(kind: Kind, features: Array, target: Array, *, classes: int) -> float:
    """LogME: the largest log-evidence of a Bayesian linear model, a row, mean over outputs (You et al., ICML 2021).

    Classes and labels are columns of 0 and 1, as in the paper; numbers are standardised, so that their unit does not
    count. A column without spread is left out; nan where none is left.
    """
    columns = _columns(kind, target, classes)
    left, spread, _ = linalg.svd(features.astype(np.float64), full_matrices=False)
    kept = spread > spread.max(initial=0.0) * max(features.shape) * np.finfo(np.float64).eps
    squares = spread[kept] ** 2
    along = (left[:, kept].T @ columns) ** 2
    rest = np.maximum(np.square(columns).sum(axis=0) - along.sum(axis=0), 0.0)
    seen = [_Column(squares, along[:, k], float(rest[k]), len(columns)) for k in range(columns.shape[1])]
    evidence = [_best_evidence(column) for column in seen]
    return float(np.mean(evidence)) if evidence else float("nan")


def _columns(kind: Kind, target: Array, classes: int) -> Floats:
    """What is right as numbers ``[n, c]``, without columns that never vary."""
    columns = np.eye(classes)[target] if kind == "classes" else target.astype(np.float64)
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    return (columns - columns.mean(axis=0)) / columns.std(axis=0) if kind == "numbers" else columns


@dataclass(frozen=True)
class _Column:
    """A column to be explained, seen from the features.

    ``squares`` of their singular values [r], and of the column's part along each left singular vector ``along`` [r];
    ``rest`` is the square of what lies outside of them, all of ``n`` rows.
    """

    squares: Floats
    along: Floats
    rest: float
    n: int

    def at(self, ratio: float) -> float:
        """The log-evidence a row, at alpha / beta = ``ratio`` and the best beta; an exact fit keeps a little noise."""
        unexplained = float((self.along * ratio / (self.squares + ratio)).sum()) + self.rest
        noise = max(unexplained, 1e-12 * (float(self.along.sum()) + self.rest)) / self.n
        spread = np.log1p(self.squares / ratio).sum() / self.n
        return float(-0.5 * (np.log(2 * np.pi) + 1 + np.log(noise) + spread))

    def after(self, ratio: float) -> float:
        """The ratio that one step of the fixed-point iteration leads to; infinite where nothing is explained."""
        shrunk = self.squares + ratio
        effective = float((self.squares / shrunk).sum())
        weights = float((self.squares * self.along / shrunk**2).sum())
        residual = float((ratio**2 * self.along / shrunk**2).sum()) + self.rest
        below = weights * (self.n - effective)
        return effective * residual / below if below > 0 else np.inf


def _best_evidence(column: _Column) -> float:
    """The log-evidence a row, at the best precisions of prior (alpha) and noise (beta).

    Given their ratio, the best beta has a closed form, so the paper's iteration (MacKay, 1992) runs over the ratio
    alone. It finds the maximum that is nearest and there may be two, so it starts at the best of a grid.
    """
    largest = float(column.squares.max(initial=0.0))
    if largest == 0:
        return column.at(1.0)
    grid = largest * np.logspace(-_RANGE, _RANGE, 4 * _RANGE + 1)
    ratio = float(max(grid, key=column.at))
    for _ in range(_ITERATIONS):
        before, ratio = ratio, float(np.clip(column.after(ratio), grid[0], grid[-1]))
        if abs(ratio - before) <= _CLOSE * before:
            break
    return column.at(ratio)


def h_score(features: Array, target: Array) -> float:
    """How much of the features' spread lies between classes ``[n]`` (Bao et al., 2019), at most classes - 1.

    tr(cov(f)^-1 cov(E[f|y])), with both covariances shrunk as Ledoit and Wolf (2004) do: without that, the inverse is
    noise where there are not many more rows than features (Ibrahim et al., 2021, arXiv 2110.06893).
    """
    varied = features[:, np.ptp(features, axis=0) > 0].astype(np.float64)
    if varied.shape[1] == 0:
        return 0.0
    centred = varied - varied.mean(axis=0)
    amount = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    covariance = centred.T @ centred / len(centred)
    own_size = float(np.trace(covariance)) / len(covariance)
    covariance = (1 - amount) * covariance + amount * own_size * np.eye(len(covariance))
    names, counts = np.unique(target, return_counts=True)
    means = np.stack([centred[target == name].mean(axis=0) for name in names])
    between = (means.T * (counts / len(target))) @ means
    return float((1 - amount) * np.trace(linalg.pinvh(covariance) @ between))


def nearest_neighbours(
    kind: Kind, features: Array, target: Array, *, classes: int, metric: str
) -> tuple[float, int | None]:
    """What the nearest rows by cosine say of each row, itself left out (Cover and Hart, 1967).

    Returns:
        The metric of the best number of neighbours, and that number: of the same rows, so a little too good. nan and
        None where there are no two rows.
    """
    tried = [k for k in _NEIGHBOURS if k < len(features)]
    if not tried:
        return float("nan"), None
    truth = np.eye(classes)[target] if kind == "classes" else target.astype(np.float64)
    around = truth[_closest(features, max(tried))]
    sign = 1.0 if find_metric(metric, kind).higher_is_better else -1.0
    values = {k: measure([metric], target, around[:, :k].mean(axis=1))[metric] for k in tried}
    best = max(tried, key=lambda k: (np.nan_to_num(sign * values[k], nan=-np.inf), k))
    return values[best], best


def _closest(features: Array, count: int) -> Array:
    """The positions of the ``count`` rows most like each row, the nearest first ``[n, count]``."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    units = features / np.where(norms > 0, norms, 1.0)
    found = []
    for start in range(0, len(units), _BLOCK):
        alike = units[start : start + _BLOCK] @ units.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        some = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(alike, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


def agreement(scores: Sequence[float | None], verdicts: Sequence[float]) -> float | None:
    """Kendall's tau-b between a score and what decides; None for fewer than 3 values, or where either never varies."""
    pairs = [
        (score, verdict)
        for score, verdict in zip(scores, verdicts, strict=True)
        if score is not None and np.isfinite(score) and np.isfinite(verdict)
    ]
    if len(pairs) < _FEWEST or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return None
    return float(kendalltau(*zip(*pairs, strict=True)).statistic)
