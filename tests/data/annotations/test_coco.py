"""COCO: what becomes of each image and annotation, and where a fault is said to be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.data.annotations import header, kind, remarks, root, rows
from regraft.data.masks import DrawnMask, parse_mask
from regraft.errors import DataError
from tests.data.annotations.scenes import NAMES, SIZE, assert_near, coco, draw, objects_of, read, write_coco


def test_the_objects_of_each_image_are_read(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    assert kind(path) == "coco"
    assert header(path, file="x") == ["image", "objects", "mask"]
    assert_near(objects_of(path), pixels=1e-9)
    assert [row.row for row in read(path)[0]] == [1, 2, 3]
    assert remarks(path, file="x") == []


@pytest.mark.parametrize("order", [("annotations", "categories", "images"), ("images", "annotations", "categories")])
def test_the_order_of_the_lists_does_not_matter(tmp_path: Path, order: tuple[str, ...]) -> None:
    content = coco()
    path = write_coco(tmp_path, {key: content[key] for key in order})
    assert kind(path) == "coco"
    assert_near(objects_of(path), pixels=1e-9)


def test_what_is_no_coco_is_not_taken_for_it(tmp_path: Path) -> None:
    for name, content in (
        ("a.json", "{}"),
        ("b.json", '{"images": []}'),
        ("c.txt", json.dumps(coco())),
        ("d.json", ""),
    ):
        (tmp_path / name).write_text(content)
        assert kind(tmp_path / name) is None
    assert kind(tmp_path / "missing.json") is None
    assert kind(tmp_path) is None
    with pytest.raises(DataError, match="known are COCO, YOLO and VOC"):
        header(tmp_path / "a.json", file="a.json")


def test_marks_across_the_blocks_that_are_read_are_found(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    for shift in range(12):
        path.write_text('{"x": "' + "x" * ((1 << 20) - 10 - shift) + '", "images": [], "annotations": []}')
        assert kind(path) == "coco"


def test_images_without_annotations_can_be_predicted(tmp_path: Path) -> None:
    content = {key: value for key, value in coco().items() if key != "annotations"}
    path = write_coco(tmp_path, content)
    assert kind(path) == "coco"
    assert [row.values["image"] for row in read(path, only=["image"])[0]] == ["a.png", "b c.png", "ü.png"]
    with pytest.raises(DataError, match="there is no list 'annotations'"):
        read(path)


def test_cells_that_are_not_wanted_spoil_nothing(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][0]["bbox"] = "x"
    content["categories"] = None
    good, bad = read(write_coco(tmp_path, content), only=["image"])
    assert [row.values for row in good] == [{"image": name} for name in ("a.png", "b c.png", "ü.png")]
    assert not bad


def test_a_backslash_divides_folders(tmp_path: Path) -> None:
    content = coco()
    content["images"][0]["file_name"] = "train\\deep\\a.png"
    content["images"][1]["file_name"] = "..\\..\\secret.png"
    good, _ = read(write_coco(tmp_path, content), only=["image"])
    assert [row.values["image"] for row in good][:2] == ["train/deep/a.png", "../../secret.png"]


@pytest.mark.parametrize(
    ("json_path", "image_path"),
    [
        ("instances.json", "a.png"),
        ("instances.json", "images/a.png"),
        ("annotations/instances.json", "images/a.png"),
        ("annotations/instances_train2017.json", "train2017/a.png"),
        ("annotations/instances_train2017.json", "images/train2017/a.png"),
        ("annotations/person_keypoints_val2017.json", "val2017/a.png"),
        ("train/_annotations.coco.json", "train/a.png"),
        ("train.json", "train/a.png"),
    ],
)
def test_the_images_are_found_where_they_usually_lie(tmp_path: Path, json_path: str, image_path: str) -> None:
    (tmp_path / json_path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / json_path).write_text(json.dumps(coco()))
    assert root(tmp_path / json_path) == (tmp_path / json_path).parent
    draw(tmp_path / image_path)
    assert (root(tmp_path / json_path) / "a.png").samefile(tmp_path / image_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "x" * 5000, "x" * 300, "a\0b", "\ud800", ""])
def test_whatever_the_first_name_there_is_a_folder(tmp_path: Path, name: str) -> None:
    content = coco()
    content["images"][0]["file_name"] = name
    assert root(write_coco(tmp_path, content)) == tmp_path


Change = Callable[[dict[str, Any]], Any]


def first(key: str, value: Any) -> Change:
    """The first annotation, which is 100, with another value."""
    return lambda content: content["annotations"][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "row", "reason"),
    [
        (first("bbox", [1, 2, 3]), 100, "annotation 100: its bbox has 3 numbers, not 4 (in 'a.png')"),
        (first("bbox", [1, 2, 0, 3]), 100, "annotation 100: its box has no width"),
        (first("bbox", [1, 2, 3, 10**400]), 100, "not a finite number"),
        (first("category_id", 99), 100, "annotation 100: its category 99 is not in the list of categories"),
        (first("category_id", None), 100, "its category None is not in the list"),
        (first("category_id", [1]), 100, "its category [1] is not in the list"),
        (first("segmentation", [[1, 2, 3, 4]]), 100, "annotation 100: its polygon 1 has 2 points"),
        (first("segmentation", {"size": [48, 64], "counts": [1]}), 100, "sum to 1, not to 64 x 48"),
        (first("iscrowd", 7), 100, "iscrowd is 7"),
        (first("image_id", 77), 100, "annotation 100 is of image 77, which is not listed"),
        (first("image_id", None), 100, "annotation 100 names no image (image_id)"),
        (lambda content: content["annotations"][0].pop("id") and content["annotations"][0].pop("bbox"), 0, ""),
        (lambda content: content["annotations"].insert(1, "x"), 2, "annotation number 2 of the list names no image"),
        (
            lambda content: content["annotations"][0].update(id="q", bbox=[]),
            1,
            "annotation 'q': its bbox has 0 numbers",
        ),
        (lambda content: content["annotations"][0].update(id=10**30, bbox=[]), 1, "its bbox has 0 numbers"),
        (lambda content: content["images"][0].pop("file_name"), 1, "has no file_name"),
        (lambda content: content["images"][0].update(file_name="a\0"), 1, "NUL"),
        (lambda content: content["images"][1].pop("id"), 2, "'b c.png' has no id"),
        (lambda content: content["images"].__setitem__(1, [3]), 2, "has no file_name"),
    ],
)
def test_a_fault_is_said_at_its_place(tmp_path: Path, change: Change, row: int, reason: str) -> None:
    content = coco()
    change(content)
    good, bad = read(write_coco(tmp_path, content))
    if not row:
        assert not bad  # an id is not needed, and the box is found around the outline
        return
    assert [found.row for found in bad] == [row]
    assert reason in bad[0].reason
    assert bad[0].file == str(tmp_path / "instances.json")
    assert len(good) == (3 if "names no image" in reason or "not listed" in reason else 2)


def test_boxes_know_the_size_that_their_image_had(tmp_path: Path) -> None:
    content = coco()
    content["images"][2].update(width=None)
    found = objects_of(write_coco(tmp_path, content))
    assert {item.drawn_on for item in found["a.png"]} == {SIZE}
    assert [item.drawn_on for item in found["ü.png"]] == [None]


def test_two_images_with_one_id_are_both_bad(tmp_path: Path) -> None:
    content = coco()
    content["images"][2]["id"] = 1.0
    good, bad = read(write_coco(tmp_path, content))
    assert [row.values["image"] for row in good] == ["b c.png"]
    assert [(row.row, row.column) for row in bad[:2]] == [(1, "image"), (3, "image")]
    assert "'a.png' has the id 1, as have 1 other images" in bad[0].reason


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ('{"images": [\n{]\n, "annotations"', 2, "is not valid JSON"),
        ('{"images": [], "annotations": [], "categories": []}', 1, "there are no images"),
        ('{"images": 3, "annotations": []}', 1, "there is no list 'images'"),
        ('{"images": [{}], "annotations": {}}', 1, "there is no list 'annotations'"),
        ('{"images": [{}], "annotations": []}', 1, "there is no list 'categories'"),
        ('{"images": [{}], "annotations": [], "categories": [{"id": 1}]}', 1, "category 1 of the list has no id"),
        ('{"images": [{}], "annotations": [], "categories": [3]}', 1, "category 1 of the list has no id"),
        (
            '{"images": [{}], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            1,
            "two categories have the id 1",
        ),
        ('["images", "annotations"]', 1, "is a list"),
        ('{"images": [], "annotations": ' + "[" * 100_000, 1, "nested too deep"),
        ('{"images": [], "annotations": [' + "9" * 5000 + "]}", 1, "is not valid JSON"),
        ('{"images": [], "images": [], "annotations": []}', 1, "the key 'images' twice"),
    ],
)
def test_a_damaged_file_is_an_error_with_its_row(tmp_path: Path, text: str, row: int, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        list(rows(path, file="my/bad.json"))
    assert str(caught.value).startswith(f"my/bad.json, row {row}: ")
    assert reason in str(caught.value)


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"images": [], "annotations": ["\xff"]}')
    with pytest.raises(DataError, match="not UTF-8"):
        list(rows(path, file="bad.json"))


def masks(path: Path) -> list[DrawnMask]:
    found = [parse_mask(row.values["mask"]) for row in read(path, only=["image", "mask"])[0]]
    assert all(isinstance(mask, DrawnMask) for mask in found)
    return [mask for mask in found if isinstance(mask, DrawnMask)]


def test_masks_are_drawn_from_the_outlines(tmp_path: Path) -> None:
    content = coco()
    content["annotations"].reverse()
    full, empty, thin = masks(write_coco(tmp_path, content))
    assert full.names == ("background", *NAMES)
    expected = np.full((48, 64), 3, np.uint8)
    expected[6:30, 4:20] = 1
    np.testing.assert_array_equal(full.read(), expected)
    assert empty.values == (0,)
    assert thin.values == (0, 2)


def test_crowds_and_run_lengths_are_drawn(tmp_path: Path) -> None:
    content = coco()
    counts = [0, 48 * 10, 48 * 54]
    content["annotations"][1].update(iscrowd=1, segmentation={"size": [48, 64], "counts": counts})
    mask = masks(write_coco(tmp_path, content))[0]
    expected = np.zeros((48, 64), np.uint8)
    expected[:, :10] = 255
    expected[6:30, 4:20] = 1
    np.testing.assert_array_equal(mask.read(), expected)


def test_a_mask_needs_outlines_and_a_size(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][0]["segmentation"] = []
    del content["images"][1]["width"]
    path = write_coco(tmp_path, content)
    good, bad = read(path, only=["image", "mask"])
    assert [(row.row, row.column) for row in bad] == [(100, "mask"), (2, "mask")]
    assert "annotation 100 has a box but no outline" in bad[0].reason
    assert "no width and height" in bad[1].reason
    assert len(good) == 1
    assert not read(path)[1]


def test_classes_are_numbered_in_the_order_of_their_ids(tmp_path: Path) -> None:
    content = coco()
    content["categories"].reverse()
    assert masks(write_coco(tmp_path, content))[0].names == ("background", *NAMES)


def test_many_images_are_read_in_one_pass(tmp_path: Path) -> None:
    one = coco()
    content = {"categories": one["categories"], "images": [], "annotations": []}
    for number in range(3000):
        content["images"].append({**one["images"][0], "id": number, "file_name": f"{number}.png"})
        for annotation in one["annotations"][:2]:
            content["annotations"].append({**copy.copy(annotation), "id": 1 + number, "image_id": number})
    good, bad = read(write_coco(tmp_path, content))
    assert len(good) == 3000
    assert not bad
    assert all(len(row.values["objects"]) == 2 for row in good)
