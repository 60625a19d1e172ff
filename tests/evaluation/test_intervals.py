"""Intervals hold the truth as often as they say, are the same for the same seed, and are quick."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.evaluation import bootstrap, metrics_for


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
