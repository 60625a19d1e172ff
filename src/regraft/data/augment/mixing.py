"""Putting several samples together: MixUp, CutMix and mosaic. Partners and shares are drawn from hashes too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from regraft.data.augment.sample import Sample, resized, window, within, without
from regraft.fingerprint import draw, uniform

Key = tuple[int | str, ...]


def partner(key: Key, ids: Sequence[str], *, turn: int = 0) -> int:
    """The position in ``ids`` of the example that the one of ``key`` (whose last part is its id) is mixed with.

    It is not the example itself where there is another.

    Args:
        ids: all that there are, in an order that stays.
        turn: 0 for the first partner, 1 and 2 for those that a mosaic needs besides.
    """
    place = draw(*key, "partner", turn) % len(ids)
    return (place + 1) % len(ids) if ids[place] == key[-1] else place


def mixup(a: Sample, b: Sample, key: Key, alpha: float) -> tuple[Sample, float]:
    """Blend two images (Zhang et al. 2018, arXiv 1710.09412); ``b`` is brought to the size of ``a``.

    Boxes of both are kept (as Zhang et al. 2019, arXiv 1902.04103); of the masks, that of the larger share.

    Returns:
        The blend, and the share of ``a``, whose target counts by it.
    """
    b = resized(b, a.size)
    share = _beta(alpha, key)
    image = a.image * share + b.image * (1 - share)
    return Sample(image.clamp(0, 1), _together(a.boxes, b.boxes), a.mask if share >= 0.5 else b.mask), share


def cutmix(a: Sample, b: Sample, key: Key, alpha: float) -> tuple[Sample, float]:
    """Paste a rectangle of ``b`` into ``a``, at the same place (Yun et al. 2019, arXiv 1905.04899).

    ``b`` is brought to the size of ``a``. Boxes are cut at the edges of the rectangle, and dropped where little is
    left of them.

    Returns:
        The whole, and the share of its pixels that is of ``a``.
    """
    b = resized(b, a.size)
    height, width = a.size
    side = math.sqrt(1 - _beta(alpha, key))
    top, bottom = _span(height, side, uniform(*key, "cut y"))
    left, right = _span(width, side, uniform(*key, "cut x"))
    rows, columns = slice(top, bottom), slice(left, right)
    image = a.image.clone()
    image[:, rows, columns] = b.image[:, rows, columns]
    mask = None
    if a.mask is not None and b.mask is not None:
        mask = a.mask.clone()
        mask[rows, columns] = b.mask[rows, columns].to(mask.dtype)
    edges = torch.tensor([left / width, top / height, right / width, bottom / height])
    below = None if a.boxes is None else without(a.boxes, edges, a.size)
    above = None if b.boxes is None else within(b.boxes, edges, a.size)
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Sample(image, _together(below, above), mask), share


def mosaic(samples: Sequence[Sample], key: Key) -> Sample:
    """Four samples in the corners of one (Bochkovskiy et al. 2020, arXiv 2004.10934), of the size of the first.

    They meet in a point in the middle half. Each is scaled, without distortion, to fill its corner, and cut to it.
    """
    assert len(samples) == 4
    height, width = samples[0].size
    middle = round(height * (0.25 + 0.5 * uniform(*key, "middle y")))
    centre = round(width * (0.25 + 0.5 * uniform(*key, "middle x")))
    corners = [(0, 0, middle, centre), (0, centre, middle, width), (middle, 0, height, centre)]
    corners.append((middle, centre, height, width))
    image = torch.empty_like(samples[0].image)
    mask = None if any(sample.mask is None for sample in samples) else torch.empty_like(_sure(samples[0].mask))
    boxes: list[Tensor] = []
    for place, (sample, (top, left, bottom, right)) in enumerate(zip(samples, corners, strict=True)):
        if top == bottom or left == right:
            continue
        part = _filling(sample, (bottom - top, right - left), (*key, place))
        image[:, top:bottom, left:right] = part.image
        if mask is not None:
            mask[top:bottom, left:right] = _sure(part.mask).to(mask.dtype)
        if part.boxes is not None:
            scale = torch.tensor([right - left, bottom - top] * 2) / torch.tensor([width, height] * 2)
            offset = torch.tensor([left / width, top / height] * 2)
            boxes.append(torch.cat((part.boxes[:, :1], part.boxes[:, 1:] * scale + offset), dim=1))
    return Sample(image, torch.cat(boxes) if boxes else None, mask)


def _filling(sample: Sample, size: tuple[int, int], key: Key) -> Sample:
    """A part of a sample that fills ``size``: scaled until it just covers it, then cut at a drawn place."""
    scale = max(size[0] / sample.size[0], size[1] / sample.size[1])
    high, wide = (max(size[side], round(sample.size[side] * scale)) for side in (0, 1))
    top, left = draw(*key, "cut y") % (high - size[0] + 1), draw(*key, "cut x") % (wide - size[1] + 1)
    return window(resized(sample, (high, wide)), top, left, size)


def _beta(alpha: float, key: Key) -> float:
    """Drawn from Beta(alpha, alpha)."""
    from scipy.special import betaincinv

    return min(1.0, max(0.0, float(betaincinv(alpha, alpha, uniform(*key, "share")))))


def _span(length: int, share: float, place: float) -> tuple[int, int]:
    """From where to where a cut goes whose middle is drawn, so that some of it may fall outside."""
    middle, half = length * place, length * share / 2
    return max(0, round(middle - half)), min(length, round(middle + half))


def _together(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat((first, second))


def _sure(mask: Tensor | None) -> Tensor:
    assert mask is not None
    return mask
