"""Scores, and all that ``scores.json`` holds.

The probabilities that users will see are the calibrated ones, so ``test`` and ``comparison`` are made from
these; ``calibration.before`` keeps what the raw probabilities gave. Undefined values are null: the JSON is
strict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from regraft.evaluation.by_label import per_label
from regraft.evaluation.calibration import fit_temperature, probabilities, reliability_curve
from regraft.evaluation.comparisons import Comparison, compare, verdict
from regraft.evaluation.curves import precision_recall
from regraft.evaluation.intervals import Estimate, Sampling, bootstrap
from regraft.evaluation.metrics import TEXTS, Kind, answers, find_metric, measure, metrics_for
from regraft.evaluation.texts import signatures
from regraft.evaluation.weighted import Array, Floats

_LARGEST_MATRIX = 50
_WORST = 20


@dataclass(frozen=True)
class Scores:
    """Every metric with its interval, and the one that decides."""

    primary: str
    higher_is_better: bool
    values: dict[str, Estimate]

    @property
    def deciding(self) -> Estimate:
        """The primary metric's value and interval."""
        return self.values[self.primary]


@dataclass(frozen=True)
class Outputs:
    """What is right, and what the model gave: logits ``[n, c]``, or what is no probability as metrics take it."""

    target: Array
    logits: Array


def score(kind: Kind, primary: str, *, target: Array, scores: Array, sampling: Sampling) -> Scores:
    """All metrics of a kind with their intervals.

    Raises:
        RecipeError: the primary metric does not fit this kind of answers.
    """
    metric = find_metric(primary, kind)
    names = metrics_for(kind)
    values = bootstrap(names, target, scores, **asdict(sampling))
    return Scores(primary, metric.higher_is_better, values)


def compose(
    kind: Kind,
    primary: str,
    *,
    labels: Sequence[str],
    test: Outputs,
    validation: Outputs | None,
    baselines: Mapping[str, Array],
    sampling: Sampling,
    temperature: float | None = None,
) -> dict[str, Any]:
    """The content of ``scores.json``.

    ``labels`` names the classes (for numbers, the outputs); ``baselines`` holds each baseline's scores on the
    test rows. The temperature is fitted on ``validation``, unless it is given.

    Raises:
        RecipeError: the primary metric does not fit this kind of answers.
    """
    if temperature is None:
        temperature = fit_temperature(validation.logits, validation.target, kind) if validation else 1.0
    final = probabilities(test.logits, kind, temperature=temperature)
    of_test = score(kind, primary, target=test.target, scores=final, sampling=sampling)
    comparisons = [
        compare(primary, test.target, final, theirs, baseline=name, **asdict(sampling))
        for name, theirs in baselines.items()
    ]
    content: dict[str, Any] = to_json({
        "kind": kind,
        "primary": primary,
        "higher_is_better": of_test.higher_is_better,
        "rows": len(test.target),
        "confidence": sampling.confidence,
        "labels": list(labels),
        "validation": _validation_values(kind, primary, validation, temperature, sampling),
        "test": of_test.values,
        "baselines": {
            name: score(kind, primary, target=test.target, scores=theirs, sampling=sampling).values
            for name, theirs in baselines.items()
        },
        "comparison": _deciding(comparisons, len(test.target)),
        "comparisons": [_with_verdict(each, len(test.target)) for each in comparisons],
        "confusion": _confusion(kind, labels, test.target, final),
        "per_label": per_label(kind, labels, test.target, final, sampling),
        "curves": precision_recall(kind, labels, test.target, final),
        "calibration": _calibration(kind, test, temperature),
        **({"signatures": signatures(metrics_for(kind), test.target)} if kind in (*TEXTS, "speech") else {}),
    })  # fmt: skip
    return content


def to_json(value: Any) -> Any:
    """Plain JSON values: dataclasses and numpy become dicts, lists, numbers; not finite becomes null."""
    if hasattr(value, "__dataclass_fields__"):
        return to_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _validation_values(
    kind: Kind, primary: str, validation: Outputs | None, temperature: float, sampling: Sampling
) -> dict[str, Estimate]:
    if validation is None:
        return {}
    scores = probabilities(validation.logits, kind, temperature=temperature)
    return score(kind, primary, target=validation.target, scores=scores, sampling=sampling).values


def _deciding(comparisons: Sequence[Comparison], rows: int) -> dict[str, Any] | None:
    """The comparison that says what tuning was worth: with the linear probe, else with the last baseline."""
    probe = [each for each in comparisons if each.baseline == "linear_probe"]
    return _with_verdict((probe or comparisons)[-1], rows) if comparisons else None


def _with_verdict(comparison: Comparison, rows: int) -> dict[str, Any]:
    return {**asdict(comparison), "verdict": verdict(comparison, rows)}


def _confusion(kind: Kind, labels: Sequence[str], target: Array, scores: Floats) -> dict[str, Any] | None:
    """Truth by decision; the matrix itself for up to 50 classes, and the most frequent mistakes always.

    For masks, the shares of all pixels.
    """
    if kind == "masks":
        return _confused_pixels(labels, scores)
    if kind != "classes":
        return None
    count = len(labels)
    decided = answers(target, scores) if len(target) else target
    pairs, frequency = np.unique(target * count + decided, return_counts=True)
    wrong = pairs // count != pairs % count
    worst = sorted(zip(-frequency[wrong], pairs[wrong], strict=True))[:_WORST]
    matrix = np.bincount(target * count + decided, minlength=count**2) if count <= _LARGEST_MATRIX else None
    return {
        "labels": list(labels),
        "matrix": None if matrix is None else matrix.reshape(count, count),
        "worst": [
            {"target": labels[pair // count], "prediction": labels[pair % count], "count": -negative}
            for negative, pair in worst
        ],
    }


def _confused_pixels(labels: Sequence[str], scores: Array) -> dict[str, Any]:
    counts = scores.sum(axis=0)
    shown = len(labels) <= _LARGEST_MATRIX and counts.sum() > 0
    return {"labels": list(labels), "matrix": counts / counts.sum() if shown else None}


def _calibration(kind: Kind, test: Outputs, temperature: float) -> dict[str, Any] | None:
    if kind not in {"classes", "labels"}:
        return None
    before, after = (probabilities(test.logits, kind, temperature=each) for each in (1.0, temperature))
    return {
        "temperature": temperature,
        "before": _calibration_of(test.target, before),
        "after": _calibration_of(test.target, after),
    }


def _calibration_of(target: Array, scores: Floats) -> dict[str, Any]:
    curve = reliability_curve(target, scores) if len(target) else []
    return {**measure(["ece", "log_loss"], target, scores), "curve": [asdict(each) for each in curve]}
