"""p-tuning: before every text stand tokens that nobody wrote; a small network that gives their embeddings learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained import Anatomy, Pretrained, graft
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class PTuning(Strategy):
    """As ``prompt-tuning``, with a network of two hidden layers between what is learned and what is read.

    Liu et al., GPT Understands, Too, 2021, https://arxiv.org/abs/2103.10385, whose network is recurrent; this one is
    peft's, and is only needed in training: what it gives is saved too, and is what plain peft reads.

    Options:
        tokens: how many; that many fewer are left for the text.
        hidden: the width of the network; null for that of the embeddings.
        learning_rate: of the network and what goes into it; 1e-3 learned less, as measured.
        head_learning_rate: the head's own rate; null for the same.
    """

    tokens: Annotated[int, Field(ge=1)] = 20
    hidden: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        settings = {"peft_type": "P_TUNING", "num_virtual_tokens": self.tokens, "encoder_hidden_size": self.hidden}
        return graft(model, settings, seed=seed)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate))
