"""object-detection: which objects are in an image, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from regraft.tasks._boxes import BoxTargets, box_marks, padded_boxes
from regraft.tasks._contract import Answers
from regraft.tasks._images import Drawn, ImageInputs, ImageTask


@dataclass(frozen=True)
class ObjectDetection(ImageTask):
    """Labels and boxes of objects.

    Options:
        image_size: the side in pixels that images are stretched to; null for what the model was trained with.
        threshold: the score from which an object is told in an answer; the scores of a test count all.
        box_weight: how much places count against labels in the loss, where the head is regraft's own.
    """

    auto_class: ClassVar[str] = "AutoModelForObjectDetection"
    pipeline_tag: ClassVar[str] = "object-detection"
    primary: ClassVar[str] = "map_50"

    image_size: Annotated[int, Field(ge=32, le=4096)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    box_weight: Annotated[float, Field(gt=0)] = 5.0

    @property
    def inputs(self) -> ImageInputs:
        return ImageInputs(self.image_size, stretch=True, marks=box_marks)

    @property
    def targets(self) -> BoxTargets:
        return BoxTargets(self.box_weight, self.threshold)

    def augmentation_of(self, options: Any) -> Any:
        return options

    def target_of(self, drawn: Sequence[Drawn], answers: Answers) -> Tensor:  # noqa: ARG002
        return padded_boxes([each.sample.boxes for each in drawn if each.sample.boxes is not None])
