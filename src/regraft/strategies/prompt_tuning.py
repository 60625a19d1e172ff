"""prompt-tuning: before every text stand tokens that nobody wrote; their embeddings alone learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from regraft.pretrained import Anatomy, Pretrained, graft
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class PromptTuning(Strategy):
    """A soft prompt: ``tokens`` rows of numbers before the embeddings of every text, begun as words of the vocabulary.

    Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, 2021, https://arxiv.org/abs/2104.08691: as
    good as full tuning in models of billions of weights, far behind in small ones. It changes what the lowest block
    reads, so nothing can be stored. For models that read words. An encoder's own head that reads the first place reads
    the first of these tokens, as in peft; ``model.head=mean`` reads the text, and learned more.

    Options:
        tokens: how many; that many fewer are left for the text. The paper tried 1 to 150, and found little beyond 20.
        learning_rate: the paper's is 0.3, with Adafactor; AdamW wants less, and 1e-2 to 5e-2 were alike as measured.
        head_learning_rate: the head's own rate, that of a probe.
    """

    tokens: Annotated[int, Field(ge=1)] = 20
    learning_rate: Annotated[float, Field(gt=0)] = 3e-2
    head_learning_rate: Annotated[float, Field(gt=0)] | None = 1e-3

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        return graft(model, {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": self.tokens}, seed=seed)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate))
