"""prefix-tuning: in every block attention finds keys and values that nobody computed; they alone learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained import Anatomy, Pretrained, graft
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class PrefixTuning(Strategy):
    """A prefix: ``tokens`` keys and values for each block and head, begun as those of words of the vocabulary.

    Li and Liang, Prefix-Tuning, 2021, https://arxiv.org/abs/2101.00190, without the network that they learn it through;
    for encoders as Liu et al., P-Tuning v2, 2022, https://arxiv.org/abs/2110.07602. It changes the lowest block, so
    nothing can be stored. For decoders, and for encoders that can go on from keys and values (BERT and its kin).

    Options:
        tokens: how many; that many fewer are left for the text. 10 to 100 in the papers, more for longer answers.
        learning_rate: of the size of P-Tuning v2's for classes of texts; Li and Liang, through the network, took 5e-5.
        head_learning_rate: the head's own rate, that of a probe.
    """

    tokens: Annotated[int, Field(ge=1)] = 20
    learning_rate: Annotated[float, Field(gt=0)] = 2e-2
    head_learning_rate: Annotated[float, Field(gt=0)] | None = 1e-3

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        return graft(model, {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": self.tokens}, seed=seed)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate))
