"""A block that computes what follows its attention for one row of each example alone.

Keys and values come from all rows, so attention is run as ever; norms, projections and the wide layers behind it, most
of a block's products, are then run on the row that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from regraft.frozen.patch import Forward, Stopped, forwards
from regraft.frozen.trace import edges, parts_of, row_mask, with_hidden
from regraft.pretrained import only_rows


def reading_rows(
    block: nn.Module,
    own: Forward,
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    last: bool,
    times: int = 1,
    few_queries: bool = True,
    whole: bool = False,
) -> Callable[..., tuple[Tensor, Any, Any]]:
    """A forward that gives which rows are read, int64 [batch], and the block's output there, [batch, times, width].

    Attention is run once, whatever is asked for: a decoder's keeps the keys that it has seen.

    Args:
        own: the block's forward.
        inputs: what the model is called with; they tell rows from padding.
        last: whether the last real row of each example is read, or the first.
        times: how often each row is computed. With one, the bits of a product may depend on how many examples there
            are, for a product of few rows is another kernel.
        few_queries: whether attention too, where it is regraft's own, is run from those rows alone.
        whole: whether the forward gives the block's whole output too; else None.

    Raises:
        ValueError: the block has not one attention.
    """
    attention = attention_in(block)
    attend = attention.forward

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Any, Any]:
        places = edges(row_mask(model, inputs, hidden), last=last)
        examples = torch.arange(len(places), device=places.device)

        def read(rows: Tensor) -> Tensor:
            return rows[examples, places].unsqueeze(1).expand(-1, times, *rows.shape[2:])

        if whole:
            output, attended = _recorded(own, attention, hidden, args, kwargs)
        else:
            given, named = _arriving(own, attention, hidden, args, kwargs)
            with only_rows(attention, places) if few_queries else nullcontext():
                output, attended = None, attend(*given, **named)
        few = with_hidden(attended, read(parts_of(attended)[0]))
        with forwards({attention: lambda *_, **__: few}):
            return places, own(read(hidden), *args, **kwargs), output

    return forward


def attention_in(block: nn.Module) -> nn.Module:
    """The one module of a block that mixes its rows: the innermost that is called an attention.

    Raises:
        ValueError: there is none, or more than one.
    """
    named = [module for module in block.modules() if "Attention" in type(module).__name__]
    innermost = [module for module in named if not any(other in named for other in list(module.modules())[1:])]
    if len(innermost) != 1:
        raise ValueError("its last block has not one attention")
    return innermost[0]


def _recorded(
    own: Forward, attention: nn.Module, hidden: Tensor, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, Any]:
    """What a block gives, and what its attention gave on the way."""
    attend, attended = attention.forward, []

    def record(*given: Any, **named: Any) -> Any:
        attended.append(attend(*given, **named))
        return attended[-1]

    with forwards({attention: record}):
        output = own(hidden, *args, **kwargs)
    if len(attended) != 1:
        raise ValueError("its last block does not attend once")
    return output, attended[0]


def _arriving(
    own: Forward, attention: nn.Module, hidden: Tensor, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a block's attention is called with."""

    def stop(*given: Any, **named: Any) -> Any:
        raise Stopped(given, named)

    try:
        with forwards({attention: stop}):
            own(hidden, *args, **kwargs)
    except Stopped as stopped:
        return stopped.given, stopped.named
    raise ValueError("its last block does not attend")
