"""Intervals hold the truth as often as they say, are the same for the same seed, and are quick."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.evaluation import bootstrap, measure, metrics_for
from tests.evaluation.images import boxes, masks


def binary(n: int, *, seed: int = 0, accuracy: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, n)
    right = rng.random(n) < accuracy
    sure = rng.uniform(0.5, 1, n)
    first = np.where(right == (target == 0), sure, 1 - sure)
    return target, np.stack([first, 1 - first], axis=1)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    target, scores = binary(200)
    names = metrics_for("classes")
    runs = [bootstrap(names, target, scores, resamples=200, confidence=0.95, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_an_interval_lies_about_its_value_and_widens_with_confidence() -> None:
    target, scores = binary(300)
    for name in metrics_for("classes"):
        narrow, wide = (
            bootstrap([name], target, scores, resamples=500, confidence=c, seed=0)[name] for c in (0.5, 0.99)
        )
        assert wide.low < narrow.low < narrow.high < wide.high
        if name != "ece":  # which the bootstrap overestimates: resampling adds noise to every bin
            assert wide.low < wide.value < wide.high


def test_the_interval_of_accuracy_is_the_binomial_one() -> None:
    target, scores = binary(1061)
    found = bootstrap(["accuracy"], target, scores, resamples=4000, confidence=0.95, seed=0)["accuracy"]
    error = np.sqrt(found.value * (1 - found.value) / 1061)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.003)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.003)


def test_95_of_100_intervals_hold_the_truth() -> None:
    held = 0
    for seed in range(200):
        target, scores = binary(250, seed=seed)
        found = bootstrap(["accuracy"], target, scores, resamples=300, confidence=0.95, seed=seed)["accuracy"]
        held += found.low <= 0.8 <= found.high
    assert 180 <= held <= 199


def test_undefined_and_empty() -> None:
    same = np.zeros(20, dtype=int), np.tile([0.7, 0.3], (20, 1))
    found = bootstrap(["auc", "accuracy"], *same, resamples=100, confidence=0.95, seed=0)
    assert np.isnan([found["auc"].value, found["auc"].low, found["auc"].high]).all()
    assert found["accuracy"].low == pytest.approx(0.8389, abs=1e-3)  # Wilson, 20 of 20
    empty = bootstrap(["auc"], same[0][:0], same[1][:0], resamples=100, confidence=0.95, seed=0)
    assert np.isnan(empty["auc"].value)


def test_a_thousand_classes_fit() -> None:
    rng = np.random.default_rng(0)
    target, scores = rng.integers(0, 1000, 2000), rng.dirichlet(np.ones(1000), 2000)
    found = bootstrap(metrics_for("classes"), target, scores, resamples=100, confidence=0.95, seed=0)
    assert 0.4 < found["auc"].low < found["auc"].high < 0.6


def test_all_rows_right_still_leaves_room_for_doubt():
    target = np.zeros(25, dtype=np.int64)
    target[:12] = 1
    sure = np.stack([1.0 - target, target], axis=1)
    found = bootstrap(["accuracy", "auc"], target, sure, resamples=200, confidence=0.95, seed=0)
    assert found["accuracy"].value == 1.0
    assert found["accuracy"].low == pytest.approx(0.8668, abs=1e-3)  # Wilson, 25 of 25
    assert found["accuracy"].high == 1.0
    assert np.isnan(found["auc"].low)


def test_the_interval_of_average_precision_holds_the_truth() -> None:
    """Percentiles alone held it in 32 of these 40 samples."""
    target, scores = boxes(4_000, c=2, most=10)
    truth = measure(["map"], target, scores)["map"]
    held = 0
    for seed in range(40):
        rows = np.random.default_rng(seed).choice(len(target), 40, replace=False)
        found = bootstrap(["map"], target[rows], scores[rows], resamples=200, confidence=0.95, seed=seed)["map"]
        assert 0 <= found.low <= found.value <= found.high <= 1
        held += found.low <= truth <= found.high
    assert held >= 34


def perfect_boxes(n: int = 25) -> tuple[np.ndarray, np.ndarray]:
    target = np.empty(n, dtype=object)
    target[:] = [np.array([[0.1, 0.1, 0.5, 0.5, 0, 0]]) for _ in range(n)]
    return target, np.tile([0.1, 0.1, 0.5, 0.5, 0.9, 0], (n, 1, 1))


def test_boxes_that_are_all_right_leave_room_for_doubt() -> None:
    found = bootstrap(["map", "recall_100"], *perfect_boxes(), resamples=200, confidence=0.95, seed=0)
    assert found["map"].value == found["recall_100"].value == found["recall_100"].high == 1
    assert np.isnan([found["map"].low, found["map"].high]).all()
    assert found["recall_100"].low == pytest.approx(0.8668, abs=1e-3)


def test_boxes_that_are_all_wrong_may_be_a_little_right() -> None:
    target, scores = perfect_boxes()
    elsewhere = scores.copy()
    elsewhere[:, :, :4] += 0.5
    found = bootstrap(["map_50"], target, elsewhere, resamples=200, confidence=0.95, seed=0)
    assert (found["map_50"].value, found["map_50"].low) == (0, 0)
    assert found["map_50"].high == pytest.approx(0.1332, abs=1e-3)


def test_masks_that_are_all_right_leave_room_for_doubt() -> None:
    target, _ = masks(25)
    right = target[:, :, None] * np.eye(4, dtype=int)
    found = bootstrap(metrics_for("masks"), target, right, resamples=200, confidence=0.95, seed=0)
    for each in found.values():
        assert (each.value, each.high) == (1, 1)
        assert each.low == pytest.approx(0.8668, abs=1e-3)
