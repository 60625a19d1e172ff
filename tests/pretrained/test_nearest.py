"""A last layer of nearest neighbours says what a plain computation says, and equals count as equals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from regraft.pretrained import NearestNeighbours

ROWS, FEATURES, OUTPUTS, TEMPERATURE = 60, 8, 3, 0.1


def remembering(
    features: NDArray[np.float32], target: NDArray[np.int64], *, k: int | None, several: bool = False
) -> NearestNeighbours:
    layer = NearestNeighbours(len(features), features.shape[1], OUTPUTS, several=several)
    layer.remember(torch.from_numpy(features), torch.from_numpy(target), temperature=TEMPERATURE, k=k)
    return layer


def drawn(seed: int, count: int = ROWS) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features around a place for each of three classes."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, OUTPUTS, count)
    return (np.eye(OUTPUTS, FEATURES)[target] + rng.normal(0, 0.5, (count, FEATURES))).astype(np.float32), target


def shares(features: NDArray[np.float32], answers: NDArray[np.float64], asked: NDArray[np.float32], k: int):
    """The weighted share of each answer among the nearest, row by row."""
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (asked, features)]
    found = []
    for cosines in units[0] @ units[1].T:
        nearest = np.argsort(-cosines)[:k]
        weights = np.exp(cosines[nearest] / TEMPERATURE)
        found.append(weights @ answers[nearest] / weights.sum())
    return np.array(found)


@pytest.mark.parametrize("k", [1, 5, ROWS])
@pytest.mark.parametrize("several", [False, True])
def test_it_says_the_shares_of_the_nearest(k: int, several: bool) -> None:
    features, target = drawn(0)
    answers = np.eye(OUTPUTS)[target]
    layer = remembering(features, np.asarray(answers) if several else target, k=k, several=several)
    asked, _ = drawn(1, 20)
    logits = layer(torch.from_numpy(asked))
    said = logits.sigmoid() if several else logits.softmax(dim=1)
    expected = (k * shares(features, answers, asked, k) + (1 / 2 if several else 1 / OUTPUTS)) / (k + 1)
    np.testing.assert_allclose(said.detach().numpy(), expected, atol=1e-5)


def test_k_is_the_one_by_which_rows_tell_each_other_best() -> None:
    features, target = drawn(2)
    layer = remembering(features, target, k=None)
    losses = {}
    for k in (1, 3, 5, 11, 21, 51):
        chances = []
        for row in range(ROWS):
            others = np.arange(ROWS) != row
            said = shares(features[others], np.eye(OUTPUTS)[target[others]], features[row : row + 1], k)
            chances.append((k * said[0, target[row]] + 1 / OUTPUTS) / (k + 1))
        losses[k] = -np.log(chances).mean()
    assert int(layer.k) == min(losses, key=losses.__getitem__)
    assert len({round(loss, 3) for loss in losses.values()}) == len(losses)


def test_rows_that_are_as_near_as_the_last_one_count_too() -> None:
    features, _ = drawn(3)
    features[1:4] = features[0]
    target = np.arange(ROWS) % OUTPUTS  # the four that are alike are of all three classes
    said = remembering(features, target, k=1)(torch.from_numpy(features[:1])).softmax(dim=1)
    expected = (np.array([2, 1, 1]) / 4 + 1 / OUTPUTS) / 2
    np.testing.assert_allclose(said.detach().numpy()[0], expected, atol=1e-5)


def test_a_single_row_is_its_own_neighbour() -> None:
    features, target = drawn(4, 1)
    layer = remembering(features, target, k=None)
    assert int(layer.k) == 1
    assert layer(torch.from_numpy(features)).isfinite().all()
