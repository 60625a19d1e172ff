"""lora: what a layer computes is changed by a product of two small matrices, which alone learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from regraft.pretrained import Anatomy, Pretrained, graft, layers_for
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._layerwise import of_what_is_new


@dataclass(frozen=True)
class Lora(Strategy):
    """Low-rank adaptation, through peft: ``W x`` becomes ``W x + (alpha / rank) B A x``; B starts at 0.

    Hu et al., LoRA, 2021, https://arxiv.org/abs/2106.09685; where it is put into all linear layers, as Dettmers et al.,
    QLoRA, 2023, https://arxiv.org/abs/2305.14314, found best, it loses little to full tuning.

    Options:
        rank: of the product.
        alpha: what it is multiplied with, divided by the rank; null for twice the rank.
        dropout: of what goes into it.
        where: layers of attention, all others (mlp), or all linear layers.
        n: in so many of the top blocks; null for all. Below them what is frozen is stored.
        dora: learn the length of each column of W apart (Liu et al., 2024, https://arxiv.org/abs/2402.09353).
        rslora: divide by the root of the rank (Kalajdzievski, 2023, https://arxiv.org/abs/2312.03732).
        learning_rate: ten times that of full tuning, as Schulman et al. measured (LoRA Without Regret, 2025).
        head_learning_rate: the head's own rate; null for the same, or for more where a new head on images needs it.
    """

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    where: Literal["linear", "attention", "mlp"] = "linear"
    n: Annotated[int, Field(ge=1)] | None = None
    dora: bool = False
    rslora: bool = False
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        settings = {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": 2 * self.rank if self.alpha is None else self.alpha,
            "lora_dropout": self.dropout,
            "use_dora": self.dora,
            "use_rslora": self.rslora,
        }
        return graft(model, settings, layers_for(model.model, model.anatomy, where=self.where, top=self.n), seed=seed)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, of_what_is_new(anatomy, self.learning_rate, self.head_learning_rate))
