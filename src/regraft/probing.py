"""What a frozen backbone says of examples, the features that a linear probe is fitted to; and folds to judge it on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.data import Example
from regraft.device import require_memory
from regraft.errors import DataError
from regraft.evaluation.outputs import features_of
from regraft.evaluation.weighted import Array
from regraft.fingerprint import draw
from regraft.frozen import UNFIT, Subject, Tap, depth_taps, features, store_root
from regraft.recipe import Recipe
from regraft.tasks import Encoded
from regraft.training import Poll

_FOLDS = 5


def probe_tap(subject: Subject) -> Tap:
    """What a linear probe sees of an example: the mean of what leaves the backbone."""
    return depth_taps(subject)[-1]


def output_features(
    subject: Subject, encoded: Sequence[Encoded], recipe: Recipe, poll: Poll = lambda: None
) -> NDArray[np.float32]:
    """The mean of what leaves the backbone for each example, [n, width]; from the store where it is there."""
    if subject.blocks:
        try:
            return features(subject, encoded, [probe_tap(subject)], recipe.cache, root=store_root(), poll=poll)[0]
        except UNFIT as error:  # what does not run block by block is run whole
            require_memory(error)
    size = recipe.evaluation.batch_size
    with subject.device.computing():
        return features_of(subject.model, subject.inputs, subject.processor, encoded, batch_size=size, poll=poll)


def folds(examples: Sequence[Example], target: Array, seed: int) -> Array:
    """The fold of each row: equal inputs and groups stay together, classes are dealt out [n].

    Raises:
        DataError: no two rows may be parted.
    """
    units: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        units.setdefault(example.id if example.group is None else f"group {example.group}", []).append(place)
    if len(units) < 2:
        raise DataError(
            "no two training rows may be parted, so there are none to judge on",
            fix="add rows, or name a table with data.validation=…",
        )

    def order(unit: str) -> tuple[Any, int]:
        return np.atleast_1d(target[units[unit][0]]).tolist(), draw("rank folds", seed, unit)

    fold = np.empty(len(examples), dtype=np.int64)
    for number, unit in enumerate(sorted(units, key=order)):
        fold[units[unit]] = number % _FOLDS
    return fold
