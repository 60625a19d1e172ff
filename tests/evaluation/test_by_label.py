"""Each label on its own, and its curve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from regraft.evaluation import Sampling, bootstrap, measure
from regraft.evaluation.by_label import per_label
from regraft.evaluation.curves import precision_recall
from tests.evaluation.images import boxes, coco, masks

FEW = Sampling(resamples=200)


def classes(n: int = 200, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.integers(0, c, n)
    return target, np.round(rng.dirichlet(np.ones(c), n) + np.eye(c)[target] / 3, 2)


def test_boxes_of_a_class_as_in_coco() -> None:
    target, scores = boxes()
    precision = coco(target, scores, 5).eval["precision"][:, :, :, 0, 2]
    found = per_label("boxes", list("abcde"), target, scores, FEW)
    assert [each["ap"].value for each in found[:4]] == pytest.approx(precision.mean(axis=(0, 1))[:4])
    assert [each["ap_50"].value for each in found[:4]] == pytest.approx(precision[0].mean(axis=0)[:4])
    assert sum(each["support"] for each in found) == sum(int((objects[:, 5] == 0).sum()) for objects in target)
    assert all(each["ap"].low < each["ap"].value < each["ap"].high for each in found[:4])


def test_a_class_without_objects_has_no_average_precision() -> None:
    found = per_label("boxes", list("abcde"), *boxes(), FEW)[4]
    assert found["support"] == 0
    assert np.isnan([found["ap"].value, found["ap"].low, found["ap_50"].high]).all()


def test_the_mean_over_labels_is_the_metric() -> None:
    target, scores = masks()
    found = per_label("masks", list("abcd"), target, scores, FEW)
    values = measure(["mean_iou", "mean_dice"], target, scores)
    assert np.mean([each["iou"].value for each in found]) == pytest.approx(values["mean_iou"])
    assert np.mean([each["dice"].value for each in found]) == pytest.approx(values["mean_dice"])
    assert sum(each["support"] for each in found) == pytest.approx(1)
    assert all(each["iou"].low < each["iou"].value < each["iou"].high for each in found)


def test_the_interval_of_a_label_is_that_of_the_metric() -> None:
    """Of a single class, average precision and its mean over classes are the same."""
    target, scores = boxes(c=1)
    sampling = {"resamples": 200, "confidence": 0.95, "seed": 0}
    of_label, of_all = per_label("boxes", ["a"], target, scores, FEW)[0], bootstrap(["map"], target, scores, **sampling)
    ours, theirs = of_label["ap"], of_all["map"]
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def test_the_intervals_of_classes_lie_about_their_values() -> None:
    target, scores = classes()
    for each in per_label("classes", list("abc"), target, scores, FEW):
        for name in ("precision", "recall", "f1"):
            interval = each["intervals"][name]
            assert interval.value == pytest.approx(each[name])
            assert interval.low < each[name] < interval.high


def test_a_label_that_is_always_right_has_the_wilson_interval_of_its_rows() -> None:
    target = np.repeat([0, 1], [10, 90])
    right = per_label("classes", ["a", "b"], target, np.eye(2)[target], FEW)[0]["intervals"]["recall"]
    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(0.7225, abs=1e-3)


def test_very_many_labels_have_no_intervals() -> None:
    target = np.arange(1_001)
    found = per_label("classes", [str(k) for k in target], target, np.eye(1_001), FEW)
    assert found[0] == {"label": "0", "support": 1, "precision": 1, "recall": 1, "f1": 1, "intervals": None}


def test_the_curves_of_boxes_as_in_coco() -> None:
    target, scores = boxes()
    found = precision_recall("boxes", list("abcde"), target, scores)
    precision = coco(target, scores, 5).eval["precision"][0, :, :, 0, 2]
    assert set(found["precision"]) == set("abcd")
    assert found["precision"]["b"] == pytest.approx(precision[:, 1], abs=1e-5)
    assert (found["iou"], found["map_50"]) == pytest.approx((0.5, measure(["map_50"], target, scores)["map_50"]))


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_the_curves_of_probabilities_as_in_scikit_learn(kind: str) -> None:
    target, scores = classes()
    found = precision_recall(kind, list("abc"), np.eye(3, dtype=bool)[target] if kind == "labels" else target, scores)
    for k, label in enumerate("abc"):
        precision, recall, _ = reference.precision_recall_curve(target == k, scores[:, k])
        wanted = [precision[:-1][recall[:-1] >= least].max() for least in np.linspace(0, 1, 101)]
        assert found["precision"][label] == pytest.approx(wanted, abs=1e-5)
        assert found["average_precision"][label] == pytest.approx(np.mean(wanted))


def test_the_20_most_frequent_classes_have_curves() -> None:
    target = np.concatenate([np.arange(30), np.arange(5, 25)])
    found = precision_recall("classes", [str(k) for k in range(30)], target, np.eye(30)[target])
    assert set(found["precision"]) == {str(k) for k in range(5, 25)}


def test_numbers_and_masks_have_no_curves() -> None:
    assert precision_recall("numbers", ["y"], np.ones((3, 1)), np.ones((3, 1))) is None
    assert precision_recall("masks", list("abcd"), *masks()) is None
