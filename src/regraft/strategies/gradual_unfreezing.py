"""gradual-unfreezing: the head first, then epoch by epoch what lies below it, until everything trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Look, Phase, Strategy
from regraft.strategies._layerwise import Decay, layerwise, settled_decay


@dataclass(frozen=True)
class GradualUnfreezing(Strategy):
    """A phase of one epoch for each part that thaws, from the top; the last phase, in which all trains, has the rest.

    Howard and Ruder, Universal Language Model Fine-tuning for Text Classification (ULMFiT), 2018,
    https://arxiv.org/abs/1801.06146, who let each layer learn 2.6 times more slowly than the one above it. Where there
    are fewer epochs than parts, several blocks thaw at once. What is still frozen is stored.

    Options:
        learning_rate: the rate of the top; that of ``top-layers``.
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
        layer_decay: below 1, each block learns more slowly than the one above it; auto as relative gradients say.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Decay = 0.8

    def settled(self, look: Look) -> Strategy:
        return settled_decay(self, look)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        learns = [part for part in anatomy.parts if not anatomy.unused.issuperset(anatomy.parts[part])]
        below = [[part] for part in reversed(learns) if part == "embeddings" or part.startswith("blocks[")]
        above = [part for part in learns if [part] not in below]
        thawing = [above, *below] if above else below
        if epochs < 2:
            raise RecipeError(
                f"gradual-unfreezing with training.epochs = {epochs}: everything would train at once",
                fix="set training.epochs to 2 or more, or take strategy=full",
            )
        stages = min(epochs, len(thawing))
        for stage in range(stages):
            last = round(stage * (len(thawing) - 1) / max(1, stages - 1))
            thawed = {part for parts in thawing[: last + 1] for part in parts}
            groups = layerwise(
                anatomy,
                [part for part in anatomy.parts if part in thawed],
                rate=self.learning_rate,
                decay=self.layer_decay,
                head_rate=self.head_learning_rate,
            )
            yield Phase(1 if stage < stages - 1 else epochs - stages + 1, tuple(groups))
