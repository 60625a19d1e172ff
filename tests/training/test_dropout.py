"""Dropout for training on a CPU: the right share, the right mean, and a gradient through the very same mask."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from regraft.training.dropout import dropout, fast_dropout

TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def _ones(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(*shape, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_asked_share_is_dropped_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    kept = dropout(_ones(1000, 1000), p).detach()
    near = 5 * (p * (1 - p)) ** 0.5 / 1000  # five standard errors
    assert abs(float((kept == 0).double().mean()) - p) < near
    assert abs(float(kept.double().mean()) - 1) < near / (1 - p)
    assert abs(float(kept.double().var()) - p / (1 - p)) < 0.02 * p / (1 - p)


def test_every_place_within_a_word_is_dropped_alike() -> None:
    torch.manual_seed(0)
    shares = (dropout(_ones(250_000, 8), 0.1) == 0).double().mean(0)
    assert bool(((shares - 0.1).abs() < 5 * (0.09 / 250_000) ** 0.5).all())


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    gone = (dropout(_ones(1_000_000), 0.5) == 0).double()
    for distance in (1, 2, 3, 4, 8):
        both = float((gone[:-distance] * gone[distance:]).mean())
        assert abs(both - 0.25) < 0.003


@pytest.mark.parametrize("dtype", TYPES)
def test_the_gradient_is_the_mask_times_the_factor(dtype: torch.dtype) -> None:
    x = torch.randn(33, 17, dtype=dtype, requires_grad=True)
    output = dropout(x, 0.3)
    weights = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, x, weights)
    factor = (output.detach() != 0).to(dtype) / 0.7
    near = {"rtol": 1e-2 if dtype.itemsize == 2 else 1e-4, "atol": 0.0}
    assert output.dtype == gradient.dtype == dtype
    torch.testing.assert_close(output, x * factor, **near)
    torch.testing.assert_close(gradient, weights * factor, **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_that_is_not_contiguous_is_dropped_in_its_own_places(dtype: torch.dtype) -> None:
    x = torch.arange(1, 61, dtype=dtype).view(5, 12).t()
    output = dropout(x, 0.5)
    torch.testing.assert_close(output, torch.where(output == 0, 0, x * 2))


@pytest.mark.parametrize("size", [0, 1, 7])
def test_sizes_that_fill_no_word(size: int) -> None:
    assert dropout(_ones(size), 0.5).shape == (size,)


def test_the_same_seed_gives_the_same_mask_with_any_number_of_threads() -> None:
    threads, masks = torch.get_num_threads(), []
    try:
        for seed, count in ((1, 1), (1, 2), (2, 2)):
            torch.set_num_threads(count)
            torch.manual_seed(seed)
            masks.append(dropout(_ones(300, 300), 0.1).detach())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


class Net(nn.Module):
    """Dropout of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
        self.second = nn.Dropout(0.0)
        self.channels = nn.Dropout1d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_only_plain_dropout_is_exchanged_and_all_is_put_back() -> None:
    net = Net()
    before = [(name, type(module)) for name, module in net.named_modules()]
    with fast_dropout(net) as count:
        assert count == 2
        assert [name for name, _ in net.named_modules()] == [name for name, _ in before]
        assert list(net.state_dict()) == ["first.0.weight", "first.0.bias"]
        assert type(net.channels) is nn.Dropout1d
        assert isinstance(net.first[1], nn.Dropout)
    assert [(name, type(module)) for name, module in net.named_modules()] == before


def test_an_error_puts_them_back_too() -> None:
    net = Net()
    with pytest.raises(ZeroDivisionError), fast_dropout(net):
        raise ZeroDivisionError
    assert type(net.first[1]) is nn.Dropout


def test_training_and_eval_are_obeyed_while_they_change() -> None:
    net, x = Net(), torch.randn(4, 8)
    expected = net.eval()(x)
    with fast_dropout(net):
        assert torch.equal(net(x), expected)
        assert bool((net.train()(x) == 0).any())
        assert torch.equal(net.eval()(x), expected)
        net.train()
    assert net.first[1].training


def test_a_probability_of_zero_draws_nothing() -> None:
    net, x = nn.Sequential(nn.Dropout(0.0)).train(), torch.randn(4, 8)
    with fast_dropout(net):
        state = torch.get_rng_state()
        assert torch.equal(net(x), x)
        assert torch.equal(torch.get_rng_state(), state)


def test_a_probability_of_one_leaves_nothing() -> None:
    net = nn.Sequential(nn.Dropout(1.0)).train()
    with fast_dropout(net):
        assert not bool(net(torch.randn(4, 8)).any())


def test_a_copy_made_meanwhile_works() -> None:
    net = Net().train()
    with fast_dropout(net):
        twin = copy.deepcopy(net)
        assert bool((twin(torch.randn(4, 8)) == 0).any())
