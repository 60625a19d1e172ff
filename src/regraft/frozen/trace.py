"""What a pass through a model shows of it: how its blocks are called, and which rows of the last one are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regraft.frozen.patch import forwards

Reading = Literal["all", "mean", "first", "last"]
Pass = Callable[[], Any]


@dataclass(frozen=True)
class Trace:
    """How a model runs through its blocks.

    ``calls``: how often each block runs in one pass (ALBERT runs one block many times). ``parts``: how many things a
    block gives, None where it is the hidden states themselves. ``extras``: whether there are other tensors among them,
    the same for all examples (T5: a position bias). ``reads``: which rows of the last block's output decide what the
    model says: all, the first or last real one of each example, or only their mean.
    """

    calls: tuple[int, ...]
    parts: int | None
    extras: bool
    reads: Reading


def trace_of(model: nn.Module, blocks: tuple[nn.Module, ...], inputs: Mapping[str, Tensor]) -> Trace:
    """Look at a model during one pass over a few examples, best of different lengths.

    Raises:
        ValueError: it cannot be run from its blocks' rows, and why.
    """
    seen: dict[nn.Module, int] = dict.fromkeys(blocks, 0)
    extras = False
    parts: int | None = None
    leaf: Tensor | None = None

    def watched(block: nn.Module) -> Callable[..., Any]:
        own = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            nonlocal extras, parts, leaf
            output = own(*args, **kwargs)
            seen[block] += 1
            parts = len(output) if isinstance(output, tuple) else None
            others = [part for part in parts_of(output)[1:] if isinstance(part, Tensor)]
            if any(part.ndim and len(part) != 1 for part in others):  # they would be kept for other examples
                raise ValueError("its blocks hand on more of each example than its hidden states")
            extras = extras or bool(others)
            if block is blocks[-1]:
                leaf = hidden_of(output).detach().requires_grad_()
                return with_hidden(output, leaf)
            return output

        return forward

    with torch.enable_grad(), forwards({block: watched(block) for block in blocks}):
        output = model(**inputs)
        said = [value for value in tensors_in(output) if value.requires_grad]
        if leaf is None or not said:
            raise ValueError("its blocks are not what its output comes from")
        generator = torch.Generator().manual_seed(0)
        total = torch.stack([(value.float() * _noise(value, generator)).sum() for value in said]).sum()
        (slope,) = torch.autograd.grad(total, leaf)
    return Trace(tuple(seen.values()), parts, extras, _reading(slope, row_mask(model, inputs, leaf)))


def row_mask(model: nn.Module, inputs: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    """Which rows of the hidden states belong to the examples and not to padding, bool [batch, rows].

    Raises:
        ValueError: it cannot be told.
    """
    if len(hidden) != len(next(iter(inputs.values()))):
        raise ValueError("its blocks do not keep the rows of an example together")
    count = hidden.shape[1]
    mask = inputs.get("attention_mask")
    if mask is None or (mask.shape[1] != count and bool(mask.all())):
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    if mask.shape[1] == count:
        return mask.bool()
    shorter = getattr(model.base_model, "_get_feature_vector_attention_mask", None)
    if shorter is None:
        raise ValueError("its rows cannot be matched with the padding of its inputs")
    found: Tensor = shorter(count, mask).bool()
    return found


def edges(mask: Tensor, *, last: bool) -> Tensor:
    """The position of the first or last row that counts, int64 [batch]."""
    numbers = mask.int()
    return mask.shape[1] - 1 - numbers.flip(1).argmax(1) if last else numbers.argmax(1)


def hidden_of(output: Any) -> Tensor:
    """The hidden states in what a block gives.

    Raises:
        ValueError: they are not the first thing in it.
    """
    hidden = parts_of(output)[0]
    if not isinstance(hidden, Tensor) or hidden.ndim < 3:
        raise ValueError("its blocks do not give hidden states")
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """The same output with other hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Every floating-point tensor in what a model gives."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_in(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from tensors_in(value)


def parts_of(output: Any) -> tuple[Any, ...]:
    """What a block gives, the hidden states first."""
    return output if isinstance(output, tuple) else (output,)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def _reading(slope: Tensor, mask: Tensor) -> Reading:
    if slope.ndim != 3 or not bool((mask.sum(1) > 1).any()):  # of examples of one row, all rules would hold
        return "all"
    rows = slope.abs().amax(-1) > 0
    if bool(rows[~mask].any()):
        return "all"
    examples = torch.arange(len(mask), device=mask.device)
    for name in ("first", "last"):
        only = torch.zeros_like(mask)
        only[examples, edges(mask, last=name == "last")] = True
        if not bool(rows[~only].any()):
            return name
    alike = slope[examples, edges(mask, last=False)].unsqueeze(1)
    if bool(rows[mask].all()) and torch.allclose(slope[mask], alike.expand_as(slope)[mask], rtol=1e-5, atol=0):
        return "mean"
    return "all"
