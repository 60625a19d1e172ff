"""What a strategy is: phases, and in each the groups of parameters that train. What is in no group is frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from regraft.pretrained import Anatomy, Pretrained


@dataclass(frozen=True)
class Group:
    """Parameters that train at one learning rate."""

    parameters: tuple[str, ...]
    learning_rate: float


Look = Callable[[], Mapping[str, float]]
Objective = Literal["task", "contrastive", "closed-form", "nearest"]


@dataclass(frozen=True)
class Phase:
    """So many epochs of training these groups. **A parameter in no group is frozen.**

    ``objective`` says what they are trained for: "task" is the loss of the task; "contrastive" is that what the last
    layer of the head is given be alike for examples of one class, and unlike for others, ``temperature`` dividing how
    alike they are (None: as that is); in a phase that is "closed-form" that last layer is fitted to the training rows,
    without a step; in one that is "nearest" it keeps them, and answers as the ``k`` nearest do (None: as many as tell
    them apart best).
    """

    epochs: int
    groups: tuple[Group, ...]
    objective: Objective = "task"
    temperature: float | None = None
    k: int | None = None

    @property
    def fitted(self) -> bool:
        """Whether the last layer is made of the training rows at once, and no step is taken."""
        return self.objective in ("closed-form", "nearest")

    @property
    def trainable(self) -> frozenset[str]:
        """The names of all parameters that train."""
        return frozenset(name for group in self.groups for name in group.parameters)


@dataclass(frozen=True)
class Signs:
    """What there is to go by before a strategy is chosen.

    ``kind`` is that of the answers (see ``evaluation.metrics``). ``rows`` are those to learn from, ``rarest`` those of
    the rarest class (of other answers, all); so many ``epochs`` they get, not below the ``fewest``, of so many steps
    ``an_epoch``. ``fitted``: whether a last layer can be fitted to the answers, ``pairs``: whether examples of one
    class can meet in a batch, and models for such inputs are made to be compared by cosine, as sentence encoders are
    and image classifiers are not. The rest is found out only if asked: a ``probe`` of some rows (None where no two may
    be parted), what the ``names`` of the classes tell (None where they cannot be learned from, or where the recipe says
    whether they are), how many ``blocks`` the model has, and the ``seconds`` of an epoch in which all of it trains.
    """

    kind: str
    rows: int
    rarest: int
    epochs: int
    fewest: int
    an_epoch: int
    fitted: bool
    pairs: bool
    probe: Callable[[], Probe | None]
    names: Callable[[], Names | None]
    blocks: Callable[[], int]
    seconds: Callable[[], float]


@dataclass(frozen=True)
class Probe:
    """What a layer fitted to frozen features is worth on so many rows in cross-validation, and what no features are: of
    a metric of which more is better, and 1 is all.
    """

    metric: str
    rows: int
    value: float
    without: float


@dataclass(frozen=True)
class Names:
    """How well the untouched model orders rows by the names of their classes alone, as an AUC (0.5 is chance; of more
    than two classes the mean of each against the rest), and how many ``rows`` would say these names.
    """

    auc: float
    rows: int


@dataclass(frozen=True)
class Choice:
    """A strategy's name and options, the epochs that it gets, and why, in sentences.

    ``names``: whether what the classes are called is learned from too.
    """

    strategy: str
    options: Mapping[str, Any]
    epochs: int
    reason: str
    names: bool = False


class Strategy(ABC):
    """A way of tuning. A subclass is a frozen dataclass whose fields are the options.

    ``head_rate_option`` names the one that says how fast the head learns. ``needs_readout``: whether it looks at what
    the last layer of the head is given, so that a head is best that is nothing but that layer; ``replaces_readout``:
    whether it puts another layer there, which only a head of ours lets be done. ``answers`` are the kinds of answers
    that it can learn; nothing for all. One that ``chooses`` is always another one in the end.
    """

    learning_rate: float
    head_rate_option: ClassVar[str] = "head_learning_rate"
    needs_readout: ClassVar[bool] = False
    replaces_readout: ClassVar[bool] = False
    answers: ClassVar[tuple[str, ...]] = ()
    chooses: ClassVar[bool] = False

    def choice(self, signs: Signs) -> Choice:
        """The strategy that is taken in place of this one, where it ``chooses``."""
        raise NotImplementedError

    def settled(self, look: Look) -> Strategy:  # noqa: ARG002  (most leave nothing open)
        """The strategy with those options filled in that a look at the model and a few training rows decides.

        Args:
            look: of each part of the anatomy ``|gradient| / |weights|``.

        Raises:
            RecipeError: it does not fit the model.
        """
        return self

    def graft(self, model: Pretrained, *, seed: int, rows: int) -> Pretrained:  # noqa: ARG002  (most add nothing)
        """The model with what this strategy puts into it. The module itself may be changed.

        Args:
            seed: what begins with random numbers is drawn from it.
            rows: how many there are to train on.
        """
        return model

    @abstractmethod
    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        """The phases, in order; read it from top to bottom."""
