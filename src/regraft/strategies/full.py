"""full: everything trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Look, Phase, Strategy
from regraft.strategies._layerwise import Decay, layerwise, settled_decay


@dataclass(frozen=True)
class Full(Strategy):
    """Every parameter trains.

    Options:
        learning_rate: the rate of the top; 5e-5 is the upper end of what BERT was tuned with (Devlin et al., 2019).
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
        layer_decay: below 1, each block learns more slowly than the one above it; auto as relative gradients say.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Decay = 1.0

    def settled(self, look: Look) -> Strategy:
        return settled_decay(self, look)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        groups = layerwise(
            anatomy,
            anatomy.parts,
            rate=self.learning_rate,
            decay=self.layer_decay,
            head_rate=self.head_learning_rate,
        )
        yield Phase(epochs, tuple(groups))
