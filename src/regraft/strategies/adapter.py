"""adapter: behind attention and feed-forward layers a narrow network is put, which alone learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from regraft.pretrained import Anatomy, Pretrained, graft, last_layers
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class Adapter(Strategy):
    """Bottleneck adapters: what a layer gives goes through ``size`` numbers and is added to itself; it begins at 0.

    Houlsby et al., Parameter-Efficient Transfer Learning for NLP, 2019, https://arxiv.org/abs/1902.00751, put one
    behind attention and one behind the feed-forward layers of each block (``linear``); Pfeiffer et al., AdapterFusion,
    2021, https://arxiv.org/abs/2005.00247, the second alone (``mlp``). Not linear, so it stays beside the weights, and
    regraft alone opens it.

    Options:
        size: of the narrow network.
        where: behind attention, behind all others (mlp), or both (linear).
        n: in so many of the top blocks; null for all. Below them what is frozen is stored.
        learning_rate: that of ``lora``; the first paper's are 3e-5 to 3e-3, the second's 1e-4.
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
    """

    size: Annotated[int, Field(ge=1)] = 64
    where: Literal["linear", "attention", "mlp"] = "linear"
    n: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        layers = last_layers(model.model, model.anatomy, where=self.where, top=self.n)
        return graft(model, {"peft_type": "BOTTLENECK", "size": self.size}, layers, seed=seed)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate))
