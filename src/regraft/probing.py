"""What a frozen backbone says of examples: the features that a linear probe is fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regraft.device import require_memory
from regraft.evaluation.outputs import features_of
from regraft.frozen import UNFIT, Subject, Tap, depth_taps, features, store_root
from regraft.recipe import Recipe
from regraft.tasks import Encoded
from regraft.training import Poll


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
