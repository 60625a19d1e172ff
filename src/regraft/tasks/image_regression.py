"""image-regression: a number from an image, or several: an age, a steering angle, a robot's action."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from regraft.errors import RecipeError
from regraft.tasks._images import ImageInputs, ImageTask
from regraft.tasks._numbers import NumberTargets


@dataclass(frozen=True)
class ImageRegression(ImageTask):
    """Numbers from an image.

    Options:
        image_size: the side in pixels that images are read at; null for what the model was trained with.
        loss: smooth-l1 counts large errors less than mean-squared-error.
        invariant: whether the numbers stay as they are when the picture is mirrored, turned or cropped.
    """

    auto_class: ClassVar[str] = "AutoModelForImageClassification"
    pipeline_tag: ClassVar[str] = "image-classification"
    primary: ClassVar[str] = "r2"

    image_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    loss: Literal["mean-squared-error", "smooth-l1"] = "mean-squared-error"
    invariant: bool = False

    @property
    def inputs(self) -> ImageInputs:
        return ImageInputs(self.image_size, stretch=not self.invariant)

    @property
    def targets(self) -> NumberTargets:
        return NumberTargets(self.loss)

    def augmentation_of(self, options: Any) -> Any:
        """Without movement, unless the numbers do not depend on it: a mirrored road leads the other way.

        Raises:
            RecipeError: a movement was asked for by name.
        """
        options = super().augmentation_of(options)
        if self.invariant:
            return options
        if options.flip or options.flip_vertical or options.rotate or (options.crop or 1) < 1 or options.cutmix:
            raise RecipeError(
                "augmentation: flip, crop, rotate and cutmix would change what the numbers should be",
                fix="set task.invariant=true if they stay the same, or leave these out",
            )
        return replace(options, geometry=False)
