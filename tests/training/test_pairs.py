"""Losses on the pairs of a batch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from regraft.training.pairs import cosine_similarity, pair_loss, supervised_contrastive


def test_without_a_temperature_cosines_go_to_one_within_a_class_and_to_zero_across() -> None:
    torch.manual_seed(0)
    embedded, target = torch.randn(5, 3), torch.tensor([0, 0, 1, 1, 1])
    cosines = functional.cosine_similarity(embedded[:, None], embedded[None], dim=2)
    expected = []
    for i in range(5):
        own = [(1 - cosines[i, a]) ** 2 for a in range(5) if a != i and target[a] == target[i]]
        other = [cosines[i, a] ** 2 for a in range(5) if target[a] != target[i]]
        expected.append((torch.stack(own).mean() + torch.stack(other).mean()) / 2)
    torch.testing.assert_close(pair_loss(None).function({"logits": embedded}, target), torch.stack(expected))


def test_no_cosine_is_left_to_learn_where_classes_are_at_right_angles() -> None:
    embedded = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]], requires_grad=True)
    losses = cosine_similarity().function({"logits": embedded}, torch.tensor([0, 0, 1]))
    assert torch.equal(losses, torch.zeros(3))


def test_an_example_without_another_of_its_class_is_compared_with_the_others() -> None:
    embedded = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    losses = cosine_similarity().function({"logits": embedded}, torch.tensor([0, 1]))
    torch.testing.assert_close(losses, torch.full((2,), 0.6**2 / 2))


def test_with_a_temperature_the_loss_is_that_of_supervised_contrastive_learning() -> None:
    torch.manual_seed(0)
    embedded, target = torch.randn(5, 3), torch.tensor([0, 0, 1, 1, 1])
    cosines = functional.cosine_similarity(embedded[:, None], embedded[None], dim=2) / 0.5
    expected = []
    for i in range(5):
        others = [a for a in range(5) if a != i]
        whole = torch.logsumexp(cosines[i, others], 0)
        positives = [p for p in others if target[p] == target[i]]
        expected.append(-torch.stack([cosines[i, p] - whole for p in positives]).mean())
    found = supervised_contrastive(0.5).function({"logits": embedded}, target)
    torch.testing.assert_close(found, torch.stack(expected))


def test_an_example_without_another_of_its_class_has_no_contrastive_loss() -> None:
    embedded = torch.randn(3, 4, requires_grad=True)
    losses = supervised_contrastive(0.1).function({"logits": embedded}, torch.tensor([0, 1, 1]))
    assert losses[0] == 0
    alone = supervised_contrastive(0.1).function({"logits": embedded[:1]}, torch.tensor([0]))
    (slope,) = torch.autograd.grad(alone.sum(), embedded)
    assert torch.equal(slope, torch.zeros_like(slope))


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_classes_that_are_mixed_count_by_what_they_share(temperature: float | None) -> None:
    embedded = torch.randn(4, 3)
    hard = torch.tensor([0, 0, 1, 1])
    rows = functional.one_hot(hard, 2).float()
    loss = pair_loss(temperature)
    torch.testing.assert_close(loss.function({"logits": embedded}, rows), loss.function({"logits": embedded}, hard))
