"""top-layers: the upper blocks, what lies above them, and the head train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Look, Phase, Strategy
from regraft.strategies._layerwise import Decay, from_the_top, layerwise, settled_decay


@dataclass(frozen=True)
class TopLayers(Strategy):
    """The top ``n`` blocks train; the blocks below them and the embeddings are frozen.

    Options:
        n: how many blocks train.
        learning_rate: the rate of the top; twice that of ``full``, for less can be forgotten.
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
        layer_decay: below 1, each block learns more slowly than the one above it; auto as relative gradients say.
    """

    n: int = 2
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Decay = 1.0

    def settled(self, look: Look) -> Strategy:
        return settled_decay(self, look)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        parts = from_the_top(anatomy, self.n)
        groups = layerwise(
            anatomy, parts, rate=self.learning_rate, decay=self.layer_decay, head_rate=self.head_learning_rate
        )
        yield Phase(epochs, tuple(groups))
