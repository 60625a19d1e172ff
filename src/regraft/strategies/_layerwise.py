"""Learning rates that fall from the head down to the embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
