"""Each label on its own, with intervals: what is it good at, and what not?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from regraft.evaluation.detection import THRESHOLDS, average_precisions, rankings
from regraft.evaluation.intervals import Estimate, Sampling, bootstrap_columns
from regraft.evaluation.metrics import Kind, memberships
from regraft.evaluation.segmentation import pixels_of
from regraft.evaluation.weighted import Array, Floats, ratio

_MOST_INTERVALS = 1_000  # labels
_SHARES = ("precision", "recall", "f1")
_UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def per_label(
    kind: Kind, labels: Sequence[str], target: Array, scores: Array, sampling: Sampling
) -> list[dict[str, Any]] | None:
    """How good each label is; None for numbers.

    Classes and labels have precision, recall and F1, None where a label never occurs or is never chosen, and their
    intervals for up to 1,000 labels. Boxes have average precision, masks IoU and Dice. ``support`` counts rows or
    objects, or is the share of the pixels.
    """
    if kind == "boxes":
        return _of_boxes(labels, target, scores, sampling)
    if kind == "masks":
        return _of_masks(labels, scores, sampling)
    return None if kind not in {"classes", "labels"} else _of_decisions(labels, target, scores, sampling)


def _of_decisions(labels: Sequence[str], target: Array, scores: Array, sampling: Sampling) -> list[dict[str, Any]]:
    truth, decision = memberships(target, scores)
    hit = truth.multiply(decision).tocsr()
    support, chosen = (np.asarray(each.sum(axis=0)) for each in (truth, decision))

    def shares(weights: Floats) -> Floats:
        right, true, given = (np.asarray(weights @ each) for each in (hit, truth, decision))
        return np.hstack([ratio(right, given), ratio(right, true), ratio(2 * right, true + given)])

    values = shares(np.ones((1, len(target))))[0].reshape(len(_SHARES), len(labels))
    found = [
        {"label": label, "support": int(support[k]), **dict(zip(_SHARES, values[:, k], strict=True))}
        for k, label in enumerate(labels)
    ]
    if len(target) == 0 or len(labels) > _MOST_INTERVALS:
        return [{**each, "intervals": None} for each in found]
    columns = bootstrap_columns(
        np.repeat(_SHARES, len(labels)).tolist(),
        shares,
        rows=len(target),
        cases=np.concatenate([chosen, support, (chosen + support) / 2]).tolist(),
        work=int(truth.nnz + decision.nnz),
        sampling=sampling,
    )
    ends = _by_label(columns, len(labels))
    return [
        {**each, "intervals": dict(zip(_SHARES, mine, strict=True))} for each, mine in zip(found, ends, strict=True)
    ]


def _of_boxes(labels: Sequence[str], target: Array, scores: Array, sampling: Sampling) -> list[dict[str, Any]]:
    ranked = rankings(target, scores)
    measured: dict[int, list[Estimate]] = {}
    if ranked:
        every, at_50 = average_precisions(ranked, range(len(THRESHOLDS))), average_precisions(ranked, [0])
        columns = bootstrap_columns(
            np.repeat(["ap", "ap_50"], len(ranked)).tolist(),
            lambda weights: np.hstack([every(weights), at_50(weights)]),
            rows=len(target),
            cases=2 * [float(np.count_nonzero(each.objects)) for each in ranked],
            work=len(target) * scores.shape[1],
            sampling=sampling,
        )
        measured = dict(zip([each.label for each in ranked], _by_label(columns, len(ranked)), strict=True))
    support = {each.label: int(each.objects.sum()) for each in ranked}
    return [
        {"label": label, "support": support.get(k, 0), **_named(("ap", "ap_50"), measured.get(k))}
        for k, label in enumerate(labels)
    ]


def _of_masks(labels: Sequence[str], scores: Array, sampling: Sampling) -> list[dict[str, Any]]:
    if len(scores) == 0:
        return [{"label": label, "support": None, **_named(("iou", "dice"), None)} for label in labels]
    pixels = pixels_of(scores)
    support = ratio(pixels.truth.sum(axis=0), pixels.truth.sum())

    def overlaps(weights: Floats) -> Floats:
        counted = pixels.weighted(weights)
        return np.hstack([counted.iou, counted.dice])

    columns = bootstrap_columns(
        np.repeat(["iou", "dice"], len(labels)).tolist(),
        overlaps,
        rows=len(scores),
        cases=2 * np.count_nonzero(pixels.truth + pixels.decided, axis=0).tolist(),
        work=len(scores) * len(labels),
        sampling=sampling,
    )
    return [
        {"label": label, "support": support[k], **_named(("iou", "dice"), mine)}
        for k, (label, mine) in enumerate(zip(labels, _by_label(columns, len(labels)), strict=True))
    ]


def _by_label(columns: Sequence[Estimate], labels: int) -> list[list[Estimate]]:
    """Columns that are sorted by what is measured, as a list for each label."""
    return [list(columns[k::labels]) for k in range(labels)]


def _named(names: Sequence[str], values: Sequence[Estimate] | None) -> dict[str, Estimate]:
    return dict(zip(names, values or [_UNDEFINED] * len(names), strict=True))
