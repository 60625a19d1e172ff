"""Precision against recall, for each class against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from regraft.evaluation.detection import (
    RECALLS,
    THRESHOLDS,
    Ranking,
    precision_at_recalls,
    precision_curve,
    rankings,
)
from regraft.evaluation.metrics import Kind
from regraft.evaluation.weighted import Array, Floats

_MOST = 20  # classes, the most frequent
_DIGITS = 5


def precision_recall(kind: Kind, labels: Sequence[str], target: Array, scores: Array) -> dict[str, Any] | None:
    """The best precision at 101 recalls or more, for up to 20 classes; None for numbers and masks.

    A class that never occurs has no curve. ``average_precision`` is the mean of a curve, as COCO defines it. Boxes are
    right from an overlap of 0.5 on, and have ``map_50``, the mean over all classes.
    """
    if kind == "boxes":
        ranked = rankings(target, scores)
        whole = {"iou": float(THRESHOLDS[0]), "map_50": _map_50(ranked)}
        return {**whole, **_drawn(labels, _of_boxes(ranked))}
    if kind in {"classes", "labels"}:
        return _drawn(labels, _of_probabilities(kind, len(labels), target, scores))
    return None


def _drawn(labels: Sequence[str], curves: dict[int, Floats]) -> dict[str, Any]:
    return {
        "recall": np.round(RECALLS, 2).tolist(),
        "precision": {labels[k]: np.round(curve, _DIGITS).tolist() for k, curve in curves.items()},
        "average_precision": {labels[k]: float(curve.mean()) for k, curve in curves.items()},
    }


def _of_boxes(ranked: Sequence[Ranking]) -> dict[int, Floats]:
    chosen = _most_frequent({each.label: float(each.objects.sum()) for each in ranked})
    return {each.label: precision_curve(each, 0) for each in ranked if each.label in chosen}


def _map_50(ranked: Sequence[Ranking]) -> float:
    return float(np.mean([precision_curve(each, 0).mean() for each in ranked])) if ranked else float("nan")


def _of_probabilities(kind: Kind, classes: int, target: Array, scores: Array) -> dict[int, Floats]:
    support = target.sum(axis=0) if kind == "labels" else np.bincount(target, minlength=classes)
    chosen = _most_frequent({k: float(count) for k, count in enumerate(support) if count})
    return {k: _curve(target[:, k] if kind == "labels" else target == k, scores[:, k]) for k in chosen}


def _most_frequent(support: dict[int, float]) -> list[int]:
    return sorted(sorted(support, key=lambda label: (-support[label], label))[:_MOST])


def _curve(positive: Array, score: Array) -> Floats:
    """Rows of equal score are chosen together."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = np.cumsum(positive[order])
    return precision_at_recalls(found[ends], ends + 1, float(found[-1]))
