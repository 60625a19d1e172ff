"""Images that are nearly equal: re-encoded, made lighter, moved or turned by a little.

A hash of 64 bits does not tell copies from kin where all images are of a kind: of the clothes of Fashion-MNIST, 12 %
have another one within 4 bits of a perceptual hash. So two images are laid over each other as they fit best, what is
fine in them is compared, and a pair counts only where it is far closer than what else is near it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.quality.findings import Row
from regraft.training import Poll

_SIDE = 32  # pixels that images are brought to
_PADDED = 40  # so that what is moved out on one side does not come in on the other
_MOVED = 2  # pixels by which two images may lie apart
_NEAREST = 20  # neighbours of each that are laid over it
_AROUND = slice(8, 15)  # those of them, from the nearest, that say how close images are here
_COARSE, _FINE = 1.0, 3.0  # pixels: blurred by the first to find neighbours; what the second blurs away is fine
_CLOSE = 0.5  # of the distance to those around: as measured (LOG.md)
_FARTHEST = 0.45  # whatever is around: a correlation of 0.8
_CHUNK = 2_000  # images compared at once
_EDGE = 0.08  # of the side of an image that is its border
_MOST_THREADS = 8  # that decode

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Glance:
    """What is kept of an image that was decoded once.

    ``grey`` [side, side]; ``border`` [36], mean and spread of each colour along the four edges, and the mean in the
    corners; ``plain``: whether it is of one colour.
    """

    grey: Floats
    border: Floats
    plain: bool


def glances(rows: Sequence[Row], poll: Poll) -> list[Glance] | None:
    """All images, each decoded once, several at a time; None where the rows are no images."""
    if not rows or not all(hasattr(each, "pixels") for each in rows[0].example.inputs.values()):
        return None
    found = []
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="looking")
    try:
        for glance in pool.map(_glance, (next(iter(row.example.inputs.values())) for row in rows)):
            poll()
            found.append(glance)
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _glance(picture: Any) -> Glance:
    from PIL import Image

    pixels = picture.pixels()
    small = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    plain = bool((pixels == pixels[:1, :1]).all())
    return Glance(np.asarray(small, dtype=np.float32), _border(pixels), plain)


def _border(pixels: NDArray[np.uint8]) -> Floats:
    edge = max(1, round(_EDGE * min(pixels.shape[:2])))
    edges = (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])
    corners = (pixels[:edge, :edge], pixels[:edge, -edge:], pixels[-edge:, :edge], pixels[-edge:, -edge:])
    along = [value for part in edges for value in (part.mean(axis=(0, 1)), part.std(axis=(0, 1)))]
    return np.concatenate([*along, *(part.mean(axis=(0, 1)) for part in corners)]).astype(np.float32)


def alike_pictures(seen: Sequence[Glance], poll: Poll) -> list[tuple[int, int, float]]:
    """Pairs of images, by their places, with the correlation of what is fine in them.

    The distance of two is the root of 1 less that correlation, where they overlap best. It is measured by what is
    around, as a match of points is by the second best (Lowe, Distinctive image features from scale-invariant keypoints,
    2004).
    """
    if len(seen) < 2:
        return []
    grey = np.stack([glance.grey for glance in seen])
    near = _neighbours(_unit(_blurred(grey, _COARSE)), poll)
    apart = _distances(_unit(grey - _blurred(grey, _FINE)), near, poll)
    around = np.sort(apart, axis=1)[:, _AROUND].mean(axis=1) if near.shape[1] == _NEAREST else np.ones(len(seen))
    limit = np.minimum(_FARTHEST, _CLOSE * np.sqrt(around[:, None] * around[near]))
    found = {
        (min(place, other), max(place, other)): 1 - float(apart[place, column]) ** 2
        for place, column in zip(*np.nonzero(apart < limit), strict=True)
        for other in (int(near[place, column]),)
    }
    return [(int(first), int(second), likeness) for (first, second), likeness in sorted(found.items())]


def _blurred(images: Floats, width: float) -> Floats:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(images, (0, width, width)), dtype=np.float32)


def _unit(images: Floats) -> Floats:
    """Images less their mean, of length 1; one of a single colour stays 0."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=(1, 2), keepdims=True), 1e-3))


def _neighbours(images: Floats, poll: Poll) -> NDArray[np.int64]:
    """Of each image the most alike, as they lie, [n, k]."""
    flat = images.reshape(len(images), -1)
    count = min(_NEAREST, len(flat) - 1)
    near = np.empty((len(flat), count), dtype=np.int64)
    for start in range(0, len(flat), _CHUNK):
        poll()
        alike = flat[start : start + _CHUNK] @ flat.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        near[start : start + _CHUNK] = np.argpartition(-alike, count - 1, axis=1)[:, :count]
    return near


def _distances(images: Floats, near: NDArray[np.int64], poll: Poll) -> Floats:
    """From each image to its neighbours, where they are moved so as to fit best, [n, k]."""
    waves = np.fft.rfft2(images, s=(_PADDED, _PADDED))
    moves = [*range(-_MOVED, _MOVED + 1)]
    apart = np.empty(near.shape, dtype=np.float32)
    for places in _chunks(len(images), _CHUNK // near.shape[1]):
        poll()
        overlap = np.fft.irfft2(waves[places, None] * np.conj(waves[near[places]]), s=(_PADDED, _PADDED))
        best = overlap[..., moves, :][..., moves].max(axis=(-1, -2))
        apart[places] = np.sqrt(np.maximum(1 - best, 0))
    return apart


def _chunks(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, max(1, size)):
        yield np.arange(start, min(count, start + max(1, size)))
