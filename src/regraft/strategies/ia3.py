"""ia3: what layers give is stretched and shrunk, each number by a factor of its own, which alone learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained import Anatomy, Pretrained, graft, last_layers, layers_for
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class Ia3(Strategy):
    """Infused adapter by inhibiting and amplifying inner activations, through peft: a factor for each activation.

    Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning, 2022,
    https://arxiv.org/abs/2205.05638. The paper scales keys, values and what is between the two layers of the
    feed-forward part; here everything that a linear layer of attention gives is scaled, for which of them are keys only
    their names could tell, and everything that the last layer of the feed-forward part is given.

    Options:
        n: in so many of the top blocks; null for all. Below them what is frozen is stored.
        learning_rate: few numbers bear a high one; 3e-3 is the paper's.
        head_learning_rate: the head's own rate; null for the same.
    """

    n: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        inside = layers_for(model.model, model.anatomy, where="attention", top=self.n)
        last = last_layers(model.model, model.anatomy, where="mlp", top=self.n)
        settings = {"peft_type": "IA3", "feedforward_modules": [*last]}
        return graft(model, settings, [*inside, *last], seed=seed)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate))
