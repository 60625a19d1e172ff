"""What a task is: what it reads (Inputs), what it answers (Targets), and the transformers class that brings its head.

A task sees examples, tensors and outputs. It knows neither the loop nor where activations come from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from regraft.data.example import BadRow, Column, Example
from regraft.fingerprint import encoded_id
from regraft.pretrained import Pretrained
from regraft.pretrained.glimpse import Glimpse

Kind = Literal["classes", "labels", "numbers", "boxes", "masks", "translations", "completions", "passages",
               "transcripts", "speech"]  # fmt: skip
Encoded = dict[str, Any]
Output = Mapping[str, Tensor]


@dataclass(frozen=True)
class Answers:
    """What the columns of an output mean; saved with the model.

    ``mean`` and ``scale`` (numbers only) turn an output into the user's units: value = output * scale + mean.
    """

    kind: Kind
    names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many columns an output has."""
        return len(self.names)

    def in_units(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Outputs [n, width] in the user's units; logits of classes and labels as they are."""
        if not self.scale:
            return outputs
        return np.asarray(outputs.astype(np.float64) * np.asarray(self.scale) + np.asarray(self.mean))


@dataclass(frozen=True)
class Loss:
    """A loss, and why it was chosen.

    ``function(output, target)`` gives one loss for each unit (an example here; a token elsewhere). The loop divides
    their sum by the units of the whole optimizer step, so that micro-batches and padding do not change it. What is
    padding has a loss of 0.
    """

    name: str
    reason: str
    function: Callable[[Output, Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """What one pass takes: model inputs, targets, and how many units the targets hold."""

    inputs: dict[str, Tensor]
    target: Tensor
    units: int


@dataclass(frozen=True)
class Plain:
    """The training examples as they are, before they are varied, and the untuned model that is to read them."""

    examples: Sequence[Example]
    encoded: Sequence[Encoded]
    values: Sequence[Any]
    answers: Answers
    model: Pretrained


class Inputs(ABC):
    """How a task reads what it is asked about: text, an image, a sound. ``wanted`` is what it is called."""

    wanted: ClassVar[str] = "a text"
    alone: ClassVar[bool] = False  # whether stored rows are computed one example at a time: of many lengths
    uneven: ClassVar[bool] = False  # whether an example in a view may be longer or shorter than as it is
    compared: ClassVar[bool] = False  # whether models that read it are mostly made to be compared by cosine

    def is_one(self, value: Any) -> bool:
        """Whether a value from Python is one input by itself, and not several of them."""
        return isinstance(value, str)

    def given(self, column: Column, value: Any) -> Any:
        """A value from Python, or of a line of text, as ``encode`` takes it.

        Raises:
            ValueError: with what is wrong with it.
        """
        return column.parse(value)

    def trouble(self, inputs: Mapping[str, Any], processor: Any, config: Any) -> str | None:  # noqa: ARG002
        """What is wrong with an input as this model reads it; None where it can be answered."""
        return None

    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns it reads from a table."""

    @abstractmethod
    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        """Model inputs for each example, unpadded: what is computed once and kept."""

    @abstractmethod
    def length(self, encoded: Encoded) -> int:
        """The length of an encoded example, in the unit of ``training.max_tokens``."""

    def alike(self, encoded: Sequence[Encoded]) -> bool:  # noqa: ARG002
        """Whether only examples of equal length may be computed together, since padding would change what is said."""
        return False

    @abstractmethod
    def remarks(self, encoded: Sequence[Encoded], processor: Any, config: Any) -> list[str]:
        """Notes on what was cut, or on what the model does not know."""

    @abstractmethod
    def limit(self, processor: Any, config: Any) -> int:
        """The largest length that is read of an example."""

    @abstractmethod
    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """A batch of model inputs, padded to its longest, or to ``size`` where that is given."""

    def key(self, encoded: Encoded) -> bytes:
        """The hash of what the model is given for one example, 16 bytes."""
        return encoded_id(encoded)

    def blank(self, encoded: Sequence[Encoded], processor: Any) -> dict[str, Tensor] | None:  # noqa: ARG002
        """Inputs of the right shape with nothing in them, for a model that does not look at them.

        None where the true ones cost next to nothing.
        """
        return None


class Targets(ABC):
    """What a task answers: a class, labels, numbers. ``stratified``: whether a split keeps the share of each class."""

    stratified: ClassVar[bool] = False

    @abstractmethod
    def column(self, *, label_separator: str) -> Column:
        """The column that holds the target."""

    @abstractmethod
    def learn(self, examples: Sequence[Example]) -> Answers:
        """What can be answered, learned from the training examples.

        Raises:
            DataError: nothing can be learned from them, for example because all labels are equal.
        """

    @abstractmethod
    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        """The examples whose target is not among the answers."""

    @abstractmethod
    def value(self, example: Example, answers: Answers) -> Any:
        """The target of an example as a number, a list of numbers, or what else a batch is made of."""

    @abstractmethod
    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        """What is there, for the plan and the report: rows for each label, or the spread of numbers."""

    def remarks(self, values: Sequence[Any], encoded: Sequence[Encoded]) -> list[str]:  # noqa: ARG002
        """Notes on what will be hard to learn."""
        return []

    @abstractmethod
    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:
        """A batch of values as the loss takes them."""

    @abstractmethod
    def model_config(self, answers: Answers) -> dict[str, Any]:
        """What the answers set in the model's config; ``num_labels`` among it."""

    @abstractmethod
    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:
        """The loss that fits the options, the training targets, and the model's ``config`` where it brings its own."""

    def said(self, output: Output, answers: Answers, encoded: Sequence[Encoded]) -> Tensor:  # noqa: ARG002
        """What is kept of what a model says of a batch, [batch, …]: the logits [batch, width], where it gives some."""
        return output["logits"]

    def told(self, said: NDArray[Any], answers: Answers, processor: Any) -> NDArray[Any]:  # noqa: ARG002
        """What a model said of examples, in the user's terms: numbers in their units, tokens as texts."""
        return answers.in_units(said)

    def judged(self, values: Sequence[Any], said: NDArray[Any], answers: Answers) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: ARG002
        """What is right and what was told, as the metrics take them (see ``evaluation.metrics``)."""
        return np.asarray(values), said

    def finish(self, model: nn.Module, answers: Answers, head: Sequence[str]) -> Answers:  # noqa: ARG002
        """Make the tuned model speak for itself where it can: fold what is known of the targets into its head."""
        return answers

    @abstractmethod
    def answer(self, scores: NDArray[np.float64], answers: Answers, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """One row of scores as a user reads it: ``prediction``, ``confidence``, ``probabilities``.

        Args:
            inputs: what was asked about.
        """


class Task(ABC):
    """One thing that can be asked of a model. A subclass is a frozen dataclass whose fields are the task's options."""

    auto_class: ClassVar[str]
    pipeline_tag: ClassVar[str]
    primary: ClassVar[str]
    default_model: ClassVar[str] = "minilm"
    readout_head: ClassVar[Literal["own", "mean", "graft"]] = "mean"  # the one that is a linear layer and no more
    looks_first: ClassVar[bool] = False  # whether one example is tried to see what the loss depends on
    proof_rows: ClassVar[int] = 64  # on which a saved model is compared with the one in memory
    augmentation: ClassVar[type[Any] | None] = None  # the dataclass of its options, where there is one

    @property
    def unmeasured(self) -> frozenset[str]:
        """The metrics of its kind that its options leave without anybody to measure them."""
        return frozenset()

    @property
    @abstractmethod
    def inputs(self) -> Inputs:
        """How it reads."""

    @property
    @abstractmethod
    def targets(self) -> Targets:
        """What it answers."""

    def columns(self, *, label_separator: str = "|") -> tuple[Column, ...]:
        """All columns it reads from a table."""
        return (*self.inputs.columns(), self.targets.column(label_separator=label_separator))

    def settled(
        self,
        header: Callable[[], Sequence[str]],  # noqa: ARG002
        named: Mapping[str, str],  # noqa: ARG002
        model: Glimpse,  # noqa: ARG002
    ) -> Task:
        """The task with those options filled in that the columns of a table, or the model, decide.

        Args:
            header: reads the names of the columns.
            named: which column is what, as far as the recipe says.
            model: what can be told of the model before it is opened.

        Raises:
            DataError: they do not say enough.
        """
        return self

    def pieces(self, inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """An input in the parts that a prediction asks about one by one: usually itself."""
        return [inputs]

    def joined(self, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The answer to an input, from those to its parts."""
        return answers[0]

    def stated(self, answers: Answers, examples: Sequence[Example]) -> list[Example]:  # noqa: ARG002
        """Examples to learn from beside those of the table, which the options ask for and the answers allow.

        Raises:
            RecipeError: they are asked for, and there can be none.
        """
        return []

    def by_name(self, answers: Answers, examples: Sequence[Example]) -> Task | None:  # noqa: ARG002
        """The task as it also learns from what its classes are called; None where it cannot, or its options decide."""
        return None

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        """The examples that cannot be learned from, or whose target is not among the answers."""
        return self.targets.unfit(examples, answers)

    def rows(
        self, examples: Sequence[Example], answers: Answers, processor: Any, config: Any
    ) -> tuple[list[Encoded], list[Any]]:
        """Examples as the model and the loss take them: of each what the model reads, and its value."""
        encoded = self.inputs.encode([example.inputs for example in examples], processor, config)
        return encoded, [self.targets.value(example, answers) for example in examples]

    def texts(self, encoded: Sequence[Encoded], processor: Any) -> list[str] | None:  # noqa: ARG002
        """Examples, as the model reads them, in words; None where they are no texts."""
        return None

    def sheet(self, rows: Sequence[Encoded], answers: Answers, processor: Any, *, columns: int) -> bytes:
        """Some examples in their views as people can look at them: a PNG file."""
        raise NotImplementedError

    def batch(
        self,
        encoded: Sequence[Encoded],
        values: Sequence[Any],
        answers: Answers,
        processor: Any,
        *,
        size: int | None = None,
        blank: bool = False,
    ) -> Batch:
        """What one training pass takes; inputs are padded to ``size`` where that is given.

        Args:
            blank: whether the model will not look at the inputs, so that they need not be read.
        """
        inputs = self.inputs.blank(encoded, processor) if blank else None
        inputs = self.inputs.collate(encoded, processor, size=size) if inputs is None else inputs
        target = self.target(encoded, values, answers)
        return Batch(inputs, target, self.units(target))

    def units(self, target: Tensor) -> int:
        """How many units the targets of a batch hold: what the sum of their losses is divided by."""
        return len(target)

    def prove(self, model: Any, encoded: Sequence[Encoded], answers: Answers, processor: Any) -> None:  # noqa: B027
        """Try on a few examples what the options ask of the model beyond a plain pass.

        Raises:
            RecipeError: it cannot do that.
        """

    def looks(self, encoded: Sequence[Encoded]) -> bool:  # noqa: ARG002
        """Whether a pass of the model over examples says something; of what it would write only the truth does."""
        return True

    def write(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> Tensor | None:  # noqa: ARG002
        """What the model writes of a batch, int64 [batch, longest], -1 where nothing is; None if it does not write."""
        return None

    def target(self, encoded: Sequence[Encoded], values: Sequence[Any], answers: Answers) -> Tensor:  # noqa: ARG002
        """The targets of a batch as the loss takes them."""
        return self.targets.tensor(values, answers)

    def augmentation_of(self, options: Any) -> Any:
        """The options of the augmentation, without what would spoil the targets of this task.

        Raises:
            RecipeError: what would spoil them was asked for.
        """
        return options

    def beside(self, options: Any) -> tuple[Column, ...]:  # noqa: ARG002
        """The columns that the augmentation reads besides: of the training table alone they must be there.

        Args:
            options: an instance of ``augmentation``; None where there is none.
        """
        return ()

    def views(self, plain: Plain, options: Any, *, seed: int, number: int) -> Sequence[Encoded]:
        """The examples in so many augmented views, one view after the other: [number * n] encoded examples.

        Args:
            options: an instance of ``augmentation``.
        """
        raise NotImplementedError

    def unseen(self, views: Sequence[Encoded]) -> list[str]:  # noqa: ARG002
        """Notes on what the model does not see of the variation in its views."""
        return []
