"""Embedding tables whose gradient costs what a batch touches, not what the table holds.

PyTorch makes a dense gradient of zeros for a table in every step; on a CPU that is a tenth of a step on short texts.
Here a table keeps one gradient, and of it only the rows that were looked up are added to, measured, clipped and set
back to zero. The numbers are the same to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

_LEAST = 4096  # rows; a smaller table is not worth it


class Tables:
    """The tables that are looked up this way, and which of their rows have a gradient."""

    def __init__(self) -> None:
        self._touched: dict[nn.Parameter, list[Tensor]] = {}

    def __contains__(self, parameter: nn.Parameter) -> bool:
        return parameter in self._touched

    def watch(self, table: nn.Parameter) -> None:
        """Take over the gradient of a table."""
        self._touched[table] = []

    def add(self, table: nn.Parameter, rows: Tensor, gradient: Tensor) -> None:
        """Add ``gradient`` [n, width] to rows [n] of a table's gradient."""
        if table.grad is None:
            table.grad = torch.zeros_like(table)
        table.grad.index_add_(0, rows, gradient.to(table.dtype))
        self._touched[table].append(rows)

    def gradients(self) -> list[Tensor]:
        """The rows that have a gradient, of every table: all that counts for its norm."""
        return [grad.index_select(0, rows) for grad, rows in self._present()]

    def scale(self, factor: Tensor) -> None:
        """Multiply all gradients."""
        for grad, rows in self._present():
            grad.index_copy_(0, rows, grad.index_select(0, rows).mul_(factor))

    def zero(self) -> None:
        """Set all gradients back to zero."""
        for table, touched in self._touched.items():
            if table.grad is not None and touched:
                table.grad.index_fill_(0, torch.cat(touched), 0.0)
            touched.clear()

    def _present(self) -> Iterator[tuple[Tensor, Tensor]]:
        for table, touched in self._touched.items():
            if table.grad is not None and touched:
                yield table.grad, torch.unique(torch.cat(touched))


@contextmanager
def large_tables(model: nn.Module) -> Iterator[Tables]:
    """Let the large tables of a model on a CPU that train, and that nothing else uses, be looked up this way.

    A table that is tied to an output layer has a dense gradient anyway and is left alone.
    """
    tables, uses = Tables(), _uses(model)
    changed = [module for module in model.modules() if _fits(module) and uses[id(module.weight)] == 1]
    try:
        for module in changed:
            tables.watch(cast(nn.Parameter, module.weight))
            module.__dict__["forward"] = _looking_up(cast(nn.Embedding, module), tables)
        yield tables
    finally:
        for module in changed:
            del module.__dict__["forward"]
            module.weight.grad = None


def _uses(model: nn.Module) -> Counter[int]:
    return Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))


def _fits(module: nn.Module) -> bool:
    return (
        type(module) is nn.Embedding
        and module.weight.requires_grad
        and module.weight.device.type == "cpu"
        and module.num_embeddings >= _LEAST
        and not (module.sparse or module.scale_grad_by_freq or module.max_norm)
        and "forward" not in module.__dict__
    )


def _looking_up(module: nn.Embedding, tables: Tables) -> Any:
    def forward(ids: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return nn.functional.embedding(ids, module.weight)
        return cast(Tensor, _Lookup.apply(module.weight, ids, module.padding_idx, tables))  # type: ignore[no-untyped-call]

    return forward


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: nn.Parameter, ids: Tensor, padding: int | None, tables: Tables) -> Tensor:
        ctx.table, ctx.ids, ctx.padding, ctx.tables = table, ids, padding, tables
        return nn.functional.embedding(ids, table)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        ids, rows = ctx.ids.flatten(), gradient.flatten(0, -2)
        if ctx.padding is not None:
            kept = ids != ctx.padding
            ids, rows = ids[kept], rows[kept]
        ctx.tables.add(ctx.table, ids, rows)
        return None, None, None, None
