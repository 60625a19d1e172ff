"""Targets that are numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regraft.data.example import BadRow, Column, Example
from regraft.errors import DataError
from regraft.tasks import _losses
from regraft.tasks._contract import Answers, Loss, Output, Targets

_FARTHEST = 1_000.0  # spreads; at this distance fp32 still resolves a ten-thousandth of one
NumberLoss = Literal["mean-squared-error", "smooth-l1"]

_SYNONYMS = ("label", "target", "value", "rating", "y", "stars", "number", "分数", "评分", "得分", "数值")


@dataclass(frozen=True)
class NumberTargets(Targets):
    """One number, or a list of as many numbers in every row. The model learns them centred and scaled."""

    loss_name: NumberLoss = "mean-squared-error"

    def column(self, *, label_separator: str) -> Column:  # noqa: ARG002  (numbers are not separated)
        return Column("score", "target", parse_number, _SYNONYMS)

    def learn(self, examples: Sequence[Example]) -> Answers:
        widths = Counter(len(example.target) for example in examples)
        width = max(widths, key=widths.__getitem__, default=0)  # rows of another width are unfit
        values = np.asarray([row.target for row in examples if len(row.target) == width], dtype=np.float64)
        if len(values) < 2 or not (values.std(axis=0) > 0).all():
            where = examples[0].file if examples else "the training data"
            raise DataError(
                f"{where}: all training rows have the same number",
                fix="name another column: data.columns.score=…",
            )
        names = ("score",) if values.shape[1] == 1 else tuple(f"score_{index}" for index in range(values.shape[1]))
        return Answers("numbers", names, tuple(values.mean(axis=0).tolist()), tuple(values.std(axis=0).tolist()))

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        return [
            BadRow(
                example.file,
                example.row,
                "score",
                f"has {len(example.target)} numbers; the others have {answers.width}",
            )
            for example in examples
            if len(example.target) != answers.width
        ]

    def value(self, example: Example, answers: Answers) -> Any:  # noqa: ARG002  (the same for all tasks)
        return list(example.target)

    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        values = np.asarray([number for target in targets for number in target], dtype=np.float64)
        if not len(values):
            return {}
        spread = {"min": values.min(), "mean": values.mean(), "max": values.max(), "std": values.std()}
        return {name: float(value) for name, value in spread.items()}

    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:
        scaled = (np.asarray(values, dtype=np.float64) - np.asarray(answers.mean)) / np.asarray(answers.scale)
        return torch.tensor(scaled, dtype=torch.float32)

    def model_config(self, answers: Answers) -> dict[str, Any]:
        return {
            "num_labels": answers.width,
            "id2label": dict(enumerate(answers.names)),
            "label2id": {name: index for index, name in enumerate(answers.names)},
            "problem_type": "regression",
        }

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:  # noqa: ARG002
        spread = ", ".join(f"{scale:.3g}" for scale in answers.scale)
        name, function = _LOSSES[self.loss_name]
        return Loss(
            name, f"the target is a number; it is learned centred and divided by its spread ({spread})", function
        )

    def finish(self, model: nn.Module, answers: Answers, head: Sequence[str]) -> Answers:
        """Fold mean and scale into the last linear layer, so that the saved model gives values in the user's units.

        Where fp32 could not hold them they stay beside the model, and values are made in double precision.
        """
        last = [
            module
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear) and f"{path}.bias" in head and module.out_features == answers.width
        ][-1:]
        if not last or not answers.scale or _far_from_zero(answers):
            return answers
        scale, mean = torch.tensor(answers.scale), torch.tensor(answers.mean)
        with torch.no_grad():
            last[0].weight.mul_(scale.to(last[0].weight).unsqueeze(-1))
            last[0].bias.mul_(scale.to(last[0].bias)).add_(mean.to(last[0].bias))
        return replace(answers, mean=(), scale=())

    def answer(
        self,
        scores: NDArray[np.float64],
        answers: Answers,
        inputs: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        values = [float(value) for value in scores]
        return {"prediction": values[0] if answers.width == 1 else values}


def _far_from_zero(answers: Answers) -> bool:
    """Whether fp32 has too few digits for values whose mean is so much larger than their spread (dates, ids)."""
    return any(abs(mean) > _FARTHEST * scale for mean, scale in zip(answers.mean, answers.scale, strict=True))


def parse_number(cell: Any) -> tuple[float, ...]:
    """A finite number, or a list of them."""
    cells = cell if isinstance(cell, list) else [cell]
    if not cells:
        raise ValueError("is empty; a number is needed")
    return tuple(_one(item) for item in cells)


def _one(cell: Any) -> float:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("is empty; a number is needed")
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise ValueError(f"holds {type(cell).__name__}; a number is needed")
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        raise ValueError(f"holds {str(cell)[:40]!r}; a number is needed") from None
    if not math.isfinite(value):
        raise ValueError(f"holds {value}; a finite number is needed")
    return value


def _squared_error(output: Output, target: Tensor) -> Tensor:
    return _losses.squared_error(output["logits"], target)


def _smooth_l1(output: Output, target: Tensor) -> Tensor:
    return _losses.smooth_l1(output["logits"], target)


_LOSSES: dict[str, tuple[str, Callable[[Output, Tensor], Tensor]]] = {
    "mean-squared-error": ("mean squared error", _squared_error),
    "smooth-l1": ("smooth L1", _smooth_l1),
}
