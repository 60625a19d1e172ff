"""Augmentation of images: a pure function of a sample, the options and a key."""

from __future__ import annotations

import math

import numpy as np
import torch

from regraft.data.augment import colour
from regraft.data.augment.geometry import Matrix, mirrored, moved, rotation, zoom
from regraft.data.augment.mixing import cutmix, mixup, mosaic, partner
from regraft.data.augment.options import ImageAugmentation
from regraft.data.augment.policies import LOOKS, MOVES, Reach, chosen, reach
from regraft.data.augment.sample import GREY, Sample, resized, without
from regraft.data.masks import IGNORE
from regraft.fingerprint import draw, uniform

__all__ = ["ImageAugmentation", "Sample", "augment", "cutmix", "mixup", "mosaic", "partner", "resized"]

Key = tuple[int | str, ...]


def augment(sample: Sample, options: ImageAugmentation, *, key: Key) -> Sample:
    """One augmented view of ``sample``, of the same size; mixing with other samples is not done here.

    Pixels move first (mirror, crop, turn and the policy's moves, interpolated once), then they change their looks.

    Args:
        key: (seed, number of the view, example id), which all that is random is drawn from.
    """
    options = options.settled
    operations = chosen(options, key)
    reached = reach(options, objects=sample.boxes is not None or sample.mask is not None)
    sample = _moved(sample, options, operations, reached, key)
    image = sample.image.contiguous()
    for name, strength in operations:
        if name in LOOKS:
            image = LOOKS[name](image, strength, reached)
    if options.colour:
        image = _jittered(image, options.colour, key)
    if (sigma := options.blur * uniform(*key, "blur")) > 0.1:
        image = colour.blur(image, sigma)
    if options.noise:
        image = colour.noise(image, options.noise * uniform(*key, "noise"), seed=draw(*key, "noise values"))
    sample = Sample(image, sample.boxes, sample.mask)
    return _erased(sample, key) if uniform(*key, "erase") < options.erase else sample


def _moved(
    sample: Sample, options: ImageAugmentation, operations: list[tuple[str, float]], reached: Reach, key: Key
) -> Sample:
    if uniform(*key, "flip") < (options.flip or 0):
        sample = mirrored(sample)
    if uniform(*key, "flip vertical") < options.flip_vertical:
        sample = mirrored(sample, upside_down=True)
    moves = [MOVES[name](strength, reached, sample.size) for name, strength in operations if name in MOVES]
    if options.rotate:
        moves.insert(0, rotation(_between(key, "rotate", -options.rotate, options.rotate), sample.size))
    if options.crop is not None and options.crop < 1:
        moves.insert(0, _crop(options.crop, key))
    matrix = np.eye(3)
    for move in moves:
        matrix = move @ matrix
    return sample if np.array_equal(matrix, np.eye(3)) else moved(sample, matrix)


def _crop(smallest: float, key: Key) -> Matrix:
    """A random resized crop: at least ``smallest`` of the area, its shape 3:4 to 4:3 of the image's."""
    share = _between(key, "crop area", smallest, 1.0)
    widest = min(4 / 3, 1 / share)  # so that it fits
    shape = math.exp(_between(key, "crop shape", -math.log(widest), math.log(widest)))
    wide, high = math.sqrt(share * shape), math.sqrt(share / shape)
    x, y = (1 - wide) * uniform(*key, "crop x"), (1 - high) * uniform(*key, "crop y")
    return zoom(x, y, x + wide, y + high)


def _jittered(image: torch.Tensor, strength: float, key: Key) -> torch.Tensor:
    image = colour.brightness(image, _between(key, "brightness", 1 - strength, 1 + strength))
    image = colour.contrast(image, _between(key, "contrast", 1 - strength, 1 + strength))
    image = colour.saturation(image, _between(key, "saturation", 1 - strength, 1 + strength))
    return colour.hue(image, _between(key, "hue", -strength / 4, strength / 4))


def _erased(sample: Sample, key: Key) -> Sample:
    """Random erasing (Zhong et al. 2017, arXiv 1708.04896) of 2 to 20 % of the area, in grey."""
    height, width = sample.size
    share = _between(key, "erased area", 0.02, 0.2)
    shape = math.exp(_between(key, "erased shape", -math.log(3), math.log(3)))
    high = min(height, max(1, round(height * math.sqrt(share / shape))))
    wide = min(width, max(1, round(width * math.sqrt(share * shape))))
    top, left = draw(*key, "erased y") % (height - high + 1), draw(*key, "erased x") % (width - wide + 1)
    image = sample.image.clone()
    image[:, top : top + high, left : left + wide] = GREY
    mask, boxes = sample.mask, sample.boxes
    if mask is not None:
        mask = mask.clone()
        mask[top : top + high, left : left + wide] = IGNORE
    if boxes is not None:
        edges = torch.tensor([left / width, top / height, (left + wide) / width, (top + high) / height])
        boxes = without(boxes, edges, sample.size)
    return Sample(image, boxes, mask)


def _between(key: Key, name: str, low: float, high: float) -> float:
    return low + (high - low) * uniform(*key, name)
