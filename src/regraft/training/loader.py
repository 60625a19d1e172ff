"""From rows to the passes of each step, made here or by worker processes; the result is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from regraft.data.batches import padded
from regraft.data.example import Example
from regraft.errors import RegraftError, TrainingError
from regraft.tasks import Answers, Batch, Encoded, Inputs, Task

_PATIENCE = 120  # seconds without a batch after which a worker counts as hung


@dataclass(frozen=True)
class Rows:
    """The training examples as the model takes them.

    Where they are augmented, ``views`` holds them in as many views as there are, one view after the other, and a
    position counts through all of them; every epoch reads one view.

    ``limit`` is the largest length that the model takes; 0 where lengths are not to be rounded. ``alike``: whether only
    examples of equal length may be computed together.
    """

    examples: Sequence[Example]
    encoded: Sequence[Encoded]
    values: Sequence[Any]
    lengths: Sequence[int]
    limit: int = 0
    views: Sequence[Encoded] = ()
    alike: bool = False

    @property
    def seen(self) -> Sequence[Encoded]:
        """What training reads: all views, or the examples as they are."""
        return self.views or self.encoded

    @property
    def number_of_views(self) -> int:
        """1 where nothing is augmented."""
        return len(self.seen) // max(1, len(self.encoded))

    def reads(self, epochs: int) -> int:
        """How often the most read view of an example is read in so many epochs."""
        return -(-epochs // self.number_of_views)

    def some(self, places: Sequence[int]) -> Rows:
        """The examples at some places, in all their views."""
        count = len(self.encoded)
        return Rows(
            examples=[self.examples[place] for place in places],
            encoded=[self.encoded[place] for place in places],
            values=[self.values[place] for place in places],
            lengths=[self.lengths[place] for place in places],
            limit=self.limit,
            alike=self.alike,
            views=[self.views[first + place] for first in range(0, len(self.views), count) for place in places],
        )

    def in_epoch(self, places: Sequence[int], epoch: int) -> list[int]:
        """Positions of examples, in the view that an epoch reads."""
        first = epoch % self.number_of_views * len(self.encoded)
        return [first + place for place in places]

    def lengths_in(self, epoch: int, inputs: Inputs) -> Sequence[int]:
        """The length of each example in the view that an epoch reads."""
        if not self.views or not inputs.uneven:
            return self.lengths
        return [inputs.length(self.views[place]) for place in self.in_epoch(range(len(self.encoded)), epoch)]

    def at(self, places: Sequence[int]) -> tuple[list[Encoded], list[Any]]:
        """What is known of the examples at positions: as the model takes them, and their values."""
        count = len(self.encoded)
        return [self.seen[place] for place in places], [self.values[place % count] for place in places]

    @property
    def ids(self) -> list[str]:
        """The stable ids, which decide the order."""
        return [example.id for example in self.examples]

    def size(self, places: Sequence[int]) -> int:
        """The length that a pass over the examples at ``places`` is padded to."""
        return self._rounded(max(self.lengths[place % len(self.lengths)] for place in places))

    def _rounded(self, longest: int) -> int:
        return padded(longest, self.limit) if self.limit else longest

    def batch(
        self, places: Sequence[int], task: Task, answers: Answers, processor: Any, *, blank: bool = False
    ) -> Batch:
        """What one training pass over the examples at ``places`` takes; with ``blank``, but for what is in them."""
        encoded, values = self.at(places)
        size = self._rounded(max(task.inputs.length(row) for row in encoded)) if self.limit else None
        return task.batch(encoded, values, answers, processor, size=size, blank=blank)


class _Steps(Dataset[list[Batch] | RegraftError]):
    """The steps of an epoch; an item is the list of a step's passes."""

    def __init__(self, make: Callable[[Sequence[int]], Batch], steps: Sequence[Sequence[Sequence[int]]]) -> None:
        self._make, self._steps = make, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> list[Batch] | RegraftError:
        try:
            return [self._make(places) for places in self._steps[index]]
        except RegraftError as error:
            return error  # for a process that raises ends with a traceback, and what it says gets lost


def steps_of(
    make: Callable[[Sequence[int]], Batch], steps: Sequence[Sequence[Sequence[int]]], *, workers: int
) -> Iterator[list[Batch]]:
    """The passes of each step, in order.

    Args:
        make: a batch of the examples at some positions.
        steps: for each step, for each of its passes, positions.

    Raises:
        TrainingError: a worker died or hung.
    """
    dataset = _Steps(make, steps)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, timeout=_PATIENCE if workers else 0)
    try:
        for batches in loader:
            if isinstance(batches, RegraftError):
                raise batches
            yield batches
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise TrainingError(f"a process that prepares batches failed: {error}", fix="try training.workers=0") from error
