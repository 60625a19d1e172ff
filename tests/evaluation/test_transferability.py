"""LogME, H-score and neighbours: right where the answer is known, in the right order, finite where little is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from regraft.evaluation.transferability import agreement, h_score, log_me, nearest_neighbours


def separated(*, apart: float, rows: int = 200, width: int = 8, classes: int = 3, seed: int = 0):
    """Features whose classes lie ``apart`` standard deviations from one another."""
    rng = np.random.default_rng(seed)
    target = np.arange(rows) % classes
    return rng.normal(size=(rows, width)) + apart * np.eye(classes, width)[target], target


def all_scores(features, target, classes: int = 3) -> tuple[float, float, float]:
    return (
        log_me("classes", features, target, classes=classes),
        h_score(features, target),
        nearest_neighbours("classes", features, target, classes=classes, metric="accuracy")[0],
    )


def largest_evidence(features, column) -> float:
    """The log-evidence a row, maximised over both precisions at once, from many starts."""
    n = len(column)
    spread, directions = np.linalg.eigh(features @ features.T)
    spread, along = np.clip(spread, 0, None), (directions.T @ column) ** 2

    def negative(logs):
        variance = np.exp(-logs[1]) + np.exp(-logs[0]) * spread
        return 0.5 * (n * np.log(2 * np.pi) + np.log(variance).sum() + (along / variance).sum())

    starts = [(prior, noise) for prior in np.linspace(-8, 10, 5) for noise in (-1, 2, 6)]
    found = [minimize(negative, start, bounds=[(-25, 25), (-20, 20)]).fun for start in starts]
    return -min(found) / n


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), rows=st.integers(8, 40), width=st.integers(1, 30), noise=st.floats(-2, 1.5))
def test_log_me_is_the_largest_evidence(seed, rows, width, noise):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, width)) * 10 ** rng.uniform(-1, 1, size=width)
    column = features @ (rng.normal(size=width) * (rng.random(width) < 0.5)) + 10**noise * rng.normal(size=rows)
    column = (column - column.mean()) / column.std()
    found = log_me("numbers", features, column[:, None], classes=1)
    assert found == pytest.approx(largest_evidence(features, column), abs=1e-4)


def test_log_me_finds_the_higher_of_two_maxima():
    """One strong feature that says nothing, one weak that says all: no signal at all is a maximum too."""
    rng = np.random.default_rng(0)
    telling = rng.normal(size=10)
    features = np.column_stack([100 * rng.normal(size=10), telling])
    column = (telling - telling.mean()) / telling.std() + 0.02 * rng.normal(size=10)
    found = log_me("numbers", features, column[:, None], classes=1)
    column = (column - column.mean()) / column.std()
    assert found == pytest.approx(largest_evidence(features, column), abs=1e-4)


def test_log_me_of_classes_is_the_mean_over_their_columns():
    features, target = separated(apart=1.0, rows=30)
    columns = [largest_evidence(features, (target == k).astype(float)) for k in range(3)]
    assert log_me("classes", features, target, classes=3) == pytest.approx(np.mean(columns), abs=1e-4)


def test_log_me_sees_neither_rotation_nor_scale():
    features, target = separated(apart=1.0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    plain = log_me("classes", features, target, classes=3)
    assert log_me("classes", 30 * features @ turn, target, classes=3) == pytest.approx(plain, abs=1e-9)


def test_log_me_of_numbers_does_not_depend_on_their_unit():
    features, _ = separated(apart=1.0)
    target = features[:, :1] + np.random.default_rng(1).normal(size=(200, 1))
    plain = log_me("numbers", features, target, classes=1)
    assert log_me("numbers", features, 1000 * target - 7, classes=1) == pytest.approx(plain, abs=1e-9)


def test_the_h_score_is_the_share_of_the_spread_that_lies_between_classes():
    """With many rows the shrinkage vanishes; in one dimension the score is the ratio of two variances."""
    rng = np.random.default_rng(0)
    target = np.arange(20_000) % 2
    features = np.column_stack([rng.normal(size=20_000) + target, rng.normal(size=20_000)])
    assert h_score(features, target) == pytest.approx(0.25 / 1.25, abs=0.02)


def test_the_h_score_of_classes_far_apart_is_their_number_less_one():
    features, target = separated(apart=100.0, rows=3_000)
    assert h_score(features, target) == pytest.approx(2.0, abs=0.02)


def test_the_h_score_of_more_features_than_rows_is_not_that_of_noise_fitted():
    rng = np.random.default_rng(0)
    target = np.arange(40) % 2
    assert h_score(rng.normal(size=(40, 200)), target) < 0.3


def test_better_features_score_higher():
    scores = [all_scores(*separated(apart=apart)) for apart in (0.0, 0.7, 1.5, 3.0)]
    for of_one_kind in zip(*scores, strict=True):
        assert list(of_one_kind) == sorted(of_one_kind)
        assert of_one_kind[0] < of_one_kind[2] < of_one_kind[3]


def test_better_features_of_numbers_score_higher():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(200, 1))
    told = [np.hstack([target, np.ones((200, 1))]) + noise * rng.normal(size=(200, 2)) for noise in (10.0, 1.0, 0.1)]
    evidence = [log_me("numbers", features, target, classes=1) for features in told]
    near = [nearest_neighbours("numbers", features, target, classes=1, metric="r2")[0] for features in told]
    assert evidence == sorted(evidence)
    assert near == sorted(near)


def test_labels_have_the_mean_evidence_and_neighbours():
    features, target = separated(apart=3.0)
    labels = np.stack([target == 0, target > 0], axis=1)
    shuffled = np.random.default_rng(1).permutation(features)
    assert log_me("labels", features, labels, classes=2) > log_me("labels", shuffled, labels, classes=2)
    assert nearest_neighbours("labels", features, labels, classes=2, metric="accuracy")[0] > 0.9


def test_neighbours_leave_the_row_itself_out():
    """Pairs of rows in the same place with different labels: each is told the other's."""
    places = np.repeat(np.eye(20), 2, axis=0)
    value, _ = nearest_neighbours("classes", places, np.arange(40) % 2, classes=2, metric="accuracy")
    assert value <= 0.5


def test_neighbours_are_those_of_the_smallest_angle():
    """Two rays; the rows of one ray are far from one another."""
    lengths = np.geomspace(1, 1000, 20)
    features = np.concatenate([np.outer(lengths, [1, 0.1]), np.outer(lengths, [0.1, 1])])
    target = np.repeat([0, 1], 20)
    assert nearest_neighbours("classes", features, target, classes=2, metric="accuracy")[0] == 1.0


def test_blocks_of_rows_change_nothing(monkeypatch):
    features, target = separated(apart=1.0)
    whole = nearest_neighbours("classes", features, target, classes=3, metric="accuracy")
    monkeypatch.setattr("regraft.evaluation.transferability._BLOCK", 7)
    assert nearest_neighbours("classes", features, target, classes=3, metric="accuracy") == whole


def test_a_metric_of_which_less_is_better_picks_its_smallest():
    features, target = separated(apart=1.0)
    value, neighbours = nearest_neighbours("classes", features, target, classes=3, metric="log_loss")
    assert value < 2.0
    assert neighbours not in {1, 3}  # few neighbours are too sure of themselves


POOR = {
    "constant features": (np.ones((30, 4), np.float32), np.arange(30) % 3),
    "features of zeros": (np.zeros((30, 4), np.float32), np.arange(30) % 3),
    "one row of a class": (separated(apart=1.0, rows=30)[0], np.array([2] + [0, 1] * 14 + [0])),
    "a class without rows": (separated(apart=1.0, rows=30)[0], np.arange(30) % 2),
    "more features than rows": (np.random.default_rng(0).normal(size=(10, 50)), np.arange(10) % 3),
    "an exact fit": (np.eye(3)[np.arange(30) % 3], np.arange(30) % 3),
    "huge features": (1e18 * separated(apart=1.0, rows=30)[0], np.arange(30) % 3),
    "equal columns": (np.repeat(separated(apart=1.0, rows=30, width=3)[0], 4, axis=1), np.arange(30) % 3),
    "two rows": (np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])),
}


@pytest.mark.parametrize(("features", "target"), POOR.values(), ids=POOR)
def test_poor_features_give_finite_numbers(features, target):
    assert np.isfinite(all_scores(features, target)).all()


def test_a_constant_target_has_no_evidence():
    assert np.isnan(log_me("classes", np.eye(4), np.zeros(4, int), classes=2))


def test_a_single_row_has_no_neighbours():
    value, neighbours = nearest_neighbours("classes", np.ones((1, 2)), np.array([0]), classes=2, metric="accuracy")
    assert np.isnan(value)
    assert neighbours is None


def test_agreement_is_one_where_the_order_is_the_same_and_minus_one_where_it_is_turned_round():
    assert agreement([0.1, 5.0, 70.0], [1.0, 2.0, 3.0]) == pytest.approx(1.0)
    assert agreement([3.0, 2.0, 1.0], [1.0, 2.0, 3.0]) == pytest.approx(-1.0)


@pytest.mark.parametrize("scores", [[1.0, 2.0], [1.0, 1.0, 1.0], [None, None, None], [1.0, 2.0, float("nan")]])
def test_agreement_of_too_little_is_not_told(scores):
    assert agreement(scores, [1.0, 2.0, 3.0][: len(scores)]) is None
