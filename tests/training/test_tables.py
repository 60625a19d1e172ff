"""Large embedding tables: the same numbers as PyTorch's dense gradients give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from regraft.training.tables import Tables, large_tables


class Net(nn.Module):
    """A table, and something above it."""

    def __init__(self, *, rows: int = 5000, padding: int | None = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(rows, 8, padding_idx=padding)
        self.above = nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.above(self.table(ids).mean(1))


@contextmanager
def _none(net: nn.Module) -> Iterator[Tables]:
    yield Tables()


def _trained(net: Net, *, sparse: bool, passes: int = 1) -> dict[str, torch.Tensor]:
    """Weights after four clipped steps of AdamW, each of some passes over random ids with padding."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    with (large_tables if sparse else _none)(net) as tables:
        assert (net.table.weight in tables) is sparse
        for _ in range(4):
            for _ in range(passes):
                ids = torch.randint(0, 40, (6, 7), generator=generator)
                net(ids).pow(2).sum().backward()
            _clip(net, tables)
            optimizer.step()
            tables.zero()
            for parameter in net.parameters():
                if parameter not in tables:
                    parameter.grad = None
    return {name: value.clone() for name, value in net.state_dict().items()}


def _clip(net: Net, tables: Tables) -> None:
    dense = [p.grad for p in net.parameters() if p not in tables and p.grad is not None]
    norm = nn.utils.get_total_norm([*dense, *tables.gradients()])
    factor = (0.1 / (norm + 1e-6)).clamp(max=1.0)
    for gradient in dense:
        gradient.mul_(factor)
    tables.scale(factor)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("padding", [None, 0])
def test_training_gives_the_same_weights(padding: int | None, passes: int) -> None:
    dense = _trained(Net(padding=padding), sparse=False, passes=passes)
    sparse = _trained(Net(padding=padding), sparse=True, passes=passes)
    for name in dense:  # more passes are summed in another order
        torch.testing.assert_close(sparse[name], dense[name], rtol=0, atol=0 if passes == 1 else 1e-6)


def test_a_small_a_frozen_and_a_tied_table_stay_as_they_are() -> None:
    small, frozen, tied = Net(rows=100), Net(), Net()
    frozen.table.weight.requires_grad_(False)
    tied.output = nn.Linear(8, 5000, bias=False)
    tied.output.weight = tied.table.weight
    for net in (small, frozen, tied):
        with large_tables(net) as tables:
            assert net.table.weight not in tables


def test_afterwards_nothing_is_left() -> None:
    net = Net()
    with large_tables(net):
        net(torch.tensor([[1, 2]])).sum().backward()
    assert net.table.weight.grad is None
    net(torch.tensor([[1, 2]])).sum().backward()
    assert net.table.weight.grad is not None
