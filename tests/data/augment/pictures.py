"""Pictures of which it is known where everything is."""

from __future__ import annotations

import torch
from torch import Tensor

from regraft.data.augment.sample import Sample


def rectangle(
    size: tuple[int, int] = (72, 96), box: tuple[float, float, float, float] = (0.4, 0.4, 0.65, 0.6)
) -> Sample:
    """A white rectangle on black, its box (label 2) and its mask (1 on 0)."""
    height, width = size
    mask = torch.zeros(size, dtype=torch.uint8)
    mask[round(box[1] * height) : round(box[3] * height), round(box[0] * width) : round(box[2] * width)] = 1
    top, bottom, left, right = edges(mask == 1)
    found = torch.tensor([[2, left / width, top / height, right / width, bottom / height]])
    return Sample(mask.float().expand(3, height, width).contiguous(), found, mask)


def edges(bright: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is true in [h, w]."""
    rows, columns = bright.any(1).nonzero().flatten().tolist(), bright.any(0).nonzero().flatten().tolist()
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def colourful(size: tuple[int, int] = (33, 47), *, seed: int = 0) -> Sample:
    """Smooth colours with a little noise, two boxes and a mask of three classes."""
    drawn = torch.Generator().manual_seed(seed)
    height, width = size
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    image = torch.stack((x.expand(size), y.expand(size), (1 - x) * y)) * 0.8 + 0.2 * torch.rand(
        3, *size, generator=drawn
    )
    boxes = torch.tensor([[0, 0.1, 0.2, 0.6, 0.7], [1, 0.5, 0.5, 1.0, 1.0]])
    return Sample(image, boxes, torch.randint(0, 3, size, generator=drawn))


def same(a: Sample, b: Sample) -> bool:
    """Whether every bit of two samples is equal."""
    pairs = ((a.image, b.image), (a.boxes, b.boxes), (a.mask, b.mask))
    return all((x is None and y is None) or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)
