"""Changing what pixels look like, and nothing else: images [3, h, w] in 0 to 1, to the same.

kornia's functions are called directly: its augmentation modules spend half of their time on what surrounds the pixels
(parameters for batches, transforms that nobody asks for). Means are taken by numpy, which sums in the same order
whatever the number of threads.
"""

from __future__ import annotations

import math

import torch
from kornia.color import rgb_to_grayscale, rgb_to_yuv, yuv_to_rgb
from kornia.enhance import equalize as _equalize
from kornia.enhance import sharpness as _sharpness
from kornia.enhance import solarize as _solarize
from kornia.filters import gaussian_blur2d
from torch import Tensor


def brightness(image: Tensor, factor: float) -> Tensor:
    """0 is black, 1 changes nothing."""
    return (image * factor).clamp(0, 1)


def contrast(image: Tensor, factor: float) -> Tensor:
    """0 is the mean grey, 1 changes nothing."""
    mean = float(rgb_to_grayscale(image).numpy().mean(dtype="float64"))
    return (image * factor + mean * (1 - factor)).clamp(0, 1)


def saturation(image: Tensor, factor: float) -> Tensor:
    """0 is a grey picture, 1 changes nothing."""
    return (image * factor + rgb_to_grayscale(image) * (1 - factor)).clamp(0, 1)


def hue(image: Tensor, turns: float) -> Tensor:
    """Turn the colours about the grey axis: 1 is all the way round.

    In YUV, where it is a rotation, which keeps the luma; by way of HSV it takes ten times as long.
    """
    luma, u, v = rgb_to_yuv(image)
    cosine, sine = math.cos(math.tau * turns), math.sin(math.tau * turns)
    return yuv_to_rgb(torch.stack((luma, u * cosine - v * sine, u * sine + v * cosine))).clamp(0, 1)


def sharpness(image: Tensor, factor: float) -> Tensor:
    """0 is smooth, 1 changes nothing. An image of fewer than 3 pixels a side stays as it is."""
    return _sharpness(image, factor) if min(image.shape[-2:]) >= 3 else image


def posterize(image: Tensor, bits: int) -> Tensor:
    """Keep the highest ``bits`` of the 8 of each value."""
    return ((image * 255).round().to(torch.uint8) & (256 - (1 << (8 - bits)))).float() / 255


def solarize(image: Tensor, threshold: float) -> Tensor:
    """Invert what is as bright as ``threshold`` or brighter."""
    return _solarize(image, float(threshold))


def equalize(image: Tensor) -> Tensor:
    """Make all values of each channel equally frequent."""
    return _equalize(image)


def autocontrast(image: Tensor) -> Tensor:
    """Stretch each channel over 0 to 1; one that is flat stays as it is."""
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return torch.where(high > low, ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1), image)


def blur(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur; ``sigma`` in pixels."""
    width = 2 * math.ceil(3 * sigma) + 1
    return gaussian_blur2d(image[None], (width, width), (sigma, sigma), border_type="replicate")[0].clamp(0, 1)


def noise(image: Tensor, deviation: float, *, seed: int) -> Tensor:
    """Add Gaussian noise, each value by itself."""
    drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + drawn * deviation).clamp(0, 1)
