"""image-classification: which class an image belongs to, or which labels it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from regraft.tasks._classes import ClassTargets, LossName, Weights
from regraft.tasks._images import ImageInputs, ImageTask


@dataclass(frozen=True)
class ImageClassification(ImageTask):
    """One label an image, or several.

    Options:
        image_size: the side in pixels that the middle of an image is read at; null for what the model was trained with.
        loss: auto is cross-entropy for one label and binary cross-entropy for several.
        class_weights: balanced makes rare classes count as much as frequent ones.
        label_smoothing: the share of the target that is spread over all classes.
        focal_gamma: with loss focal, how little the easy examples count.
    """

    auto_class: ClassVar[str] = "AutoModelForImageClassification"
    pipeline_tag: ClassVar[str] = "image-classification"
    primary: ClassVar[str] = "accuracy"

    image_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    loss: LossName = "auto"
    class_weights: Weights = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0

    @property
    def inputs(self) -> ImageInputs:
        return ImageInputs(self.image_size)

    @property
    def targets(self) -> ClassTargets:
        return ClassTargets(self.loss, self.class_weights, self.label_smoothing, self.focal_gamma)
