"""norm-tuning: only the scales and shifts of norms train, and the head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_a_kind


@dataclass(frozen=True)
class NormTuning(Strategy):
    """The weights and biases of norms learn, whatever kind of norm it is.

    Of batch norms Frankle et al., Training BatchNorm and Only BatchNorm, 2021, https://arxiv.org/abs/2003.00152; of
    layer norms Qi et al., 2022, https://arxiv.org/abs/2211.08682, for texts, and Basu et al., Strong Baselines for
    Parameter-Efficient Few-Shot Fine-Tuning, 2023, https://arxiv.org/abs/2304.01917, for images. The statistics of
    batch norms stay those of the checkpoint.

    Options:
        n: in so many of the top blocks and above, what is below being stored; null for all, the embeddings' too.
        learning_rate: few numbers bear a high one; that of ``bitfit``.
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
    """

    n: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        groups = of_a_kind(
            anatomy,
            anatomy.norms,
            "norms with weights",
            top=self.n,
            rate=self.learning_rate,
            head_rate=self.head_learning_rate,
        )
        yield Phase(epochs, groups)
