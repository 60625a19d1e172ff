"""audio-classification: which class a sound belongs to, or which labels it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regraft.tasks._classes import ClassTargets, LossName, Weights
from regraft.tasks._sounds import SoundInputs, SoundTask


@dataclass(frozen=True)
class AudioClassification(SoundTask):
    """One label a sound, or several.

    Options:
        max_seconds: longer sounds are not learned from; null for what the model hears at once, or else 30.
        loss: auto is cross-entropy for one label and binary cross-entropy for several.
        class_weights: balanced makes rare classes count as much as frequent ones.
        label_smoothing: the share of the target that is spread over all classes.
        focal_gamma: with loss focal, how little the easy examples count.
    """

    auto_class: ClassVar[str] = "AutoModelForAudioClassification"
    pipeline_tag: ClassVar[str] = "audio-classification"
    primary: ClassVar[str] = "accuracy"
    default_model: ClassVar[str] = "whisper-tiny.en"
    readout_head: ClassVar[Literal["own", "mean", "graft"]] = "graft"

    max_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    loss: LossName = "auto"
    class_weights: Weights = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0

    @property
    def inputs(self) -> SoundInputs:
        return SoundInputs(self.max_seconds)

    @property
    def targets(self) -> ClassTargets:
        return ClassTargets(self.loss, self.class_weights, self.label_smoothing, self.focal_gamma)
