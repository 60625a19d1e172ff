"""knn: the model answers as the training rows do that are most like an input; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from regraft.errors import RecipeError
from regraft.pretrained import Anatomy, Pretrained, remembering
from regraft.strategies._contract import Group, Phase, Strategy
from regraft.strategies._readout import require_known


@dataclass(frozen=True)
class Knn(Strategy):
    """The nearest neighbours of frozen features: what the last layer is given of every training row is kept in it.

    Cover and Hart, Nearest Neighbor Pattern Classification, 1967, https://doi.org/10.1109/TIT.1967.1053964; by cosine,
    each neighbour counting by how near it is (Caron et al., Emerging Properties in Self-Supervised Vision Transformers
    (DINO), 2021, https://arxiv.org/abs/2104.14294). It has no epochs; the loss of the task and its options do not
    count. The saved model holds the features and labels of all training rows. ``logistic`` mostly tells more.

    Options:
        k: how many neighbours answer; null for the one of 1, 3, 5, 11, 21 and 51 that is best where every training row
            is answered by the others.
        temperature: a neighbour counts exp(cosine / temperature); 0.07 is DINO's, and the higher, the more alike all
            of them count.
    """

    needs_readout: ClassVar[bool] = True
    replaces_readout: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("classes", "labels")
    learning_rate: ClassVar[float] = 0.0  # type: ignore[misc]  # nothing is learned in steps

    k: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=1e-4, le=1)] = 0.07

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002
        if self.k is not None and self.k > rows:
            raise RecipeError(f"strategy.k = {self.k}", fix=f"there are {rows} training rows; choose 1 to {rows}")
        return remembering(model, rows)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:  # noqa: ARG002
        require_known(anatomy)
        yield Phase(1, (Group(anatomy.readout, 0.0),), "nearest", self.temperature, self.k)
