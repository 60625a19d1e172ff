"""text-classification: which class a text, or a pair of texts, belongs to; or which labels it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from regraft.tasks._classes import ClassTargets, LossName, Weights
from regraft.tasks._text import TextInputs
from regraft.tasks._text_views import TextTask


@dataclass(frozen=True)
class TextClassification(TextTask):
    """One label a text, or several.

    Options:
        max_length: a text is read up to so many tokens.
        loss: auto is cross-entropy for one label and binary cross-entropy for several.
        class_weights: balanced makes rare classes count as much as frequent ones.
        label_smoothing: the share of the target that is spread over all classes.
        focal_gamma: with loss focal, how little the easy examples count.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline_tag: ClassVar[str] = "text-classification"
    primary: ClassVar[str] = "accuracy"

    max_length: Annotated[int, Field(ge=4)] = 256
    loss: LossName = "auto"
    class_weights: Weights = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0

    @property
    def inputs(self) -> TextInputs:
        return TextInputs(self.max_length)

    @property
    def targets(self) -> ClassTargets:
        return ClassTargets(self.loss, self.class_weights, self.label_smoothing, self.focal_gamma)
