"""scores.json: its shape for every kind, strict JSON, and honest numbers in it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from regraft.errors import RecipeError
from regraft.evaluation import Outputs, Sampling, compose, majority, majority_masks, metrics_for
from tests.evaluation.images import boxes, masks

PRIMARY = {"classes": "accuracy", "labels": "macro_f1", "numbers": "spearman", "boxes": "map_50", "masks": "mean_iou"}


def answers(kind: str, n: int, *, c: int = 3, seed: int = 0) -> Outputs:
    rng = np.random.default_rng(seed)
    if kind in {"boxes", "masks"}:
        return Outputs(*(boxes if kind == "boxes" else masks)(n, c, seed=seed))
    if kind == "numbers":
        target = rng.normal(size=(n, 1))
        return Outputs(target, target + rng.normal(size=(n, 1)))
    if kind == "labels":
        truth = rng.random((n, c)) < 0.4
        return Outputs(truth, 6 * (truth - 0.5) + rng.normal(0, 4, (n, c)))
    chosen = rng.integers(0, c, n)
    return Outputs(chosen, 4 * np.eye(c)[chosen] + rng.normal(0, 3, (n, c)))


def composed(kind: str, *, n: int = 200, c: int = 3) -> dict:
    test, width = answers(kind, n, c=c), 1 if kind == "numbers" else c
    train = answers(kind, 100, c=c, seed=1).target
    guess = majority_masks(train, test.target) if kind == "masks" else majority(kind, train, n, width)
    content = compose(
        kind,
        PRIMARY[kind],
        labels=["score"] if kind == "numbers" else [f"label {k}" for k in range(c)],
        test=test,
        validation=answers(kind, 100, c=c, seed=2),
        baselines={
            "majority": guess,
            "linear_probe": guess
            if kind in {"boxes", "masks"}
            else guess * 0.5 + 0.1 * test.target.reshape(n, width if test.target.ndim > 1 else 1)[:, :1],
        },
        sampling=Sampling(resamples=100),
    )
    return json.loads(json.dumps(content, allow_nan=False))


@pytest.mark.parametrize("kind", PRIMARY)
def test_the_shape(kind: str) -> None:
    content = composed(kind, n=60)
    assert content["primary"] == PRIMARY[kind]
    assert content["rows"] == 60
    assert set(content["test"]) == set(content["validation"]) == set(metrics_for(kind))
    assert set(content["test"][PRIMARY[kind]]) == {"value", "low", "high"}
    assert set(content["baselines"]) == {"majority", "linear_probe"}
    assert content["comparison"]["baseline"] == "linear_probe"
    assert {"metric", "difference", "low", "high", "p", "verdict"} <= set(content["comparison"])


def test_the_confusion_and_the_calibration_of_classes() -> None:
    content = composed("classes")
    matrix = np.array(content["confusion"]["matrix"])
    assert matrix.sum() == 200
    assert np.trace(matrix) / 200 == pytest.approx(content["test"]["accuracy"]["value"])
    worst = content["confusion"]["worst"][0]
    assert worst["count"] == (matrix - np.diag(np.diag(matrix))).max()
    first = content["per_label"][0]
    assert first["recall"] == pytest.approx(matrix[0, 0] / matrix[0].sum())
    assert first["precision"] == pytest.approx(matrix[0, 0] / matrix[:, 0].sum())
    after = content["calibration"]["after"]
    assert after["log_loss"] == pytest.approx(content["test"]["log_loss"]["value"])
    assert after["log_loss"] < content["calibration"]["before"]["log_loss"]


def test_numbers_have_neither_and_undefined_is_null() -> None:
    content = composed("numbers")
    assert content["confusion"] is None is content["calibration"]
    assert content["baselines"]["majority"]["spearman"]["value"] is None


def test_boxes_have_curves_and_no_calibration() -> None:
    content = composed("boxes", n=60)
    assert content["confusion"] is None is content["calibration"]
    assert set(content["curves"]) == {"iou", "map_50", "recall", "precision", "average_precision"}
    assert content["curves"]["map_50"] == pytest.approx(content["test"]["map_50"]["value"])
    assert [len(curve) for curve in content["curves"]["precision"].values()] == [101] * 3
    assert set(content["per_label"][0]) == {"label", "support", "ap", "ap_50"}
    assert content["comparison"]["difference"] > 0


def test_masks_have_the_shares_of_pixels_that_are_confused() -> None:
    content = composed("masks", n=60)
    assert content["curves"] is None is content["calibration"]
    matrix = np.array(content["confusion"]["matrix"])
    assert matrix.sum() == pytest.approx(1)
    assert np.trace(matrix) == pytest.approx(content["test"]["pixel_accuracy"]["value"])
    assert matrix.sum(axis=1) == pytest.approx([each["support"] for each in content["per_label"]])
    assert set(content["per_label"][0]["iou"]) == {"value", "low", "high"}


@pytest.mark.parametrize("kind", PRIMARY)
def test_without_rows_all_is_null(kind: str) -> None:
    content = composed(kind, n=0)
    assert content["rows"] == 0
    assert {each["value"] for each in content["test"].values()} == {None}


def test_many_classes_and_no_rows() -> None:
    many = composed("classes", c=80)
    assert many["confusion"]["matrix"] is None
    assert len(many["confusion"]["worst"]) == 20
    empty = composed("classes", n=0)
    assert empty["test"]["accuracy"]["value"] is None
    assert empty["calibration"]["after"]["curve"] == []


def test_a_primary_metric_that_does_not_fit() -> None:
    test = answers("classes", 10)
    with pytest.raises(RecipeError, match="does not fit"):
        compose(
            "classes",
            "mse",
            labels=["a", "b", "c"],
            test=test,
            validation=None,
            baselines={},
            sampling=Sampling(),
        )
