"""surgical: only those blocks train whose weights the task pulls at most; and what is new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Group, Look, Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class Surgical(Strategy):
    """The blocks of the largest relative gradient, ``|gradient| / |weights|``, as a few training rows show it.

    Lee et al., Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, 2023,
    https://arxiv.org/abs/2210.11466, whose Auto-RGN weighs rates by it; here blocks are chosen once, before the first
    step, with a last layer that is fitted to these rows. The plan and recipe.yaml say which. What lies below the lowest
    of them is stored.

    Options:
        n: how many blocks are chosen.
        blocks: the numbers of those that train, where they are not to be chosen.
        learning_rate: of the blocks; that of ``top-layers``.
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
    """

    n: Annotated[int, Field(ge=1)] = 2
    blocks: list[Annotated[int, Field(ge=0)]] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def settled(self, look: Look) -> Strategy:
        if self.blocks is not None:
            return self
        pull = {int(part[7:-1]): value for part, value in look().items() if part.startswith("blocks[")}
        if self.n > len(pull):
            raise RecipeError(
                f"strategy.n = {self.n}", fix=f"this model has {len(pull)} blocks; choose 1 to {len(pull)}"
            )
        return replace(self, blocks=sorted(sorted(pull, key=lambda block: -pull[block])[: self.n]))

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        assert self.blocks is not None, "settled before"
        missing = [block for block in self.blocks if block >= len(anatomy.blocks)]
        if missing or not self.blocks:
            raise RecipeError(f"strategy.blocks = {self.blocks}", fix=f"name some of 0 to {len(anatomy.blocks) - 1}")
        fresh = of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate)
        known = {name for group in fresh for name in group.parameters}
        chosen = tuple(name for block in self.blocks for name in anatomy.blocks[block] if name not in known)
        yield Phase(epochs, (Group(chosen, self.learning_rate), *fresh))
