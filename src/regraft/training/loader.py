"""From rows to the passes of each step, made here or by worker processes; the result is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from regraft.errors import TrainingError
from regraft.tasks import Answers, Batch, Encoded, Task

_PATIENCE = 120  # seconds without a batch after which a worker counts as hung


class _Steps(Dataset[list[Batch]]):
    """The steps of an epoch; an item is the list of a step's passes."""

    def __init__(
        self,
        task: Task,
        answers: Answers,
        processor: Any,
        encoded: Sequence[Encoded],
        values: Sequence[Any],
        steps: Sequence[Sequence[Sequence[int]]],
    ) -> None:
        self._task, self._answers, self._processor = task, answers, processor
        self._encoded, self._values, self._steps = encoded, values, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> list[Batch]:
        return [self._batch(places) for places in self._steps[index]]

    def _batch(self, places: Sequence[int]) -> Batch:
        encoded = [self._encoded[place] for place in places]
        values = [self._values[place] for place in places]
        return self._task.batch(encoded, values, self._answers, self._processor)


def steps_of(
    task: Task,
    answers: Answers,
    processor: Any,
    encoded: Sequence[Encoded],
    values: Sequence[Any],
    steps: Sequence[Sequence[Sequence[int]]],
    *,
    workers: int,
) -> Iterator[list[Batch]]:
    """The passes of each step, in order.

    Args:
        steps: for each step, for each of its passes, positions in ``encoded`` and ``values``.

    Raises:
        TrainingError: a worker died or hung.
    """
    dataset = _Steps(task, answers, processor, encoded, values, steps)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, timeout=_PATIENCE if workers else 0)
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise TrainingError(f"a process that prepares batches failed: {error}", fix="try training.workers=0") from error
