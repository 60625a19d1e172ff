"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal


def factor(step: int, total: int, *, schedule: Literal["linear", "cosine", "constant"], warmup: float) -> float:
    """What the rate is multiplied by at ``step`` of ``total`` (counted from 0).

    It rises linearly over the first ``warmup`` share of the steps, then falls to 0 linearly or along half a cosine
    (Loshchilov and Hutter, SGDR, 2017), or stays.
    """
    rising = math.ceil(total * warmup)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    if schedule == "linear":
        return max(0.0, 1.0 - done)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return 1.0
