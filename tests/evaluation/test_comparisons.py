"""The test finds a real difference, leaves chance alone, and says so in words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from regraft.evaluation import Comparison, compare, measure, verdict
from tests.evaluation.images import boxes, masks

SAMPLING = {"resamples": 300, "confidence": 0.95, "seed": 0}
NO_DIFFERENCE = "no difference that 1,061 rows could show"


def answers(target: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    right = rng.random(len(target)) < accuracy
    first = np.where(right == (target == 0), 0.9, 0.1) + rng.uniform(-0.05, 0.05, len(target))
    return np.stack([first, 1 - first], axis=1)


def truth(n: int = 400) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 2, n)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "macro_f1", "auc"])
def test_a_real_difference_is_found_and_points_to_the_better(metric: str) -> None:
    target = truth()
    better, worse = answers(target, 0.9, 1), answers(target, 0.75, 2)
    found = compare(metric, target, better, worse, baseline="linear_probe", **SAMPLING)
    turned = compare(metric, target, worse, better, baseline="linear_probe", **SAMPLING)
    assert found.p < 0.001
    assert 0 < found.low < found.difference < found.high
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.p < 0.001


def test_p_of_accuracy_is_that_of_the_exact_sign_test() -> None:
    target = truth(200)
    one, other = answers(target, 0.8, 1), answers(target, 0.72, 2)
    found = compare("accuracy", target, one, other, baseline="b", **SAMPLING)
    wins, losses = (
        int(((a.argmax(1) == target) & (b.argmax(1) != target)).sum()) for a, b in ((one, other), (other, one))
    )
    assert found.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, abs=0.015)


def test_for_a_mean_the_short_way_and_the_long_way_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    target = truth(120)
    one, other = answers(target, 0.85, 1), answers(target, 0.78, 2)
    short = {m: compare(m, target, one, other, baseline="b", **SAMPLING).p for m in ("accuracy", "log_loss")}
    monkeypatch.setattr("regraft.evaluation.comparisons.Mean", type("Other", (), {}))
    for metric, p in short.items():
        long = compare(metric, target, one, other, baseline="b", **SAMPLING).p
        assert p == pytest.approx(long, abs=0.02)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_p_is_uniform_where_there_is_no_difference(metric: str) -> None:
    target = truth(150)
    ps = [
        compare(metric, target, answers(target, 0.8, k), answers(target, 0.8, k + 1000), baseline="b",
                resamples=1, confidence=0.95, seed=k).p
        for k in range(60)
    ]  # fmt: skip
    assert np.mean(np.array(ps) < 0.1) < 0.25
    assert 0.35 < np.mean(ps) < 0.75


def test_equal_systems() -> None:
    target = truth(50)
    same = answers(target, 0.8, 1)
    for metric in ("accuracy", "auc"):
        found = compare(metric, target, same, same, baseline="b", **SAMPLING)
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_undefined_is_nan() -> None:
    target = np.zeros(10, dtype=int)
    found = compare("auc", target, answers(target, 0.8, 1), answers(target, 0.8, 2), baseline="b", **SAMPLING)
    assert np.isnan([found.difference, found.p]).all()
    assert "undefined" in verdict(found, 10)


@pytest.mark.parametrize(("metric", "target"), [("r2", np.zeros((0, 1))), ("accuracy", np.zeros(0, dtype=int))])
def test_without_rows_there_is_no_difference_to_tell(metric: str, target: np.ndarray) -> None:
    found = compare(metric, target, np.zeros((0, 1)), np.zeros((0, 1)), baseline="b", **SAMPLING)
    assert np.isnan([found.difference, found.low, found.high, found.p, found.tuned_value]).all()


def test_numbers_with_a_lower_is_better_metric() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(200, 1))
    near, far = target + rng.normal(0, 0.5, (200, 1)), target + rng.normal(0, 1, (200, 1))
    found = compare("mse", target, near, far, baseline="majority", **SAMPLING)
    assert found.difference > 0
    assert found.p < 0.001


def two_systems(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two answers to the same six images: boxes of which the scores differ, or masks of which four do."""
    if kind == "boxes":
        target, scores = boxes(6, c=2, most=10, seed=1)
        worse = scores.copy()
        worse[:, :, 4] = np.where(scores[:, :, 4] >= 0, np.random.default_rng(1).random(scores.shape[:2]), -1)
    else:
        target, scores = masks(6, c=3, seed=3)
        worse = np.concatenate([masks(6, c=3, seed=3, right=0.6)[1][:4], scores[4:]])
    return target, scores, worse


@pytest.mark.parametrize(("kind", "metric"), [("boxes", "map_50"), ("masks", "mean_iou")])
def test_p_of_images_is_that_of_all_ways_to_swap_them(kind: str, metric: str) -> None:
    target, one, other = two_systems(kind)
    found = compare(metric, target, one, other, baseline="b", **SAMPLING)
    differences = []
    for code in range(64):
        swapped = (code >> np.arange(6) & 1).astype(bool).reshape(-1, 1, 1)
        mine, yours = np.where(swapped, other, one), np.where(swapped, one, other)
        differences.append(measure([metric], target, mine)[metric] - measure([metric], target, yours)[metric])
    exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)
    assert 0.05 < exact < 0.95
    assert found.p == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(("kind", "metric"), [("boxes", "map"), ("boxes", "recall_100"), ("masks", "mean_dice")])
def test_equal_systems_on_images(kind: str, metric: str) -> None:
    target, same, _ = two_systems(kind)
    found = compare(metric, target, same, same, baseline="b", **SAMPLING)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_system_that_gives_fewer_boxes_can_be_compared() -> None:
    target, scores = boxes()
    fewer = scores[:, :3]
    found = compare("map_50", target, scores, fewer, baseline="b", **SAMPLING)
    turned = compare("map_50", target, fewer, scores, baseline="b", **SAMPLING)
    assert found.difference > 0
    assert found.low < found.difference < found.high
    assert (turned.difference, turned.p) == pytest.approx((-found.difference, found.p), abs=0.01)


@pytest.mark.parametrize(
    ("difference", "p", "words"),
    [
        (0.03, 0.0003, "tuning helped: accuracy 0.79 against 0.76 for the linear probe, p = 0.0003"),
        (-0.03, 0.0003, "tuning hurt: accuracy 0.79 against 0.82 for the linear probe, p = 0.0003"),
        (0.03, 0.31, f"{NO_DIFFERENCE}: accuracy 0.79 against 0.76 for the linear probe, p = 0.31"),
        (0.001, 0.9, f"{NO_DIFFERENCE}: accuracy 0.790 against 0.789 for the linear probe, p = 0.9"),
    ],
)  # fmt: skip
def test_the_verdict_is_a_sentence(difference: float, p: float, words: str) -> None:
    comparison = Comparison("accuracy", "linear_probe", difference, 0, 0, p, 0.79, 0.79 - difference)
    assert verdict(comparison, 1061) == words
