"""linear-probe: only the head trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Group, Phase, Strategy


@dataclass(frozen=True)
class LinearProbe(Strategy):
    """The backbone is frozen; the head trains, and whatever else no checkpoint held (a new pooler).

    Options:
        learning_rate: that of AdamW by default (Loshchilov and Hutter, 2019), which a linear layer on fixed features
            bears; a head that reads whole maps bears a higher one.
    """

    head_rate_option: ClassVar[str] = "learning_rate"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        chosen = tuple(name for name in anatomy.parameters if name in anatomy.new or name in anatomy.head)
        yield Phase(epochs, (Group(chosen, self.learning_rate),))
