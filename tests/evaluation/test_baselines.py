"""The baselines are what they say, on easy data and on awkward data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from regraft.evaluation import linear_probe, linear_readout, majority, majority_masks, measure, metrics_for
from regraft.evaluation.baselines import _fit, _Problem
from tests.evaluation.images import boxes, masks


def clusters(n: int, c: int, *, features: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(c, features))
    target = rng.integers(0, c, n)
    return (centres[target] + 1.5 * rng.normal(size=(n, features))).astype(np.float32), target


def test_the_majority_is_the_frequencies_of_training() -> None:
    assert majority("classes", np.array([0, 0, 1]), 2, 3) == pytest.approx(np.array([[2 / 3, 1 / 3, 0]] * 2))
    assert majority("labels", np.array([[True, False], [True, True]]), 1, 2) == pytest.approx(np.array([[1, 0.5]]))
    assert majority("numbers", np.array([[1.0], [4.0]]), 1, 1) == pytest.approx(np.array([[2.5]]))
    assert majority("classes", np.array([], dtype=int), 1, 4) == pytest.approx(np.full((1, 4), 0.25))


def test_the_majority_of_boxes_is_the_mean_box_of_each_class() -> None:
    train = np.empty(3, dtype=object)
    train[:] = [
        np.array([[0.0, 0.0, 0.2, 0.4, 0, 0], [0.5, 0.5, 1.0, 1.0, 2, 0]]),
        np.empty((0, 6)),
        np.array([[0.2, 0.2, 0.4, 0.4, 0, 0], [0.0, 0.0, 1.0, 1.0, 0, 1]]),
    ]
    found = majority("boxes", train, 4, 3)
    assert found.shape == (4, 3, 6)
    wanted = [[0.1, 0.1, 0.3, 0.4, 2 / 3, 0], [0, 0, 0, 0, -1, 1], [0.5, 0.5, 1, 1, 1 / 3, 2]]
    assert found[3] == pytest.approx(np.array(wanted))
    assert (majority("boxes", train[:0], 1, 2)[0, :, 4] == -1).all()


def test_the_majority_of_masks_is_the_class_of_most_pixels() -> None:
    test = np.array([[5, 5], [0, 9]])
    assert majority_masks(np.array([[1, 3], [4, 1]]), test).tolist() == [[[5, 0], [5, 0]], [[0, 0], [9, 0]]]
    assert majority_masks(np.empty((0, 2), dtype=int), test)[1].tolist() == [[0, 0], [9, 0]]


def test_the_majority_of_images_can_be_scored() -> None:
    target, _ = boxes()
    values = measure(metrics_for("boxes"), target, majority("boxes", target, len(target), 5))
    assert all(0 <= value < 0.1 for value in values.values())
    pixels, _ = masks()
    values = measure(metrics_for("masks"), pixels, majority_masks(pixels, pixels))
    assert values["pixel_accuracy"] == pytest.approx(pixels.sum(axis=0).max() / pixels.sum())


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_there_is_no_linear_probe_of_boxes_and_masks(kind: str) -> None:
    with pytest.raises(ValueError, match=f"not defined for {kind}"):
        linear_probe(kind, np.ones((5, 2)), np.ones((5, 2)), np.ones((5, 2)), seed=0, classes=2)


def test_the_fit_is_that_of_scikit_learn() -> None:
    features, target = clusters(400, 3)
    features = StandardScaler().fit_transform(features)
    problem = _Problem("classes", features, np.eye(3, dtype=np.float32)[target])
    weights = _fit(problem, problem.start(), 0.01)
    ours = features @ weights[:-1] + weights[-1]
    theirs = LogisticRegression(C=1 / (0.01 * 400), max_iter=1000, tol=1e-6).fit(features, target)
    gap = (ours - ours.mean(axis=1, keepdims=True)) - theirs.decision_function(features)
    assert np.abs(gap).max() < 0.05


@pytest.mark.parametrize("c", [2, 5])
def test_the_probe_learns_classes(c: int) -> None:
    train, test = clusters(600, c), clusters(300, c, seed=1)
    scores = linear_probe("classes", *train, test[0], seed=0, classes=c)
    assert scores.sum(axis=1) == pytest.approx(np.ones(300))
    direct = LogisticRegression(C=1.0, max_iter=1000).fit(*train).score(*test)
    assert measure(["accuracy"], test[1], scores)["accuracy"] > direct - 0.03
    assert (scores == linear_probe("classes", *train, test[0], seed=0, classes=c)).all()


def test_the_probe_learns_labels_and_numbers() -> None:
    train, target = clusters(600, 4)
    test, truth = clusters(300, 4, seed=1)
    of_labels = linear_probe("labels", train, np.eye(4, dtype=bool)[target], test, seed=0, classes=4)
    assert measure(["auc"], np.eye(4, dtype=bool)[truth], of_labels)["auc"] > 0.9
    numbers, wanted = (x[:, :1].astype(float) * 3 + x[:, 1:2] + 5 for x in (train, test))
    assert measure(["r2"], wanted, linear_probe("numbers", train, numbers, test, seed=0, classes=1))["r2"] > 0.99


def test_noise_gives_no_better_than_the_majority() -> None:
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(300, 200)), rng.integers(0, 2, 300)
    scores = linear_probe("classes", features[:150], target[:150], features[150:], seed=0, classes=2)
    assert measure(["log_loss"], target[150:], scores)["log_loss"] < 0.75


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("classes", np.array([0] * 19 + [1])),
        ("classes", np.array([2] * 20)),
        ("classes", np.arange(20)),
        ("classes", np.array([0, 1] * 10)),
        ("labels", np.zeros((20, 3), dtype=bool)),
        ("labels", np.ones((20, 3), dtype=bool)),
        ("labels", np.eye(20, 3, dtype=bool)),
        ("numbers", np.full((20, 1), 7.0)),
    ],
)
def test_awkward_training_rows(kind: str, target: np.ndarray) -> None:
    features = np.random.default_rng(0).normal(size=(20, 6))
    features[:, 3] = 1.0
    classes = int(target.max()) + 3 if kind == "classes" else target.shape[1]
    for rows in (20, 4, 2, 1, 0):
        scores = linear_probe(kind, features[:rows], target[:rows], features, seed=0, classes=classes)
        assert scores.shape == (20, classes)
        assert np.isfinite(scores).all()


def test_features_that_were_tuned_on_the_rows_are_held_back_though_they_tell_all_of_them_apart() -> None:
    rng = np.random.default_rng(0)
    target, others = np.arange(16) % 2, np.arange(2000) % 2
    direction = rng.normal(size=32)
    train = np.outer(2 * target - 1, direction) + rng.normal(size=(16, 32)) / 10  # learned by heart
    test = np.outer(2 * others - 1, direction) / 10 + rng.normal(size=(2000, 32))
    losses, penalties = [], []
    for learned_from in (None, 16):
        weight, bias, penalty = linear_readout("classes", train, target, seed=0, classes=2, learned_from=learned_from)
        losses.append(measure(["log_loss"], others, softmax(test @ weight.T + bias, axis=1))["log_loss"])
        penalties.append(penalty)
    assert penalties[1] == 32 / 16 > penalties[0]
    assert losses[1] < np.log(2) < losses[0]  # that of guessing
