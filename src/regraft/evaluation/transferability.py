"""Transferability: how well features suit a task, told without tuning.

Each score takes features ``[n, f]`` of the training rows and what is right for them (see ``metrics`` for the kinds).
None replaces a linear probe: on the usual benchmark LogME correlates 0.57 with what tuning reaches, and a list ordered
by nothing but size 0.91 (arXiv 2510.06448). Rows and columns without any spread give finite numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg
from scipy.stats import kendalltau
from sklearn.covariance import ledoit_wolf_shrinkage

from regraft.evaluation.metrics import Array, Floats, Kind, find_metric, measure

_NEIGHBOURS = (1, 3, 5, 11, 21, 51)
_BLOCK = 1_000  # rows whose similarities to all others are held at once
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
    evidence = [_evidence(squares, left[:, kept].T @ column, column) for column in columns.T]
    return float(np.mean(evidence)) if evidence else float("nan")


def _columns(kind: Kind, target: Array, classes: int) -> Floats:
    """What is right as numbers ``[n, c]``, without columns that never vary."""
    columns = np.eye(classes)[target] if kind == "classes" else target.astype(np.float64)
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    return (columns - columns.mean(axis=0)) / columns.std(axis=0) if kind == "numbers" else columns


def _evidence(squares: Floats, along: Floats, column: Floats) -> float:
    """The log-evidence of ``column``, a row, at the best strengths of prior and noise.

    Prior and noise have precisions alpha and beta. Given their ratio, the evidence has its maximum over beta in closed
    form, so that the fixed-point iteration of MacKay (1992), which the paper takes over, runs over the ratio alone.

    Args:
        squares: of the singular values of the features ``[r]``.
        along: the column in the basis of the left singular vectors ``[r]``.
    """
    n, total = len(column), float(column @ column)
    rest = max(total - float(along @ along), 0.0)
    if len(squares) == 0:
        return _at_ratio(squares, along, rest, n, total, ratio=1.0)
    low, high = squares.max() * 1e-12, squares.max() * 1e12
    ratio = float(squares.mean())
    for _ in range(_ITERATIONS):
        shrunk = squares + ratio
        effective = float((squares / shrunk).sum())
        weight = float((squares * along**2 / shrunk**2).sum())
        residual = float((ratio * along / shrunk) @ (ratio * along / shrunk)) + rest
        above, below = effective * residual, weight * max(n - effective, 1e-12)
        fresh = float(np.clip(above / below if below > above / high else high, low, high))
        if abs(fresh - ratio) <= _CLOSE * ratio:
            break
        ratio = fresh
    return _at_ratio(squares, along, rest, n, total, ratio=ratio)


def _at_ratio(squares: Floats, along: Floats, rest: float, n: int, total: float, *, ratio: float) -> float:
    """The log-evidence a row, at alpha / beta = ``ratio`` and the best beta; an exact fit keeps a little noise."""
    noise = max((float((along**2 * ratio / (squares + ratio)).sum()) + rest) / n, 1e-12 * total / n)
    return float(-0.5 * (np.log(2 * np.pi) + 1 + np.log(noise) + np.log1p(squares / ratio).sum() / n))


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
