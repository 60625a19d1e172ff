"""Room for one row of numbers an example: in memory while small, in a temporary file mapped into it when large."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY = 50_000_000  # numbers; more are kept in a file
CHUNK = 65_536  # rows that are worked on together


def room(rows: int, width: int, dtype: DTypeLike) -> NDArray[Any]:
    """An array ``[rows, width]`` to be filled. A file behind it goes when the array does."""
    if rows * width <= IN_MEMORY:
        return np.zeros((rows, width), dtype=dtype)
    with tempfile.NamedTemporaryFile(prefix="regraft-") as file:  # unlinked here, alive as long as it is mapped
        return np.memmap(file.name, dtype=dtype, mode="w+", shape=(rows, width))
