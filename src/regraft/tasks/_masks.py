"""Targets that are masks: the class of every pixel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft.data.example import BadRow, Column, Example
from regraft.data.masks import IGNORE, DrawnMask, MaskFile, open_mask, parse_mask, renumbered
from regraft.errors import DataError, RecipeError
from regraft.tasks._contract import Answers, Encoded, Loss, Output, Targets
from regraft.tasks._images import Canvas, nearest_pixels
from regraft.tasks._segmentation import MASK_FAMILIES, decode_segmentation, mask_loss, segmentation_loss

MaskLoss = Literal["auto", "cross-entropy", "focal", "dice", "cross-entropy+dice"]

_SYNONYMS = ("segmentation", "label", "label_path", "mask_path", "annotation", "掩码", "掩膜", "分割")


@dataclass(frozen=True)
class ClassMap:
    """The mask of an example, in the numbers of the answers; 255 where it does not count."""

    mask: MaskFile | DrawnMask
    numbers: tuple[int, ...]  # of the mask's value 0, 1, 2, …

    def read(self) -> NDArray[np.uint8]:
        """uint8 [h, w]."""
        return renumbered(self.mask.read(), self.numbers)

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Pixels of each class, [classes]."""
        return np.bincount(self.read().ravel(), minlength=256)[:classes]


@dataclass(frozen=True)
class MaskTargets(Targets):
    """A class for every pixel.

    Args:
        loss_name: auto is cross-entropy and Dice together.
        focal_gamma: with focal, how little the easy pixels count.
    """

    loss_name: MaskLoss = "auto"
    focal_gamma: float = 2.0

    def column(self, *, label_separator: str) -> Column:  # noqa: ARG002  (masks are not separated)
        return Column("mask", "target", parse_mask, _SYNONYMS, opens=open_mask)

    def learn(self, examples: Sequence[Example]) -> Answers:
        seen = {value for example in examples for value in example.target.values if value != IGNORE}
        numbered = tuple(str(value) for value in range(max(seen, default=-1) + 1))
        names = next((example.target.names for example in examples if example.target.names is not None), numbered)
        if len(seen) < 2:
            ignored = any(IGNORE in example.target.values for example in examples)
            raise DataError(
                f"the training masks hold {'only one class' if seen else 'no class'}"
                + (f" beside {IGNORE}, which means that a pixel does not count" if ignored else ""),
                fix=f"write the numbers of classes: the object as 1, not as {IGNORE}"
                if ignored
                else "at least two different classes are needed to learn from",
            )
        if len(names) > IGNORE:
            raise DataError(f"the masks have {len(names)} classes; up to {IGNORE} are read", fix="merge some of them")
        return Answers("masks", names)

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        bad = []
        for example in examples:
            reason = _misfit(example, answers)
            if reason is not None:
                bad.append(BadRow(example.file, example.row, "mask", reason))
        return bad

    def value(self, example: Example, answers: Answers) -> ClassMap:
        names = example.target.names
        numbers = {name: number for number, name in enumerate(answers.names)}
        own = answers.names if names is None else names
        return ClassMap(example.target, tuple(numbers.get(name, IGNORE) for name in own))

    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        """Images that have each class."""
        counts = Counter(
            value if target.names is None else target.names[value]
            for target in targets
            for value in target.values
            if value != IGNORE
        )
        return {str(name): count for name, count in counts.items()}

    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:
        raise NotImplementedError("a mask is fitted to the canvas of its image: see the task")

    def model_config(self, answers: Answers) -> dict[str, Any]:
        return {
            "num_labels": answers.width,
            "id2label": dict(enumerate(answers.names)),
            "label2id": {name: index for index, name in enumerate(answers.names)},
            "semantic_loss_ignore_index": IGNORE,
        }

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:  # noqa: ARG002
        family = str(getattr(config, "model_type", ""))
        if family in MASK_FAMILIES:
            return _own_loss(family, answers, config, asked=self.loss_name)
        kind = "cross-entropy+dice" if self.loss_name == "auto" else self.loss_name

        def by_image(output: Output, target: Tensor) -> Tensor:
            return segmentation_loss(output, target, kind=kind, gamma=self.focal_gamma)

        told = {"cross-entropy+dice": "cross-entropy and Dice", "focal": f"focal (gamma {self.focal_gamma:g})"}
        return Loss(told.get(kind, kind), f"a class of {answers.width} for every pixel; 255 does not count", by_image)

    def said(self, output: Output, answers: Answers, encoded: Sequence[Encoded]) -> Tensor:  # noqa: ARG002
        """The class of every pixel of the canvas, uint8 [batch, height, width]."""
        return decode_segmentation(output, encoded[0]["canvas"].size)

    def judged(self, values: Sequence[Any], said: NDArray[Any], answers: Answers) -> tuple[NDArray[Any], NDArray[Any]]:
        """How many pixels of each class, [n, c], were taken for which, [n, c, c]; at the size of the true mask."""
        width = answers.width
        counts = np.zeros((len(values), width, width), dtype=np.int64)
        for place, value in enumerate(values):
            truth = value.read()
            decided = nearest_pixels(np.asarray(said[place]), (truth.shape[0], truth.shape[1]))
            counted = truth != IGNORE
            pairs = truth[counted].astype(np.int64) * width + decided[counted]
            counts[place] = np.bincount(pairs, minlength=width * width).reshape(width, width)
        return counts.sum(axis=2), counts

    def answer(self, scores: NDArray[Any], answers: Answers, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The share of each class that is there, and ``mask``: the class of every pixel, uint8 [h, w] of the image."""
        picture = inputs["image"]
        mask = nearest_pixels(np.asarray(scores).astype(np.uint8), (picture.height, picture.width))
        counts = np.bincount(mask.ravel(), minlength=answers.width) / mask.size
        found = [
            {"label": answers.names[number], "share": round(float(counts[number]), 4)}
            for number in np.argsort(-counts, kind="stable")
            if counts[number] > 0
        ]
        return {"prediction": found, "mask": mask}


def _own_loss(family: str, answers: Answers, config: Any, *, asked: MaskLoss) -> Loss:
    if asked != "auto":
        raise RecipeError(f"task.loss = {asked!r}, but {family} says masks and their classes", fix="use auto")

    def by_image(output: Output, target: Tensor) -> Tensor:
        return mask_loss(output, target, config)

    reason = f"the model's own, image by image; a class of {answers.width} for every pixel; 255 does not count"
    return Loss(f"the mask loss of {family}", reason, by_image)


def mask_marks(value: ClassMap, canvas: Canvas) -> dict[str, Tensor]:
    """What moves with the pixels: int64 [height, width] of the canvas."""
    return {"mask": torch.from_numpy(nearest_pixels(value.read(), canvas.size).astype(np.int64))}


def _misfit(example: Example, answers: Answers) -> str | None:
    picture, mask = example.inputs["image"], example.target
    if (mask.width, mask.height) != (picture.width, picture.height):
        return f"is {mask.width} x {mask.height}; its image is {picture.width} x {picture.height}"
    names = answers.names if mask.names is None else mask.names
    for value in mask.values:
        if value != IGNORE and (value >= len(names) or names[value] not in answers.names):
            return f"has the value {value}, which is none of the {answers.width} classes"
    return None
