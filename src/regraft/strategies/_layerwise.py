"""Which parameters learn at which rate: what is new, and rates that fall from the head down to the embeddings."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Group, Look

Decay = Annotated[float, Field(gt=0, le=1)] | Literal["auto"]

S = TypeVar("S", bound=Any)

_STEEPEST = 0.5  # that a decay is chosen


def layerwise(
    anatomy: Anatomy, parts: Iterable[str], *, rate: float, decay: Decay, head_rate: float | None
) -> Iterator[Group]:
    """One group for each part; the rate of block i of n is ``rate * decay**(n - i)``.

    Layer-wise decay is from Howard and Ruder, ULMFiT, 2018; this exponent is that of Bao et al., BEiT, 2021: what lies
    above the blocks has the full rate, the embeddings ``rate * decay**(n + 1)``.
    """
    assert decay != "auto", "settled before"
    depth = len(anatomy.blocks)
    heights = {f"blocks[{index}]": depth - index for index in range(depth)} | {"embeddings": depth + 1}
    for part in parts:
        full = head_rate if part == "head" and head_rate is not None else rate
        yield Group(anatomy.parts[part], full * decay ** heights.get(part, 0))


def settled_decay(strategy: S, look: Look) -> S:
    """The strategy with ``layer_decay: auto`` as a number: rates that fall as relative gradients do.

    Lee et al., Surgical Fine-Tuning, 2023, https://arxiv.org/abs/2210.11466, let a layer learn in proportion to its
    relative gradient; here a line through its logarithm over the blocks gives one decay, from 0.5 to 1.
    """
    if strategy.layer_decay != "auto":
        return strategy
    pull = np.array([value for part, value in look().items() if part.startswith("blocks[")])
    heights = np.flatnonzero(pull > 0)
    slope = np.polyfit(heights, np.log(pull[heights]), 1)[0] if len(heights) > 1 else 0.0
    return replace(strategy, layer_decay=round(float(np.clip(math.exp(-slope), _STEEPEST, 1.0)), 3))


def from_the_top(anatomy: Anatomy, n: int) -> list[str]:
    """The parts from the top ``n`` blocks on upwards.

    Raises:
        RecipeError: there are not so many blocks.
    """
    below = {"embeddings", *(f"blocks[{index}]" for index in range(anatomy.below_top(n)))}
    return [part for part in anatomy.parts if part not in below]


def of_a_kind(
    anatomy: Anatomy, names: Collection[str], kind: str, *, top: int | None, rate: float, head_rate: float | None
) -> tuple[Group, ...]:
    """Parameters of one kind at one rate, and what is new and the head as ever.

    Args:
        kind: what they are called in the plural.
        top: those in so many of the top blocks and above; None for all.

    Raises:
        RecipeError: the model has none there, or not so many blocks.
    """
    parts = [*anatomy.parts] if top is None else from_the_top(anatomy, top)
    there = {name for part in parts if part != "head" for name in anatomy.parts[part]} - anatomy.new - anatomy.unused
    chosen = tuple(name for name in anatomy.parameters if name in there and name in names)
    if not chosen:
        where = "" if top is None else f" in the top {top} blocks or above"
        raise RecipeError(f"this model has no {kind}{where}", fix="take another strategy, such as lora or top-layers")
    return (Group(chosen, rate), *of_what_is_new(anatomy, rate, head_rate))


def of_what_is_new(anatomy: Anatomy, rate: float, head_rate: float | None) -> tuple[Group, ...]:
    """What starts from random numbers at one rate, and the head at its own; a head that is known trains too."""
    head = frozenset(anatomy.head)
    fresh = tuple(name for name in anatomy.parameters if name in anatomy.new and name not in head)
    groups = Group(fresh, rate), Group(anatomy.head, rate if head_rate is None else head_rate)
    return tuple(group for group in groups if group.parameters)
