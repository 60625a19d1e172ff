"""logistic: the head is fitted to what the frozen backbone says of the training rows; no step is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Phase, Strategy
from regraft.strategies._readout import fitted


@dataclass(frozen=True)
class Logistic(Strategy):
    """Logistic regression on frozen features; for numbers, ridge regression. It has no options and no epochs.

    How strongly the weights are held back is chosen by 5-fold cross-validation on the training rows: of all ways the
    quickest, and hard to beat with very few labels (Tian et al., Rethinking Few-Shot Image Classification, 2020,
    https://arxiv.org/abs/2003.11539). The loss of the task and its options do not count.
    """

    needs_readout: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("classes", "labels", "numbers")
    learning_rate: ClassVar[float] = 0.0  # type: ignore[misc]  # nothing is learned in steps

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:  # noqa: ARG002
        yield fitted(anatomy)
