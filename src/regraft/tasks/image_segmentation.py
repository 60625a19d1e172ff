"""image-segmentation: what every pixel of an image belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from regraft.errors import RecipeError
from regraft.tasks._contract import Answers, Encoded
from regraft.tasks._images import Drawn, ImageInputs, ImageTask
from regraft.tasks._masks import MaskLoss, MaskTargets, mask_marks


@dataclass(frozen=True)
class ImageSegmentation(ImageTask):
    """A class for every pixel (semantic segmentation).

    Options:
        image_size: the side in pixels that images are stretched to; null for what the model was trained with.
        loss: auto is cross-entropy and Dice together.
        focal_gamma: with loss focal, how little the easy pixels count.
    """

    auto_class: ClassVar[str] = "AutoModelForSemanticSegmentation"
    pipeline_tag: ClassVar[str] = "image-segmentation"
    primary: ClassVar[str] = "mean_iou"

    image_size: Annotated[int, Field(ge=32, le=4096)] | None = None
    loss: MaskLoss = "auto"
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0

    @property
    def inputs(self) -> ImageInputs:
        return ImageInputs(self.image_size, stretch=True, marks=mask_marks)

    @property
    def targets(self) -> MaskTargets:
        return MaskTargets(self.loss, self.focal_gamma)

    def augmentation_of(self, options: Any) -> Any:
        if options.mixup:
            raise RecipeError("augmentation.mixup blends two images; a pixel has one class", fix="use cutmix or mosaic")
        return options

    def target(self, encoded: Sequence[Encoded], values: Sequence[Any], answers: Answers) -> Tensor:  # noqa: ARG002
        pairs = zip(encoded, values, strict=True)
        return torch.stack([mask_marks(value, row["canvas"])["mask"] for row, value in pairs])

    def target_of(self, drawn: Sequence[Drawn], answers: Answers) -> Tensor:  # noqa: ARG002
        return torch.stack([each.sample.mask for each in drawn if each.sample.mask is not None]).long()
