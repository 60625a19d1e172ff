"""Targets that are objects: what the plan says of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from regraft.tasks._boxes import BoxTargets


def _boxes(*sides: float) -> NDArray[np.float64]:
    """Squares of these sides, in parts of the image."""
    return np.array([[0, 0, side, side, 0, 0] for side in sides], dtype=np.float64).reshape(-1, 6)


def _said(*values: NDArray[np.float64], size: int) -> list[str]:
    canvas = SimpleNamespace(width=size, height=size)
    return BoxTargets().remarks(values, [{"canvas": canvas}] * len(values))


def test_objects_that_are_small_where_they_are_read_are_noted() -> None:
    (note,) = _said(_boxes(0.05, 0.04), _boxes(0.05, 0.5), size=224)
    assert note.startswith("half of the objects are at most 11 pixels large")
    assert "task.image_size" in note


@pytest.mark.parametrize("size", [320, 640])
def test_the_same_objects_in_larger_images_are_not(size: int) -> None:
    assert _said(_boxes(0.05, 0.05), size=size) == []


def test_without_objects_nothing_is_noted() -> None:
    assert _said(_boxes(), size=224) == []
