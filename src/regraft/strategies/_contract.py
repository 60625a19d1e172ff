"""What a strategy is: phases, and in each the groups of parameters that train. What is in no group is frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from regraft.pretrained import Anatomy, Pretrained


@dataclass(frozen=True)
class Group:
    """Parameters that train at one learning rate."""

    parameters: tuple[str, ...]
    learning_rate: float


@dataclass(frozen=True)
class Phase:
    """So many epochs of training these groups. **A parameter in no group is frozen.**"""

    epochs: int
    groups: tuple[Group, ...]

    @property
    def trainable(self) -> frozenset[str]:
        """The names of all parameters that train."""
        return frozenset(name for group in self.groups for name in group.parameters)


class Strategy(ABC):
    """A way of tuning. A subclass is a frozen dataclass whose fields are the options.

    ``head_rate_option`` names the one that says how fast the head learns.
    """

    learning_rate: float
    head_rate_option: ClassVar[str] = "head_learning_rate"

    def graft(self, model: Pretrained, *, seed: int) -> Pretrained:  # noqa: ARG002  (most add nothing)
        """The model with what this strategy puts into it. The module itself may be changed.

        Args:
            seed: what begins with random numbers is drawn from it.
        """
        return model

    @abstractmethod
    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        """The phases, in order; read it from top to bottom."""
