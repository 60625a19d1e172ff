"""contrastive: first the backbone learns to tell the classes apart, by pairs of examples; then the head is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Look, Phase, Strategy
from regraft.strategies._layerwise import Decay, from_the_top, layerwise, settled_decay
from regraft.strategies._readout import fitted, require_readout


@dataclass(frozen=True)
class Contrastive(Strategy):
    """For few labels: n examples make n (n - 1) / 2 pairs, and every pair of a batch counts, at the cost of n passes.

    The idea of Tunstall et al., Efficient Few-Shot Learning Without Prompts (SetFit), 2022,
    https://arxiv.org/abs/2209.11055. How many pairs there are is bounded: by batch and epochs.

    Options:
        n: so many of the top blocks learn; null for all, and the embeddings. Below them what is frozen is stored.
        learning_rate: as measured on texts and images (LOG.md). SetFit's 2e-5 hardly moves a model in the few steps
            that few labels make here, where each takes all pairs of a batch.
        temperature: null brings cosines within a class to 1 and across to 0, as SetFit does. A number divides them in
            the loss of Khosla et al., Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362; 0.1 is
            usual there, with a learning_rate of 1e-4, and a smaller one looks at the hardest pairs.
        layer_decay: below 1, each block learns more slowly than the one above it; auto as relative gradients say.
    """

    needs_readout: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("classes",)

    n: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    temperature: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Decay = 1.0

    def settled(self, look: Look) -> Strategy:
        return settled_decay(self, look)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        require_readout(anatomy)
        parts = [*anatomy.parts] if self.n is None else from_the_top(anatomy, self.n)
        parts = [part for part in parts if part != "head"]
        groups = layerwise(anatomy, parts, rate=self.learning_rate, decay=self.layer_decay, head_rate=None)
        yield Phase(epochs, tuple(groups), "contrastive", self.temperature)
        yield fitted(anatomy)
