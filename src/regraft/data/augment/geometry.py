"""Moving pixels, boxes and masks together.

All that moves an image but a mirror is one matrix, so that pixels are interpolated once. A matrix [3, 3] takes a point
(x, y, 1) of the picture to where it is drawn, both normalised to 0 to 1, as boxes are. Image and mask share one grid;
kornia's warps would make one each, and a third for what lies outside.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from regraft.data.augment.sample import GREY, Sample, within
from regraft.data.masks import IGNORE

Matrix = NDArray[np.float64]


def mirrored(sample: Sample, *, upside_down: bool = False) -> Sample:
    """The mirror image, exactly: left to right, or upside down."""
    axis = -2 if upside_down else -1
    boxes = sample.boxes
    if boxes is not None:
        first, second = (2, 4) if upside_down else (1, 3)
        boxes = boxes.clone()
        boxes[:, [first, second]] = 1 - boxes[:, [second, first]]
    return Sample(sample.image.flip(axis), boxes, None if sample.mask is None else sample.mask.flip(axis))


def zoom(x1: float, y1: float, x2: float, y2: float) -> Matrix:
    """Stretches the region (x1, y1, x2, y2) over the whole image: a crop."""
    wide, high = 1 / (x2 - x1), 1 / (y2 - y1)
    return np.array([[wide, 0, -x1 * wide], [0, high, -y1 * high], [0, 0, 1]])


def rotation(degrees: float, size: tuple[int, int]) -> Matrix:
    """Turns about the middle, against the clock. ``size`` is height and width: a turn needs to know them."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _about_the_middle([[cosine, sine], [-sine, cosine]], size)


def shear(along_x: float, along_y: float, size: tuple[int, int]) -> Matrix:
    """Slants about the middle: a pixel that is one pixel lower goes ``along_x`` pixels to the right."""
    return _about_the_middle([[1, along_x], [along_y, 1]], size)


def shift(along_x: float, along_y: float) -> Matrix:
    """Moves by shares of width and height."""
    return np.array([[1, 0, along_x], [0, 1, along_y], [0, 0, 1]])


def moved(sample: Sample, matrix: Matrix) -> Sample:
    """Move image, boxes and mask by ``matrix``. What comes from outside is grey, and ignored in the mask."""
    grid = _grid(np.linalg.inv(matrix).astype(np.float64), sample.size)
    outside = (grid.abs() > 1).any(-1)[0]
    image = F.grid_sample(
        sample.image.contiguous()[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    mask = sample.mask
    if mask is not None:
        nearest = F.grid_sample(
            mask[None, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        mask = nearest[0, 0].to(mask.dtype).masked_fill(outside, IGNORE)
    boxes = None if sample.boxes is None else _moved_boxes(sample.boxes, matrix, sample.size)
    return Sample(image.masked_fill(outside, GREY), boxes, mask)


def _about_the_middle(linear: list[list[float]], size: tuple[int, int]) -> Matrix:
    """A linear map of pixels, about the middle of the image, as a matrix of normalised points."""
    scale = np.array([size[1], size[0]], dtype=np.float64)
    matrix = np.eye(3)
    matrix[:2, :2] = np.asarray(linear) * scale / scale[:, None]
    matrix[:2, 2] = 0.5 - matrix[:2, :2] @ [0.5, 0.5]
    return matrix


def _grid(inverse: Matrix, size: tuple[int, int]) -> Tensor:
    """Where each pixel comes from, [1, h, w, 2] in -1 to 1, as grid_sample reads it."""
    height, width = size
    x = (torch.arange(width, dtype=torch.float32) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float32) + 0.5) / height
    row = (2 * inverse[:2]).tolist()
    columns = [(x * a)[None, :] + (y * b + (c - 1))[:, None] for a, b, c in row]
    return torch.stack(columns, dim=-1)[None]


def _moved_boxes(boxes: Tensor, matrix: Matrix, size: tuple[int, int]) -> Tensor:
    """The upright boxes around the moved corners of ``boxes``, cut at the edge of the image."""
    x, y = boxes[:, [1, 3, 3, 1]].double(), boxes[:, [2, 2, 4, 4]].double()
    (a, b, c), (d, e, f) = matrix[:2].tolist()
    across, down = a * x + b * y + c, d * x + e * y + f
    corners = torch.stack((across.amin(1), down.amin(1), across.amax(1), down.amax(1)), dim=1)
    moved = torch.cat((boxes[:, :1], corners.float()), dim=1)
    return within(moved, torch.tensor([0.0, 0.0, 1.0, 1.0]), size)
