"""Segmentation: overlap of true and decided regions, of weighted images.

An image is its counts ``[c, c]``: pixels of true class i that were decided as class j. Counts of several images are
added before anything is divided, so a class in few pixels of an image does not weigh more for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.weighted import Array, Floats, Statistic, mean_defined, ratio


@dataclass(frozen=True)
class Pixels:
    """Pixels of each class in each image, or each weighting of images, ``[b, c]``: true, decided, both at once."""

    truth: Floats
    decided: Floats
    hit: Floats

    def weighted(self, weights: Floats) -> Pixels:
        return Pixels(weights @ self.truth, weights @ self.decided, weights @ self.hit)

    @property
    def iou(self) -> Floats:
        return ratio(self.hit, self.truth + self.decided - self.hit)

    @property
    def dice(self) -> Floats:
        return ratio(2 * self.hit, self.truth + self.decided)

    @property
    def recall(self) -> Floats:
        return ratio(self.hit, self.truth)


def pixels_of(scores: Array) -> Pixels:
    """The counts of each image ``[n, c, c]`` as sums over its rows, its columns, and its diagonal."""
    counts = scores.astype(np.float64)
    return Pixels(counts.sum(axis=2), counts.sum(axis=1), np.einsum("ncc->nc", counts).copy())


def mean_over_classes(measured: Callable[[Pixels], Floats]) -> Callable[[Array, Array], Statistic]:
    """The metric that is the mean over classes of what is measured; classes of which there is nothing are left out."""

    def prepare(target: Array, scores: Array) -> Statistic:  # noqa: ARG001
        pixels = pixels_of(scores)
        return lambda weights: mean_defined(measured(pixels.weighted(weights)))

    return prepare


def pixel_accuracy(target: Array, scores: Array) -> Statistic:  # noqa: ARG001
    """The share of pixels that are right."""
    pixels = pixels_of(scores)
    hit, all_of_them = pixels.hit.sum(axis=1), pixels.truth.sum(axis=1)
    return lambda weights: ratio(weights @ hit, weights @ all_of_them)
