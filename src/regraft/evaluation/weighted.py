"""Sums, ratios and means over weighted rows: what every metric is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


def totals(weights: Floats, values: Floats) -> Floats:
    """Weighted sums over rows: ``[b]``, or ``[b, d]``.

    Not ``@``: for such narrow products, the threads of BLAS cost more than they bring.
    """
    return np.asarray(np.einsum("bn,n...->b...", weights, values))


def ratio(above: Array, below: Array) -> Floats:
    """``above / below``, nan where ``below`` is zero."""
    out = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def mean_defined(values: Floats) -> Floats:
    """The mean of each row ``[b, k]`` over what is defined in it."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))
