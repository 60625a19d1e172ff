"""Average precision is that of COCO, whatever the images weigh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.evaluation import METRICS, measure, metrics_for
from regraft.evaluation.detection import RECALLS, _reached, precision_curve, rankings
from tests.evaluation.images import boxes, coco

NAMES = metrics_for("boxes")
WHOLE = [0.1, 0.1, 0.5, 0.5]


def reference(target: np.ndarray, scores: np.ndarray, classes: int = 5) -> dict[str, float]:
    said = coco(target, scores, classes).stats_as_dict
    return {"map": said["AP_all"], "map_50": said["AP_50"], "map_75": said["AP_75"], "recall_100": said["AR_third"]}


def one_image(objects: list[list[float]], detections: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    target = np.empty(1, dtype=object)
    target[0] = np.array(objects).reshape(-1, 6)
    return target, np.array(detections).reshape(1, -1, 6)


def test_the_metrics_of_boxes() -> None:
    assert NAMES == ("map_50", "map", "map_75", "recall_100")


@pytest.mark.parametrize("grid", [None, 64], ids=["any corner", "equal overlaps"])
@pytest.mark.parametrize("steps", [None, 5], ids=["any score", "equal scores"])
@pytest.mark.parametrize(("n", "most"), [(1, 30), (7, 8), (40, 100)])
def test_as_in_coco(n: int, most: int, steps: int | None, grid: int | None) -> None:
    for seed in range(5):
        target, scores = boxes(n, most=most, seed=100 * n + seed, steps=steps, grid=grid)
        target[0] = np.array([[*WHOLE, 1, 0]])
        scores[0, 0] = [*WHOLE, 0.5, 1]
        assert measure(NAMES, target, scores) == pytest.approx(reference(target, scores), abs=1e-9)


def test_curves_as_in_coco() -> None:
    target, scores = boxes()
    precision = coco(target, scores, 5).eval["precision"]
    for each in rankings(target, scores):
        for threshold in (0, 5, 9):
            assert precision_curve(each, threshold) == pytest.approx(precision[threshold, :, each.label, 0, 2])


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_repeated_images(seed: int) -> None:
    target, scores = boxes(seed=seed)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, len(target)))
    weighted = {name: METRICS[name].function(target, scores)(weights.astype(float)) for name in NAMES}
    for k, counts in enumerate(weights):
        repeated = np.repeat(np.arange(len(target)), counts)
        wanted = reference(target[repeated], scores[repeated])
        assert {name: weighted[name][k] for name in NAMES} == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
def test_neither_the_order_of_images_nor_that_of_boxes_counts(seed: int, n: int) -> None:
    target, scores = boxes(n, most=12, seed=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    turned = np.empty(n, dtype=object)
    for row, place in enumerate(order):
        turned[row] = rng.permutation(target[place])
    shuffled = rng.permuted(np.arange(12)[None].repeat(n, axis=0), axis=1)
    moved = np.take_along_axis(scores[order], shuffled[:, :, None], axis=1)
    assert measure(NAMES, turned, moved) == pytest.approx(measure(NAMES, target, scores), abs=1e-12, nan_ok=True)


def test_the_unit_of_the_corners_does_not_count() -> None:
    target, scores = boxes()
    larger, wider = np.empty_like(target), scores.copy()
    for row, objects in enumerate(target):
        larger[row] = objects * [640, 480, 640, 480, 1, 1]
    wider[:, :, :4] *= [640, 480, 640, 480]
    assert measure(NAMES, larger, wider) == pytest.approx(measure(NAMES, target, scores))


def test_what_finds_a_crowd_is_neither_right_nor_wrong() -> None:
    objects = [[0.6, 0.6, 0.9, 0.9, 0, 0], [*WHOLE, 0, 1]]
    right = [0.6, 0.6, 0.9, 0.9, 0.3, 0]
    in_crowd = [[0.1, 0.1, 0.2, 0.2, 0.9, 0], [0.2, 0.2, 0.4, 0.4, 0.8, 0]]
    assert measure(["map"], *one_image(objects, [right, *in_crowd]))["map"] == 1


def test_a_second_box_on_an_object_is_wrong() -> None:
    target, scores = one_image([[*WHOLE, 0, 0], [0.6, 0.6, 0.9, 0.9, 0, 0]], [[*WHOLE, s, 0] for s in (0.9, 0.8)])
    scores = np.concatenate([scores, [[[0.6, 0.6, 0.9, 0.9, 0.1, 0]]]], axis=1)
    assert measure(["map_50"], target, scores)["map_50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_of_an_image_and_class_100_boxes_count() -> None:
    wrong, right = [0.6, 0.6, 0.9, 0.9], [*WHOLE, 0.1, 0]
    for others, found in ((99, 1.0), (100, 0.0)):
        said = [[*wrong, 0.9, 0] for _ in range(others)] + [right] + [[*wrong, 0.9, 1] for _ in range(50)]
        assert measure(["recall_100"], *one_image([[*WHOLE, 0, 0]], said))["recall_100"] == found


def test_a_class_without_objects_does_not_count() -> None:
    target, scores = one_image([[*WHOLE, 2, 0]], [[*WHOLE, 0.9, 0], [*WHOLE, 0.5, 2]])
    assert measure(NAMES, target, scores) == dict.fromkeys(NAMES, 1.0)


def test_without_objects_everything_is_undefined() -> None:
    target, scores = one_image([], [[*WHOLE, 0.9, 0]])
    assert np.isnan(list(measure(NAMES, target, scores).values())).all()
    only_crowds = one_image([[*WHOLE, 0, 1]], [[*WHOLE, 0.9, 0]])
    assert np.isnan(list(measure(NAMES, *only_crowds).values())).all()
    assert np.isnan(list(measure(NAMES, target[:0], scores[:0]).values())).all()


def test_a_class_left_out_by_the_weights_is_left_out_of_the_mean() -> None:
    target = np.empty(2, dtype=object)
    target[:] = [np.array([[*WHOLE, 0, 0]]), np.array([[*WHOLE, 1, 0]])]
    scores = np.array([[[*WHOLE, 0.9, 0]], [[*WHOLE, -1, 0]]])
    values = METRICS["map_50"].function(target, scores)(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert values == pytest.approx([0.5, 1, 0, np.nan], nan_ok=True)


def test_nothing_detected_is_zero() -> None:
    target, scores = one_image([[*WHOLE, 0, 0]], [[*WHOLE, -1, 0]])
    assert measure(NAMES, target, scores) == dict.fromkeys(NAMES, 0.0)
    assert measure(NAMES, target, scores[:, :0]) == dict.fromkeys(NAMES, 0.0)


def test_boxes_without_area_find_nothing() -> None:
    flat = [0.1, 0.1, 0.1, 0.5]
    target, scores = one_image([[*flat, 0, 0], [*WHOLE, 0, 1]], [[*flat, 0.9, 0], [*WHOLE[::-1], 0.8, 0]])
    assert measure(["map"], target, scores)["map"] == 0


def test_reached_recalls_are_counted_exactly() -> None:
    of = np.arange(1, 400)[:, None]
    recall = np.minimum(np.arange(400), of) / of
    assert np.array_equal(_reached(recall), np.searchsorted(RECALLS, recall, "right"))
