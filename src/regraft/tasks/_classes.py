"""Targets that are labels: one of several classes, or any number of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft.data.example import BadRow, Column, Example
from regraft.errors import DataError, RecipeError
from regraft.tasks import _losses
from regraft.tasks._contract import Answers, Loss, Output, Targets

LossName = Literal["auto", "cross-entropy", "binary-cross-entropy", "focal"]
Weights = Literal["none", "balanced"]

_SYNONYMS = ("labels", "class", "category", "sentiment", "target", "y", "topic", "intent", "tag", "tags",
             "标签", "类别", "分类", "情感")  # fmt: skip
_UNEVEN = 3.0


@dataclass(frozen=True)
class ClassTargets(Targets):
    """Labels. Where any training row carries a list of labels, all rows do: the task is multi-label."""

    stratified: ClassVar[bool] = True

    loss_name: LossName = "auto"
    class_weights: Weights = "none"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0

    def column(self, *, label_separator: str) -> Column:
        return Column("label", "target", partial(parse_label, separator=label_separator), _SYNONYMS)

    def learn(self, examples: Sequence[Example]) -> Answers:
        several = any(isinstance(example.target, tuple) for example in examples)
        names = sorted({name for example in examples for name in _names(example.target)}, key=natural)
        if len(names) < (1 if several else 2):
            only = f"only the label {names[0]!r}" if names else "no label"
            where = examples[0].file if examples else "the training data"
            raise DataError(
                f"{where}: the training rows carry {only}",
                fix="at least two different labels are needed to learn from",
            )
        return Answers("labels" if several else "classes", tuple(names))

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        known = set(answers.names)
        bad = []
        for example in examples:
            if isinstance(example.target, tuple) and answers.kind == "classes":
                bad.append(
                    BadRow(
                        example.file,
                        example.row,
                        "label",
                        "has several labels; the training rows have one each",
                    )
                )
            for name in sorted(set(_names(example.target)) - known):
                bad.append(
                    BadRow(
                        example.file,
                        example.row,
                        "label",
                        f"has the label {name!r}, which no training row has",
                    )
                )
        return bad

    def value(self, example: Example, answers: Answers) -> Any:
        if answers.kind == "classes":
            return answers.names.index(example.target)
        carried = set(_names(example.target))
        return [name in carried for name in answers.names]

    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        counts = Counter(name for target in targets for name in _names(target))
        return dict(sorted(counts.items(), key=lambda item: natural(item[0])))

    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:
        return torch.tensor(values, dtype=torch.int64 if answers.kind == "classes" else torch.float32)

    def model_config(self, answers: Answers) -> dict[str, Any]:
        problem = "single_label_classification" if answers.kind == "classes" else "multi_label_classification"
        return {
            "num_labels": answers.width,
            "id2label": dict(enumerate(answers.names)),
            "label2id": {name: index for index, name in enumerate(answers.names)},
            "problem_type": problem,
        }

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:  # noqa: ARG002
        if answers.kind == "classes":
            return self._one_label(answers, values)
        return self._several_labels(answers, values)

    def answer(
        self,
        scores: NDArray[np.float64],
        answers: Answers,
        inputs: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        probabilities = {name: round(float(p), 6) for name, p in zip(answers.names, scores, strict=True)}
        if answers.kind == "labels":
            carried = [name for name, p in zip(answers.names, scores, strict=True) if p >= 0.5]
            certain = float(np.abs(scores - 0.5).min() + 0.5)
            return {"prediction": carried, "confidence": round(certain, 6), "probabilities": probabilities}
        best = int(scores.argmax())
        return {
            "prediction": answers.names[best],
            "confidence": round(float(scores[best]), 6),
            "probabilities": probabilities,
        }

    def _one_label(self, answers: Answers, values: Sequence[Any]) -> Loss:
        if self.loss_name == "binary-cross-entropy":
            raise RecipeError(
                "task.loss = 'binary-cross-entropy', but every row has one label",
                fix="use auto, cross-entropy or focal",
            )
        counts = np.bincount(values, minlength=answers.width)
        weight = _balanced(counts) if self.class_weights == "balanced" else None
        reason = f"one label of {answers.width} a row; {self._evenness(counts)}"
        if self.loss_name == "focal":
            if self.label_smoothing:
                raise RecipeError(
                    "task.label_smoothing does not go with task.loss = 'focal'", fix="choose one of the two"
                )
            by_row = partial(_losses.focal, gamma=self.focal_gamma, weight=weight)
            return Loss(
                f"focal (gamma {self.focal_gamma:g}{self._extras()})",
                f"asked for; {reason}",
                _on_shares(by_row),
            )
        by_row = partial(_losses.cross_entropy, weight=weight, smoothing=self.label_smoothing)
        return Loss(f"cross-entropy{self._extras(' (', ')')}", reason, _on_shares(by_row))

    def _several_labels(self, answers: Answers, values: Sequence[Any]) -> Loss:
        if self.loss_name == "cross-entropy":
            raise RecipeError(
                "task.loss = 'cross-entropy', but rows carry several labels",
                fix="use auto, binary-cross-entropy or focal",
            )
        present = np.asarray(values, dtype=np.float64).sum(axis=0)
        ratio = torch.tensor((len(values) - present) / np.maximum(present, 1), dtype=torch.float32)
        weight = ratio.clamp(0.01, 100) if self.class_weights == "balanced" else None
        gamma = self.focal_gamma if self.loss_name == "focal" else 0.0
        by_row = partial(_losses.binary_cross_entropy, weight=weight, smoothing=self.label_smoothing, gamma=gamma)
        name = (
            f"focal binary cross-entropy (gamma {gamma:g}{self._extras()})"
            if gamma
            else f"binary cross-entropy{self._extras(' (', ')')}"
        )
        mean = sum(present) / max(1, len(values))
        return Loss(name, f"each of {answers.width} labels is there or not; {mean:.1f} a row", _on_logits(by_row))

    def _extras(self, before: str = ", ", after: str = "") -> str:
        extras = []
        if self.class_weights == "balanced":
            extras.append("balanced class weights")
        if self.label_smoothing:
            extras.append(f"label smoothing {self.label_smoothing:g}")
        return f"{before}{', '.join(extras)}{after}" if extras else ""

    def _evenness(self, counts: NDArray[np.int64]) -> str:
        ratio = counts.max() / max(1, counts.min())
        told = f"the largest class has {ratio:.1f} times the rows of the smallest"
        if self.class_weights == "balanced":
            return f"{told}; class weights make up for it"
        return f"{told}; consider task.class_weights=balanced" if ratio > _UNEVEN else told


def parse_label(cell: Any, *, separator: str) -> str | tuple[str, ...]:
    """A label as text, or several as a tuple; ``a|b`` and ``["a", "b"]`` are several."""
    if isinstance(cell, list):
        return _several(cell)
    name = _one(cell)
    if name.startswith("[") and name.endswith("]"):
        return _listed(name)
    if separator in name:
        return _several(name.split(separator))
    return name


def _one(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and not np.isfinite(cell)):
        raise ValueError("is empty; a label is needed")
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if not isinstance(cell, str | int | float):
        raise ValueError(f"holds {type(cell).__name__}; a label is text, an integer or a list of those")
    name = str(cell).strip()
    if not name:
        raise ValueError("is empty; a label is needed")
    return name


def _several(cells: Sequence[Any]) -> tuple[str, ...]:
    return tuple(
        sorted({_one(cell) for cell in cells if not (isinstance(cell, str) and not cell.strip())}, key=natural)
    )


def _listed(text: str) -> str | tuple[str, ...]:
    import json

    try:
        cells = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _several(cells)


def _names(target: Any) -> tuple[str, ...]:
    return target if isinstance(target, tuple) else (target,)


def natural(name: str) -> tuple[int, float, str]:
    """Numbers in their order, then words in theirs."""
    try:
        return (0, int(name), name)
    except ValueError:
        return (1, 0, name)


def _balanced(counts: NDArray[np.int64]) -> Tensor:
    """Weights inverse to the counts, 1 on average over the rows."""
    used = np.maximum(counts, 1)
    return torch.tensor(counts.sum() / (np.count_nonzero(counts) * used), dtype=torch.float32)


def _on_logits(by_row: Any) -> Any:
    def function(output: Output, target: Tensor) -> Tensor:
        losses: Tensor = by_row(output["logits"], target)
        return losses

    return function


def _on_shares(by_row: Any) -> Any:
    """The same where an example may belong to two classes in parts, [n, classes], as MixUp and CutMix make them."""

    def function(output: Output, target: Tensor) -> Tensor:
        logits = output["logits"]
        if not target.is_floating_point():
            losses: Tensor = by_row(logits, target)
            return losses
        shares, classes = target.topk(min(2, target.shape[1]), dim=1)
        parts = [share * by_row(logits, of) for share, of in zip(shares.unbind(1), classes.unbind(1), strict=True)]
        return torch.stack(parts).sum(dim=0)

    return function
