"""The operations of TrivialAugment and RandAugment, and how strong each is.

TrivialAugment (Müller & Hutter 2021, arXiv 2103.10158): one operation, of any strength; the "wide" ranges of its
table 1. RandAugment (Cubuk et al. 2019, arXiv 1909.13719): several operations of one given strength. Where boxes or
masks move along, both turn and slant within RandAugment's ranges: the upright box around a turned object grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from regraft.data.augment import colour, geometry
from regraft.data.augment.geometry import Matrix
from regraft.data.augment.options import ImageAugmentation
from regraft.fingerprint import draw

LEVELS = 30  # a magnitude is 0 to 30, as in RandAugment


@dataclass(frozen=True)
class Reach:
    """How far operations go at the largest magnitude.

    Attributes:
        shear: pixels to the side for each pixel down.
        shift: share of the side.
        turn: degrees.
        enhance: how far a factor is from 1.
        bits: that posterize takes away.
    """

    shear: float
    shift: float
    turn: float
    enhance: float
    bits: int


WIDE = Reach(shear=0.99, shift=1 / 7, turn=135, enhance=0.99, bits=6)  # 1/7: 32 of 224 pixels
WIDE_FOR_OBJECTS = Reach(shear=0.3, shift=1 / 7, turn=30, enhance=0.99, bits=6)
USUAL = Reach(shear=0.3, shift=0.45, turn=30, enhance=0.9, bits=4)

# (signed strength in -1 to 1, the reach, the size) to a matrix.
MOVES: dict[str, Callable[[float, Reach, tuple[int, int]], Matrix]] = {
    "shear_x": lambda strength, reach, size: geometry.shear(strength * reach.shear, 0, size),
    "shear_y": lambda strength, reach, size: geometry.shear(0, strength * reach.shear, size),
    "shift_x": lambda strength, reach, size: geometry.shift(strength * reach.shift, 0),  # noqa: ARG005
    "shift_y": lambda strength, reach, size: geometry.shift(0, strength * reach.shift),  # noqa: ARG005
    "rotate": lambda strength, reach, size: geometry.rotation(strength * reach.turn, size),
}

# (image, signed strength in -1 to 1, the reach) to an image.
LOOKS: dict[str, Callable[[Tensor, float, Reach], Tensor]] = {
    "brightness": lambda image, strength, reach: colour.brightness(image, 1 + strength * reach.enhance),
    "contrast": lambda image, strength, reach: colour.contrast(image, 1 + strength * reach.enhance),
    "saturation": lambda image, strength, reach: colour.saturation(image, 1 + strength * reach.enhance),
    "sharpness": lambda image, strength, reach: colour.sharpness(image, 1 + strength * reach.enhance),
    "posterize": lambda image, strength, reach: colour.posterize(image, 8 - round(abs(strength) * reach.bits)),
    "solarize": lambda image, strength, reach: colour.solarize(image, 1 - abs(strength)),  # noqa: ARG005
    "autocontrast": lambda image, strength, reach: colour.autocontrast(image),  # noqa: ARG005
    "equalize": lambda image, strength, reach: colour.equalize(image),  # noqa: ARG005
    "identity": lambda image, strength, reach: image,  # noqa: ARG005
}


def chosen(options: ImageAugmentation, key: tuple[int | str, ...]) -> list[tuple[str, float]]:
    """The operations that the policy draws for ``key``: names, with signed strengths in -1 to 1."""
    names = [*(MOVES if options.geometry else ()), *LOOKS]
    if options.policy == "trivial":
        level = draw(*key, "level") % (LEVELS + 1)
        return [(names[draw(*key, "operation") % len(names)], _signed(level, (*key, "sign")))]
    if options.policy == "rand":
        turns = range(options.operations)
        return [
            (names[draw(*key, "operation", turn) % len(names)], _signed(options.magnitude, (*key, "sign", turn)))
            for turn in turns
        ]
    return []


def reach(options: ImageAugmentation, *, objects: bool) -> Reach:
    """How far the policy's operations go; ``objects`` where boxes or masks move along."""
    if options.policy == "rand":
        return USUAL
    return WIDE_FOR_OBJECTS if objects else WIDE


def _signed(level: int, key: tuple[int | str, ...]) -> float:
    return (1 if draw(*key) % 2 else -1) * level / LEVELS
