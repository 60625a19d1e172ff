"""bitfit: only biases train, and the head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_a_kind


@dataclass(frozen=True)
class Bitfit(Strategy):
    """Bias-only tuning: what is added learns, what is multiplied with stays.

    Ben Zaken et al., BitFit, 2022, https://arxiv.org/abs/2106.10199: about a thousandth of the parameters, and on small
    data nearly what full tuning gives. The biases of norms are among them. Models without biases (T5, Llama,
    ModernBERT) have nothing that could learn so.

    Options:
        n: in so many of the top blocks and above, what is below being stored; null for all, the embeddings' too.
        learning_rate: the paper's are 1e-4 to 1e-3; a small model on few rows needs more, as measured.
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
    """

    n: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        groups = of_a_kind(
            anatomy,
            anatomy.biases,
            "biases",
            top=self.n,
            rate=self.learning_rate,
            head_rate=self.head_learning_rate,
        )
        yield Phase(epochs, groups)
