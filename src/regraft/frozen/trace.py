"""What a pass through a model shows of it: how its blocks are called, and which rows of the last one are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regraft.frozen.patch import forwards

Reading = Literal["all", "mean", "first", "last", "pooled", "maps"]
Pass = Callable[[], Any]


@dataclass(frozen=True)
class Trace:
    """How a model runs through its blocks.

    ``calls``: how often each block runs in one pass (ALBERT runs one block many times). ``parts``: how many things a
    block gives, None where it is the hidden states themselves. ``extras``: whether there are other tensors among them,
    the same for all examples (T5: a position bias). ``reads``: which rows of the last block's output decide what the
    model says: all, the first or last real one of each example, or only their mean. ``apart``: the heights below the
    last whose states are read by more than the next block, as by a feature pyramid. ``grid``: whether states are
    [batch, channels, height, width]. ``beside``: of each block what else it gives, None in the place of tensors.
    """

    calls: tuple[int, ...]
    parts: int | None
    extras: bool
    reads: Reading
    apart: tuple[int, ...] = ()
    grid: bool = False
    beside: tuple[tuple[Any, ...], ...] = ()


def trace_of(model: nn.Module, blocks: tuple[nn.Module, ...], inputs: Mapping[str, Tensor]) -> Trace:
    """Look at a model during one pass over a few examples, best of different lengths.

    Raises:
        ValueError: it cannot be run from its blocks' rows, and why.
    """
    seen: dict[nn.Module, int] = dict.fromkeys(blocks, 0)
    extras = False
    parts: int | None = None
    leaves: dict[nn.Module, Tensor] = {}
    constants: dict[nn.Module, tuple[Any, ...]] = {}
    beside: list[Tensor] = []

    def watched(block: nn.Module) -> Callable[..., Any]:
        own = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            nonlocal extras, parts
            output = _cut_off(own, args, kwargs)
            seen[block] += 1
            parts = len(output) if isinstance(output, tuple) else None
            others = [part for part in parts_of(output)[1:] if isinstance(part, Tensor)]
            of_examples = [part for part in others if part.ndim and len(part) != 1]
            extras = extras or len(of_examples) < len(others)
            constants[block] = tuple(None if isinstance(part, Tensor) else part for part in parts_of(output)[1:])
            leaves[block] = hidden_of(output).detach().requires_grad_()
            return _with_leaves(output, leaves[block], of_examples, beside)

        return forward

    with torch.enable_grad(), forwards({block: watched(block) for block in blocks}):
        total = noisy_sum(model(**inputs))
        if blocks[-1] not in leaves:
            raise ValueError("its blocks are not what its output comes from")
        leaf = leaves.pop(blocks[-1])
        slope, *slopes = torch.autograd.grad(total, [leaf, *leaves.values(), *beside], allow_unused=True)
    if slope is None:
        raise ValueError("its blocks are not what its output comes from")
    read = [slope is not None and bool(slope.any()) for slope in slopes]
    if any(read[len(leaves) :]):  # they would be kept for other examples
        raise ValueError("its blocks hand on more of each example than its hidden states")
    apart = tuple(blocks.index(block) + 1 for block, is_read in zip(leaves, read, strict=False) if is_read)
    reads = _reading(slope, row_mask(model, inputs, leaf))
    given = tuple(constants.get(block, ()) for block in blocks)
    return Trace(tuple(seen.values()), parts, extras, reads, apart, leaf.ndim == 4, given)


def _cut_off(own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A block's output, through which no gradient reaches the states that it was given."""
    if args and isinstance(args[0], Tensor):
        return own(args[0].detach(), *args[1:], **kwargs)
    named = {name: kwargs[name].detach() for name in ("hidden_states",) if isinstance(kwargs.get(name), Tensor)}
    return own(*args, **{**kwargs, **named})


def _with_leaves(output: Any, hidden: Tensor, watched: list[Tensor], beside: list[Tensor]) -> Any:
    """A block's output with its states and some of its other parts replaced by leaves, which go to ``beside``.

    Raises:
        ValueError: one of them can have no gradient.
    """
    if any(not part.is_floating_point() for part in watched):
        raise ValueError("its blocks hand on more of each example than its hidden states")
    if not watched:
        return with_hidden(output, hidden)
    parts = [hidden, *parts_of(output)[1:]]
    for place, part in enumerate(parts):
        if any(part is one for one in watched):
            parts[place] = part.detach().requires_grad_()
            beside.append(parts[place])
    return tuple(parts)


def noisy_sum(output: Any) -> Tensor:
    """One number that everything a model says goes into with a weight of its own.

    Raises:
        ValueError: nothing of it can have a gradient.
    """
    said = [value for value in tensors_in(output) if value.requires_grad]
    if not said:
        raise ValueError("its blocks are not what its output comes from")
    generator = torch.Generator().manual_seed(0)
    return torch.stack([(value.float() * _noise(value, generator)).sum() for value in said]).sum()


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
    if slope.ndim == 4 and slope[0, 0].numel() > 1:
        even = torch.allclose(slope, slope[:, :, :1, :1].expand_as(slope), rtol=1e-5, atol=0)
        return "mean" if even and bool(slope.any()) else "all"
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
