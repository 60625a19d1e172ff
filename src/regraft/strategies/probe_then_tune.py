"""probe-then-tune: first what is new learns while the rest is frozen, then everything trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Group, Look, Phase, Strategy
from regraft.strategies._layerwise import Decay, layerwise, settled_decay
from regraft.strategies._readout import fitted


@dataclass(frozen=True)
class ProbeThenTune(Strategy):
    """Two phases, the second of which begins from a head that knows its task: less is forgotten.

    Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, 2022,
    https://arxiv.org/abs/2202.10054 (LP-FT).

    Options:
        probe: trained by steps, or fitted as by the strategy logistic: quicker, where the head is a linear layer on
            features that are known (model.head=mean for texts); all epochs are then for the second phase.
        probe_epochs: how many of the epochs only what is new trains; null for a third of them.
        probe_learning_rate: its rate while the rest is frozen; that of ``linear-probe``.
        learning_rate: the rate of all, once everything trains; that of ``full``.
        head_learning_rate: the head's own rate then; null for the same.
        layer_decay: below 1, each block learns more slowly than the one above it; auto as relative gradients say.
    """

    head_rate_option: ClassVar[str] = "probe_learning_rate"

    probe: Literal["trained", "fitted"] = "trained"
    probe_epochs: Annotated[int, Field(ge=1)] | None = None
    probe_learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Decay = 1.0

    def settled(self, look: Look) -> Strategy:
        return settled_decay(self, look)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        if self.probe == "fitted":
            yield fitted(anatomy)
            yield self._tuning(anatomy, epochs)
            return
        probing = self.probe_epochs or max(1, epochs // 3)
        if probing >= epochs:
            asked = f" and strategy.probe_epochs = {self.probe_epochs}" if self.probe_epochs else ""
            raise RecipeError(
                f"probe-then-tune with training.epochs = {epochs}{asked}: none is left in which everything trains",
                fix="set training.epochs higher, or take linear-probe",
            )
        fresh = tuple(name for name in anatomy.parameters if name in anatomy.new or name in anatomy.head)
        if not fresh:
            raise RecipeError(
                "this model has no head, and nothing in it is new: there is nothing to probe with",
                fix="take strategy=full",
            )
        yield Phase(probing, (Group(fresh, self.probe_learning_rate),))
        yield self._tuning(anatomy, epochs - probing)

    def _tuning(self, anatomy: Anatomy, epochs: int) -> Phase:
        groups = layerwise(
            anatomy, anatomy.parts, rate=self.learning_rate, decay=self.layer_decay, head_rate=self.head_learning_rate
        )
        return Phase(epochs, tuple(groups))
