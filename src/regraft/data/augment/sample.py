"""An image with what moves along with it, and the rules by which boxes are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GREY = 0.5  # of pixels that nobody has seen
_SEEN = 0.25  # a box with less of its area in sight is dropped


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its answers.

    Attributes:
        image: float32 [3, h, w] in 0 to 1.
        boxes: float32 [m, 5]: label, x1, y1, x2, y2, normalised to 0 to 1 of the image; None where there are no such.
        mask: integers [h, w], 255 for what is to be ignored; None where there is no such.
    """

    image: Tensor
    boxes: Tensor | None = None
    mask: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[-2], self.image.shape[-1]


def within(boxes: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes [m, 5] cut at ``window`` (x1, y1, x2, y2), without those that are hardly in it.

    Dropped is what has less than a quarter of its area left, or is thinner than a pixel of an image of ``size``.
    """
    corners = boxes[:, 1:]
    left = torch.minimum(torch.maximum(corners, window[[0, 1, 0, 1]]), window[[2, 3, 2, 3]])
    return _kept(boxes, left, area(left), size)


def without(boxes: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes [m, 5] beside ``window`` (x1, y1, x2, y2), which hides what is behind it; the rules are as ``within``.

    A box becomes smaller only where the window hides it from edge to edge: the rest is a rectangle then.
    """
    x1, y1, x2, y2 = boxes[:, 1:].unbind(1)
    hidden = torch.minimum(torch.maximum(boxes[:, 1:], window[[0, 1, 0, 1]]), window[[2, 3, 2, 3]])
    upright = (window[1] <= y1) & (y2 <= window[3]) & (area(hidden) > 0)
    level = (window[0] <= x1) & (x2 <= window[2]) & (area(hidden) > 0)
    left = torch.stack(
        (
            torch.where(upright & (window[0] <= x1), hidden[:, 2], x1),
            torch.where(level & (window[1] <= y1), hidden[:, 3], y1),
            torch.where(upright & (x2 <= window[2]), hidden[:, 0], x2),
            torch.where(level & (y2 <= window[3]), hidden[:, 1], y2),
        ),
        dim=1,
    )
    return _kept(boxes, left, area(boxes[:, 1:]) - area(hidden), size)


def area(corners: Tensor) -> Tensor:
    """Of boxes [m, 4] as x1, y1, x2, y2; never negative."""
    return (corners[:, 2:] - corners[:, :2]).clamp_min(0).prod(1)


def resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """The same picture with another height and width; masks by their nearest pixel."""
    if size == sample.size:
        return sample
    image = F.interpolate(sample.image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    mask = sample.mask
    if mask is not None:
        mask = F.interpolate(mask[None, None].float(), size=size, mode="nearest-exact")[0, 0].to(mask.dtype)
    return Sample(image.clamp(0, 1), sample.boxes, mask)


def window(sample: Sample, top: int, left: int, size: tuple[int, int]) -> Sample:
    """A part of a sample: ``size`` pixels from ``top`` and ``left``."""
    (height, width), (whole_height, whole_width) = size, sample.size
    rows, columns = slice(top, top + height), slice(left, left + width)
    mask = None if sample.mask is None else sample.mask[rows, columns]
    boxes = sample.boxes
    if boxes is not None:
        offset = torch.tensor([0, left, top, left, top], dtype=boxes.dtype)
        scale = torch.tensor([1, whole_width, whole_height, whole_width, whole_height], dtype=boxes.dtype)
        part = torch.tensor([1, width, height, width, height], dtype=boxes.dtype)
        boxes = within((boxes * scale - offset) / part, torch.tensor([0.0, 0.0, 1.0, 1.0]), size)
    return Sample(sample.image[:, rows, columns], boxes, mask)


def _kept(boxes: Tensor, left: Tensor, seen: Tensor, size: tuple[int, int]) -> Tensor:
    pixels = (left[:, 2:] - left[:, :2]) * torch.tensor([size[1], size[0]], dtype=left.dtype)
    whole = area(boxes[:, 1:])
    keep = (seen >= _SEEN * whole) & (whole > 0) & (pixels >= 1 - 1e-3).all(1)
    return torch.cat((boxes[:, :1], left), dim=1)[keep]
