"""What a recipe can ask of the augmentation of images. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Alpha = Annotated[float, Field(ge=0, le=100)]

# What a policy turns on where a recipe says nothing else: flip, crop, colour.
_POLICIES = {"none": (0.0, 1.0, 0.0), "light": (0.5, 0.5, 0.2), "trivial": (0.5, 0.5, 0.0), "rand": (0.5, 0.5, 0.0)}


@dataclass(frozen=True)
class ImageAugmentation:
    """How training images are varied. What is left out of flip, crop and colour is as the policy has it.

    Options:
        policy: none, light (flip, crop, colour), trivial (TrivialAugment: one more operation), rand (several).
        flip: the share of the images that are mirrored left to right; 0 where a mirror image means something else.
        flip_vertical: the share of the images that are turned upside down.
        crop: the smallest share of the area that a random crop keeps; 1 is no crop.
        rotate: turned by up to so many degrees.
        colour: how much brightness, contrast and saturation vary (0.2: 80 to 120 %); the hue turns by a quarter of it.
        blur: the largest standard deviation of a Gaussian blur, in pixels.
        noise: the largest standard deviation of Gaussian noise; an image has values in 0 to 1.
        erase: the share of the images that a grey rectangle is drawn over (random erasing).
        mixup: the alpha of MixUp, which blends two images and their targets; 0 is off, 0.2 is usual.
        cutmix: the alpha of CutMix, which pastes a part of one image into another; 0 is off, 1 is usual.
        mosaic: the share of the images that are put together from four (detection and segmentation).
        magnitude: of rand's operations, 0 to 30.
        operations: of rand, for each image.
        geometry: with false, no pixel moves: for targets that depend on where things are.
        views: so many views of each example exist and take turns, and can be stored; null for a new one each epoch.
    """

    policy: Literal["none", "light", "trivial", "rand"] = "none"
    flip: Share | None = None
    flip_vertical: Share = 0.0
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    colour: Share | None = None
    blur: Annotated[float, Field(ge=0, le=20)] = 0.0
    noise: Share = 0.0
    erase: Share = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    mosaic: Share = 0.0
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    operations: Annotated[int, Field(ge=1, le=8)] = 2
    geometry: bool = True
    views: Annotated[int, Field(ge=1)] | None = None

    @property
    def settled(self) -> ImageAugmentation:
        """The same with nothing left open: the policy's values filled in, and no movement where geometry is off."""
        flip, crop, colour = _POLICIES[self.policy]
        whole = replace(
            self,
            flip=flip if self.flip is None else self.flip,
            crop=crop if self.crop is None else self.crop,
            colour=colour if self.colour is None else self.colour,
        )
        return whole if self.geometry else replace(whole, flip=0.0, flip_vertical=0.0, crop=1.0, rotate=0.0, mosaic=0.0)

    @property
    def mixes(self) -> bool:
        """Whether several examples are put together."""
        return max(self.mixup, self.cutmix, self.settled.mosaic) > 0

    @property
    def off(self) -> bool:
        """Whether every image stays as it is."""
        whole = self.settled
        changed = (whole.flip, whole.flip_vertical, whole.rotate, whole.colour, whole.blur, whole.noise, whole.erase)
        return self.policy not in {"trivial", "rand"} and not any(changed) and whole.crop == 1 and not self.mixes

    def view(self, epoch: int) -> int:
        """The number of the view that an epoch (from 0) sees."""
        return epoch if self.views is None else epoch % self.views
