"""Which parameters learn at which rate: what is new, what lies high up, and rates that fall from the head down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Group


def layerwise(
    anatomy: Anatomy, parts: Iterable[str], *, rate: float, decay: float, head_rate: float | None
) -> Iterator[Group]:
    """One group for each part; the rate of block i of n is ``rate * decay**(n - i)``.

    Layer-wise decay is from Howard and Ruder, ULMFiT, 2018; this exponent is that of Bao et al., BEiT, 2021: what lies
    above the blocks has the full rate, the embeddings ``rate * decay**(n + 1)``.
    """
    depth = len(anatomy.blocks)
    heights = {f"blocks[{index}]": depth - index for index in range(depth)} | {"embeddings": depth + 1}
    for part in parts:
        full = head_rate if part == "head" and head_rate is not None else rate
        yield Group(anatomy.parts[part], full * decay ** heights.get(part, 0))


def parts_above(anatomy: Anatomy, n: int | None) -> list[str]:
    """The parts from the top ``n`` blocks up; all parts for None.

    Raises:
        RecipeError: there are not so many blocks.
    """
    depth = len(anatomy.blocks)
    if n is None:
        return list(anatomy.parts)
    if not 1 <= n <= depth:
        raise RecipeError(f"strategy.n = {n}", fix=f"this model has {depth} blocks; choose 1 to {depth}")
    below = {"embeddings", *(f"blocks[{index}]" for index in range(depth - n))}
    return [part for part in anatomy.parts if part not in below]


def of_what_is_new(anatomy: Anatomy, rate: float, head_rate: float | None) -> tuple[Group, ...]:
    """What starts from random numbers at one rate, and the head at its own; a head that is known trains too."""
    head = frozenset(anatomy.head)
    fresh = tuple(name for name in anatomy.parameters if name in anatomy.new and name not in head)
    groups = Group(fresh, rate), Group(anatomy.head, rate if head_rate is None else head_rate)
    return tuple(group for group in groups if group.parameters)
