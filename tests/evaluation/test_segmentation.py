"""Overlap of pixels is what scikit-learn makes of the same pixels one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from regraft.evaluation import METRICS, measure, metrics_for
from tests.evaluation.images import masks

NAMES = metrics_for("masks")


def one_by_one(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true and the decided class of every pixel."""
    truth, decided = np.indices(scores.shape[1:])
    counts = scores.sum(axis=0).ravel()
    return np.repeat(truth.ravel(), counts), np.repeat(decided.ravel(), counts)


def by_scikit_learn(scores: np.ndarray) -> dict[str, float]:
    truth, decided = one_by_one(scores)
    return {
        "mean_iou": reference.jaccard_score(truth, decided, average="macro"),
        "mean_dice": reference.f1_score(truth, decided, average="macro"),
        "pixel_accuracy": reference.accuracy_score(truth, decided),
        "mean_accuracy": reference.recall_score(truth, decided, labels=np.unique(truth), average="macro"),
    }


def test_as_in_scikit_learn() -> None:
    target, scores = masks()
    assert measure(NAMES, target, scores) == pytest.approx(by_scikit_learn(scores))


def test_weights_are_repeated_images() -> None:
    target, scores = masks(seed=1)
    weights = np.random.default_rng(1).integers(0, 4, size=(3, len(target)))
    for name in NAMES:
        weighted = METRICS[name].function(target, scores)(weights.astype(float))
        for counts, value in zip(weights, weighted, strict=True):
            assert value == pytest.approx(by_scikit_learn(np.repeat(scores, counts, axis=0))[name])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 8))
def test_the_order_of_images_does_not_count(seed: int, n: int) -> None:
    target, scores = masks(n, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    assert measure(NAMES, target[order], scores[order]) == pytest.approx(measure(NAMES, target, scores), nan_ok=True)


def test_a_class_that_is_neither_true_nor_decided_is_left_out() -> None:
    counts = np.array([[[6, 2, 0], [0, 4, 0], [0, 0, 0]]])
    assert measure(NAMES, counts.sum(axis=2), counts) == pytest.approx(
        {"mean_iou": (6 / 8 + 4 / 6) / 2, "mean_dice": (12 / 14 + 8 / 10) / 2, "pixel_accuracy": 10 / 12,
         "mean_accuracy": (6 / 8 + 1) / 2}
    )  # fmt: skip


def test_a_class_that_is_only_decided_is_wrong() -> None:
    counts = np.array([[[6, 2], [0, 0]]])
    assert measure(["mean_iou"], counts.sum(axis=2), counts)["mean_iou"] == pytest.approx(6 / 8 / 2)


def test_without_pixels_everything_is_undefined() -> None:
    nothing = np.zeros((2, 3, 3), dtype=int)
    for rows in (2, 0):
        values = measure(NAMES, nothing[:rows].sum(axis=2), nothing[:rows]).values()
        assert np.isnan(list(values)).all()
