"""Objects: what a cell may hold, what is refused and in which words."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.data.objects import Object, Rle, clipped, normalised, outside, parse_object, parse_objects
from regraft.fingerprint import digest

CAT = Object("cat", (1.0, 2.0, 11.0, 22.0))
DOG = Object("dog", (0.0, 0.0, 4.0, 4.0), crowd=True)
SQUARE = [0, 0, 10, 0, 10, 10, 0, 10]


@pytest.mark.parametrize(
    "cell",
    [
        [{"label": "cat", "box": [1, 2, 11, 22]}, {"label": "dog", "box": [0, 0, 4, 4], "crowd": True}],
        [{"category": "cat", "bbox": [1, 2, 10, 20]}, {"category": "dog", "bbox": [0, 0, 4, 4], "iscrowd": 1}],
        {"bbox": [[1, 2, 10, 20], [0, 0, 4, 4]], "categories": ["cat", "dog"], "iscrowd": [0, 1], "area": [200, 16]},
        {"bbox": [[1, 2, 10, 20], [0, 0, 4, 4]], "category": ["cat", "dog"], "crowd": [False, True], "id": [1, 2]},
        {"boxes": [[1, 2, 11, 22], [0, 0, 4, 4]], "labels": ["cat", "dog"], "crowd": [False, True]},
        '[{"label": " cat ", "box": [1, 2, 11, 22]}, {"label": "dog", "box": [0, 0, 4, 4], "iscrowd": 1}]',
        [CAT, DOG],
        ({"label": "cat", "box": (1.0, 2.0, 11.0, 22.0)}, DOG),
    ],
    ids=["boxes", "coco", "hugging face", "its other name", "plurals", "text", "objects", "tuples"],
)
def test_every_form_gives_the_same_objects(cell: Any) -> None:
    assert parse_objects(cell) == (CAT, DOG)


@pytest.mark.parametrize("cell", [[], "[]", {"bbox": [], "categories": []}])
def test_an_image_may_have_no_objects(cell: Any) -> None:
    assert parse_objects(cell) == ()


def test_a_whole_number_is_a_label() -> None:
    assert parse_objects([{"label": 7, "box": [0, 0, 1, 1]}])[0].label == "7"


def test_a_box_is_found_around_an_outline() -> None:
    assert parse_object({"label": "a", "segmentation": [[1, 2, 5, 2, 5, 9]]}).box == (1, 2, 5, 9)
    assert parse_object({"label": "a", "segmentation": {"size": [4, 5], "counts": [5, 2, 13]}}).box == (1, 1, 2, 3)


def test_an_empty_segmentation_is_none() -> None:
    for value in ([], [[]], None):
        assert parse_object({"label": "a", "box": [0, 0, 1, 1], "segmentation": value}).segments == ()


FAULTS: list[tuple[Any, str]] = [
    (None, "is empty"),
    ("  ", "is empty"),
    ("[{", "not valid JSON"),
    ("[" * 100_000, "nested too deep"),
    ("[" + "9" * 5000 + "]", "not valid JSON"),
    ("[NaN]", "not a finite number"),
    ('[{"label": "\\ud800", "box": [0, 0, 1, 1]}]', "half a surrogate"),
    (3, "is a number, not a list"),
    ('"cat"', "is text, not a list"),
    ([3], "object 1: is a number"),
    ({"label": "cat", "box": [0, 0, 1, 1]}, "one object, not a list"),
    ({"bbox": [[0, 0, 1, 1]], "categories": ["a", "b"]}, "has 1 boxes and 2 category"),
    ({"bbox": [[0, 0, 1, 1]], "categories": "a"}, "has 1 boxes and no list of category"),
    ({"categories": ["a", "b"]}, "without a list of boxes"),
    ([CAT, {"box": [0, 0, 1, 1]}], "object 2: has no label"),
    ([{"label": True, "box": [0, 0, 1, 1]}], "its label is true or false"),
    ([{"label": "", "box": [0, 0, 1, 1]}], "its label is empty"),
    ([{"label": "\ud83d", "box": [0, 0, 1, 1]}], "half a surrogate"),
    ([{"label": "a", "category": "b", "box": [0, 0, 1, 1]}], "both label and category"),
    ([CAT, {"label": "a", "box": [0, 3, 4, 3]}], "object 2: its box has no height"),
    ([{"label": "a", "bbox": [0, 3, 0, 3]}], "object 1: its box has no width"),
    ([{"label": "a", "bbox": [0, 3, -2, 3]}], "negative width"),
    ([{"label": "a", "box": [0, 3, 4, 2]}], "negative height (y2 < y1)"),
    ([{"label": "a", "box": [0, 0, 1]}], "its box has 3 numbers, not 4"),
    ([{"label": "a", "box": [0, 0, 1, "2"]}], "not a finite number"),
    ([{"label": "a", "box": [0, 0, 1, True]}], "not a finite number"),
    ([{"label": "a", "box": [0, 0, 1, None]}], "not a finite number"),
    ([{"label": "a", "box": [0, 0, 1, float("nan")]}], "not a finite number"),
    ([{"label": "a", "box": [0, 0, 1, 10**400]}], "not a finite number"),
    ([{"label": "a", "bbox": [1e308, 0, 1e308, 1]}], "not finite"),
    ([{"label": "a", "box": "0 0 1 1"}], "its box is text"),
    ([{"label": "a", "box": [0, 0, 1, 1], "bbox": [0, 0, 1, 1]}], "both box"),
    ([{"label": "a"}], "has no box"),
    ([{"label": "a", "box": [0, 0, 1, 1], "iscrowd": "yes"}], "iscrowd is 'yes'"),
    ([{"label": "a", "segmentation": [[0, 0, 1, 1]]}], "polygon 1 has 2 points, fewer than 3"),
    ([{"label": "a", "segmentation": [SQUARE, [0, 0, 1, 1, 2, 2, 3]]}], "polygon 2 has 7 numbers"),
    ([{"label": "a", "segmentation": [[0, 0, 1, 1, 2, "x"]]}], "polygon 1 holds something"),
    ([{"label": "a", "segmentation": [SQUARE, []]}], "polygon 2 has 0 points"),
    ([{"label": "a", "segmentation": "abc"}], "segmentation is text"),
    ([{"label": "a", "segmentation": {"size": [3], "counts": [3]}}], "not [height, width]"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": [4, 4]}}], "sum to 8, not to 3 x 3"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": [12, -3]}}], "whole numbers from 0"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": [4.5, 4.5]}}], "whole numbers from 0"),
    ([{"label": "a", "segmentation": {"size": [3, 3]}}], "have no counts"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": "a b"}}], "are damaged"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": "oooooooooo"}}], "are damaged"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": "o"}}], "cut off"),
    ([{"label": "a", "segmentation": {"size": [10**9, 10**9], "counts": [10**18]}}], "too many"),
    ([{"label": "a", "segmentation": {"size": [3, 3], "counts": [9]}}], "its mask is empty"),
]


@pytest.mark.parametrize(("cell", "reason"), FAULTS, ids=[reason for _, reason in FAULTS])
def test_what_is_wrong_is_said(cell: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_objects(cell)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 31), (3, 600)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_run_lengths_are_read_as_cocos_own_code_reads_them(shape: tuple[int, int], share: float) -> None:
    pixels = np.random.default_rng(0).random(shape) < share
    pixels[0, 0] = True
    packed = reference.encode(np.asfortranarray(pixels.astype(np.uint8)))
    compressed = parse_object(
        {"label": "a", "segmentation": {"size": list(shape), "counts": packed["counts"].decode()}}
    )
    assert isinstance(compressed.segments, Rle)
    np.testing.assert_array_equal(compressed.segments.pixels(), pixels)
    flat = pixels.reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    plain = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    listed = parse_object({"label": "a", "segmentation": {"size": list(shape), "counts": plain}})
    assert isinstance(listed.segments, Rle)
    np.testing.assert_array_equal(listed.segments.pixels(), pixels)
    assert compressed.box == listed.box


def at(x1: float, y1: float, x2: float, y2: float) -> list[Object]:
    return [CAT, Object("a", (x1, y1, x2, y2))]


def test_a_box_that_leaves_the_image_is_said() -> None:
    assert outside(at(0, 0, 640, 480), 640, 480) is None
    assert outside(at(-1, -1, 641, 481), 640, 480) is None
    assert outside(at(0, 0, 700, 480), 640, 480) == "object 2: its box reaches to x = 700, the image is 640 wide"
    assert outside(at(0, 0, 64, 485.5), 640, 480) == "object 2: its box reaches to y = 485.5, the image is 480 high"
    assert outside(at(-3, 0, 64, 48), 640, 480) == "object 2: its box begins at x = -3, outside the image"
    assert outside(at(640.2, 0, 640.8, 48), 640, 480) == "object 2: its box lies outside the image, which is 640 wide"
    assert outside(at(0, -0.5, 4, 0), 640, 480) == "object 2: its box lies outside the image, which is 480 high"


def test_run_lengths_of_another_size_are_said() -> None:
    item = parse_object({"label": "a", "segmentation": {"size": [40, 50], "counts": [0, 2000]}})
    assert outside([item], 50, 40) is None
    assert outside([item], 60, 40) == "object 1: its mask is 50 x 40, the image is 60 x 40"


def test_a_box_that_was_drawn_on_another_size_does_not_fit() -> None:
    drawn = parse_objects([{"label": "cat", "box": [0, 0, 9, 9], "drawn_on": [64, 48]}])
    assert outside(drawn, 64, 48) is None
    assert outside(drawn, 48, 64) == "object 1: was drawn on an image of 64 x 48 pixels, and this one has 48 x 64"


@pytest.mark.parametrize("told", [None, [], [64], [0, 48], [64, -1], ["64", "48"], [64.0, 48], [True, True], "64x48"])
def test_a_size_that_makes_no_sense_is_not_known(told: object) -> None:
    (item,) = parse_objects([{"label": "cat", "box": [0, 0, 9, 9], "drawn_on": told}])
    assert item.drawn_on is None


def test_boxes_are_cut_to_the_image() -> None:
    boxes = [item.box for item in clipped([*at(-0.5, 0, 12, 10.5), Object("b", (20, 0, 30, 5))], 12, 10)]
    assert boxes == [(1, 2, 11, 10), (0, 0, 12, 10)]


def test_normalised_gives_what_metrics_take() -> None:
    truth = normalised((CAT, DOG), ("dog", "cat"), 20, 40)
    np.testing.assert_allclose(truth, [[0.05, 0.05, 0.55, 0.55, 1, 0], [0, 0, 0.2, 0.1, 0, 1]])
    assert truth.dtype == np.float64
    assert normalised((), ("dog",), 20, 40).shape == (0, 6)
    with pytest.raises(ValueError, match="object 1: 'cat' is not one of the 1 classes"):
        normalised((CAT,), ("dog",), 20, 40)


def test_equal_objects_have_equal_content() -> None:
    outlined = {"label": "a", "segmentation": {"size": [4, 5], "counts": [5, 2, 13]}}
    assert digest([parse_object(outlined)]) == digest(list(parse_objects(json.dumps([outlined]))))
    assert digest([CAT]) != digest([DOG])


numbers = st.one_of(st.floats(), st.integers(-(10**320), 10**320), st.none(), st.booleans(), st.text(max_size=3))
leaves = st.one_of(numbers, st.lists(numbers, max_size=8), st.lists(st.lists(numbers, max_size=8), max_size=3))
runs = st.fixed_dictionaries({"size": leaves, "counts": st.one_of(leaves, st.text(max_size=20))})
keys = ["label", "category", "box", "bbox", "segmentation", "segments", "iscrowd", "crowd", "categories"]
things = st.dictionaries(st.sampled_from(keys), st.one_of(leaves, runs, st.lists(leaves, max_size=4)))


@settings(max_examples=500, deadline=None)
@given(st.one_of(things, st.lists(things, max_size=3), leaves, st.text()))
def test_whatever_the_cell_it_is_objects_or_a_reason(cell: Any) -> None:
    reason: str | None = None
    objects: tuple[Object, ...] = ()
    try:
        objects = parse_objects(cell)
    except ValueError as error:
        reason = str(error)
    assert reason is None or 0 < len(reason) < 500
    for item in objects:
        assert np.isfinite(item.box).all()
        assert item.box[0] < item.box[2]
        assert item.box[1] < item.box[3]
    outside(objects, 64, 48)
    digest(list(objects))
