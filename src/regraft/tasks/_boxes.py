"""Targets that are objects: what is in an image and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft.data.cells import shown
from regraft.data.example import BadRow, Column, Example
from regraft.data.objects import Object, normalised, outside, parse_objects
from regraft.errors import DataError, RecipeError
from regraft.tasks._classes import natural
from regraft.tasks._contract import Answers, Encoded, Loss, Output, Targets
from regraft.tasks._detection import center_loss, decode_centers
from regraft.tasks._set_prediction import SET_FAMILIES, decode_set, set_loss

TOP = 100  # boxes that are kept of each image
_SMALL = 16  # pixels a side, four cells of a heatmap: smaller objects are hard to find

_SYNONYMS = ("annotations", "boxes", "bboxes", "bbox", "detections", "标注", "目标")


@dataclass(frozen=True)
class BoxTargets(Targets):
    """Objects with a label and a box; an image may have none.

    Args:
        box_weight: how much places count against labels, where the head is regraft's own.
        threshold: the score from which an object is told.
    """

    box_weight: float = 5.0
    threshold: float = 0.3

    def column(self, *, label_separator: str) -> Column:  # noqa: ARG002  (objects are not separated)
        return Column("objects", "target", parse_objects, _SYNONYMS)

    def learn(self, examples: Sequence[Example]) -> Answers:
        names = sorted({item.label for example in examples for item in _counted(example.target)}, key=natural)
        if not names:
            where = examples[0].file if examples else "the training data"
            raise DataError(f"{where}: no training image has an object", fix="at least one is needed to learn from")
        return Answers("boxes", tuple(names))

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        known, bad = set(answers.names), []
        for example in examples:
            picture = example.inputs["image"]
            reason = outside(example.target, picture.width, picture.height)
            unknown = sorted({item.label for item in _counted(example.target)} - known)
            if reason is None and unknown:
                reason = f"has the label {shown(unknown[0])}, which no training image has"
            if reason is not None:
                bad.append(BadRow(example.file, example.row, "objects", reason))
        return bad

    def value(self, example: Example, answers: Answers) -> NDArray[np.float64]:
        """[m, 6]: x1, y1, x2, y2 in parts of the image, label, crowd."""
        picture = example.inputs["image"]
        fitting = [item for item in example.target if item.crowd is False or item.label in answers.names]
        return normalised(fitting, answers.names, picture.width, picture.height)

    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        counts = Counter(item.label for target in targets for item in _counted(target))
        return dict(sorted(counts.items(), key=lambda item: natural(item[0])))

    def remarks(self, values: Sequence[NDArray[np.float64]], encoded: Sequence[Encoded]) -> list[str]:
        """Where most objects are small once the image has the size that it is read at."""
        pixels = [
            float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]) * row["canvas"].width * row["canvas"].height))
            for value, row in zip(values, encoded, strict=True)
            for box in value
        ]
        middle = float(np.median(pixels)) if pixels else _SMALL
        if middle >= _SMALL:
            return []
        return [
            f"half of the objects are at most {middle:.0f} pixels large as they are read; "
            "a larger task.image_size shows more of them"
        ]

    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:  # noqa: ARG002  (boxes name their labels)
        return padded_boxes([boxes_of(value) for value in values])

    def model_config(self, answers: Answers) -> dict[str, Any]:
        return {
            "num_labels": answers.width,
            "id2label": dict(enumerate(answers.names)),
            "label2id": {name: index for index, name in enumerate(answers.names)},
        }

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:
        objects = sum(len(value) for value in values)
        reason = f"{objects / max(1, len(values)):.1f} objects an image, of {answers.width} kinds"
        family = str(getattr(config, "model_type", ""))
        if family in SET_FAMILIES:

            def by_image(output: Output, target: Tensor) -> Tensor:
                return set_loss(output, target, config)

            return Loss(f"the set loss of {family}", f"the model's own, image by image; {reason}", by_image)

        def centers(output: Output, target: Tensor) -> Tensor:
            if "heatmap" not in output:
                raise RecipeError(
                    f"the losses of {family or 'this model'} are not known",
                    fix="choose another detector, or model.head=graft",
                )
            return center_loss(output, target, box_weight=self.box_weight)

        return Loss("focal loss on centres, GIoU on boxes", f"an anchor-free head; {reason}", centers)

    def said(self, output: Output, answers: Answers, encoded: Sequence[Encoded]) -> Tensor:  # noqa: ARG002
        """[batch, 100, 6]: x1, y1, x2, y2 in parts of the image, score, label; the likeliest first."""
        return decode_centers(output, TOP) if "heatmap" in output else decode_set(output, answers.width, TOP)

    def judged(
        self,
        values: Sequence[Any],
        said: NDArray[Any],
        answers: Answers,  # noqa: ARG002
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        target = np.empty(len(values), dtype=object)
        target[:] = list(values)
        return target, said

    def answer(self, scores: NDArray[np.float64], answers: Answers, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The objects above the threshold, their boxes in pixels of the image."""
        picture = inputs["image"]
        scale = np.array([picture.width, picture.height] * 2, dtype=np.float64)
        told = [
            {
                "label": answers.names[int(row[5])],
                "score": round(float(row[4]), 4),
                "box": [round(float(place), 1) for place in row[:4] * scale],
            }
            for row in scores
            if row[4] >= self.threshold
        ]
        return {"prediction": told}


def boxes_of(value: NDArray[np.float64]) -> Tensor:
    """A value as boxes [m, 5]: label, x1, y1, x2, y2; without crowds, which are not learned."""
    own = value[value[:, 5] == 0]
    return torch.from_numpy(np.concatenate([own[:, 4:5], own[:, :4]], axis=1)).float()


def box_marks(value: NDArray[np.float64], canvas: Any) -> dict[str, Tensor]:  # noqa: ARG001  (parts of any size)
    """What moves with the pixels."""
    return {"boxes": boxes_of(value)}


def padded_boxes(boxes: Sequence[Tensor]) -> Tensor:
    """Boxes of several images as one tensor [batch, most, 5]; label -1 where there is none."""
    most = max((len(each) for each in boxes), default=0)
    found = torch.zeros((len(boxes), most, 5))
    found[:, :, 0] = -1
    for place, each in enumerate(boxes):
        found[place, : len(each)] = each
    return found


def _counted(objects: Sequence[Object]) -> list[Object]:
    return [item for item in objects if not item.crowd]
