"""Which rows stand for all, and how much there is to compute for the ones and for the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from regraft.data.batches import padded, passes, step_batches
from regraft.evaluation.outputs import scored_passes
from regraft.preparation import Prepared
from regraft.sources import make_rows
from regraft.training import Rows

_MOST_BATCHES, _FEWEST_BATCHES = 8, 3
_SECONDS = 8.0  # that the batches of a rehearsal may take, as far as that can be told before
_CPU, _ACCELERATOR = 2e11, 2e13  # operations per second, rough rates by which the number of batches is chosen
_CHUNKS = 3  # of the validation and of the test rows
_COUNTED = 200_000  # examples whose batches are counted; beyond, epochs count as those before them

T = TypeVar("T")
Shape = tuple[int, int]  # examples of a pass, and their length when padded


@dataclass(frozen=True)
class Sample:
    """Positions of the examples that stand for all, by side; and all rows of the sides that are only scored.

    Each phase is rehearsed for ``epochs``: two, of which the first makes the kernels, or one where that takes long.
    """

    train: list[int]
    validation: list[int]
    test: list[int]
    validation_rows: Rows
    test_rows: Rows
    epochs: int = 2


def choose_sample(prepared: Prepared) -> Sample:
    """Batches of the first epoch from the smallest to the largest, and batches of validation and test rows."""
    rows, size = prepared.rows, prepared.recipe.training.batch_size
    batches = _ordered(prepared, rows, epoch=0)
    whole = [batch for batch in batches if len(batch) == size] or batches
    whole.sort(key=lambda batch: _tokens(list(_shapes(prepared, rows, batch))))
    train = [place for batch in spread(whole, _count(prepared, whole)) for place in batch]
    sides = [
        make_rows(examples, prepared.task, prepared.answers, prepared.pretrained)
        for examples in (prepared.splits.validation, prepared.splits.test)
    ]
    validation, test = (_scored_together(prepared, side.lengths) for side in sides)
    slow = rough_seconds(prepared, sum(rows.lengths[place] for place in train)) > _SECONDS
    return Sample(train, validation, test, sides[0], sides[1], epochs=1 if slow else 2)


def spread(values: Sequence[T], count: int) -> list[T]:
    """So many of the values, evenly from the first to the last."""
    if count >= len(values) or count < 2:
        return list(values)
    return [values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)]


def rough_seconds(prepared: Prepared, tokens: int) -> float:
    """Forward and back through everything but the embeddings, at a guessed rate: at most, and rough."""
    weights = sum(part.parameters for part in prepared.plan.tree if part.name != "embeddings")
    rate = _CPU if prepared.device.device.type == "cpu" else _ACCELERATOR
    return tokens * max(6.0 * weights / rate, prepared.pace)


def steps_of(prepared: Prepared, epochs: int) -> tuple[list[list[int]], set[Shape]]:
    """The tokens of each step, epoch by epoch, padding included; and all shapes of the passes in them."""
    rows = prepared.rows
    counted = max(1, min(epochs, _COUNTED // max(1, len(rows.lengths))))
    shapes: set[Shape] = set()
    found = []
    for epoch in range(counted):
        batches = [list(_shapes(prepared, rows, batch)) for batch in _ordered(prepared, rows, epoch=epoch)]
        shapes.update(shape for batch in batches for shape in batch)
        found.append([_tokens(batch) for batch in batches])
    return [found[epoch % counted] for epoch in range(epochs)], shapes


def filled_tokens(prepared: Prepared, lengths: Sequence[int]) -> int:
    """Tokens that are computed for the rows of examples of these lengths, each padded to a length of its own."""
    limit = prepared.subject().limit
    return sum(padded(length, limit) for length in lengths)


def scored_tokens(lengths: Sequence[int], batch_size: int) -> int:
    """Tokens that are computed when examples of these lengths are scored."""
    return sum(_size(places, lengths) for places in scored_passes(lengths, batch_size, alike=False))


def _count(prepared: Prepared, batches: Sequence[Sequence[int]]) -> int:
    """How many batches can be rehearsed in the time there is."""
    median = sum(prepared.rows.lengths[place] for place in batches[len(batches) // 2])
    seconds = 2 * len(prepared.phases) * rough_seconds(prepared, median)
    return int(np.clip(_SECONDS / max(seconds, 1e-9), _FEWEST_BATCHES, _MOST_BATCHES))


def _scored_together(prepared: Prepared, lengths: Sequence[int]) -> list[int]:
    """Examples of some of the batches in which they are scored, the longest among them.

    Of a slow model only the largest pass of the longest batch: it takes as much memory as there is to take.
    """
    size = prepared.recipe.evaluation.batch_size
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    if chunks and rough_seconds(prepared, sum(lengths[place] for place in chunks[-1])) > _SECONDS:
        longest = [lengths[place] for place in chunks[-1]]
        largest = max(scored_passes(longest, size, alike=False), key=lambda places: _size(places, longest))
        chunks = [[chunks[-1][place] for place in largest]]
    return sorted(place for chunk in spread(chunks, _CHUNKS) for place in chunk)


def _size(places: Sequence[int], lengths: Sequence[int]) -> int:
    return len(places) * max(lengths[place] for place in places)


def _ordered(prepared: Prepared, rows: Rows, *, epoch: int) -> list[list[int]]:
    size = prepared.recipe.training.batch_size
    return step_batches(rows.ids, rows.lengths, seed=prepared.recipe.seed, epoch=epoch, batch_size=size)


def _shapes(prepared: Prepared, rows: Rows, batch: Sequence[int]) -> Iterator[Shape]:
    options = prepared.recipe.training
    limits: dict[str, Any] = {
        "accumulation": options.accumulation,
        "max_tokens": options.max_tokens,
        "alike": rows.alike,
    }
    for members in passes(batch, rows.lengths, **limits):
        yield len(members), rows.size(members)


def _tokens(shapes: Sequence[Shape]) -> int:
    return sum(count * longest for count, longest in shapes)
