"""Cut-outs on photographs: boxes and masks fit, and the test side shows nothing that training has seen."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from materials.composites import (
    CLASSES,
    COUNTS,
    PHOTOGRAPHS,
    SIZE,
    Pasted,
    annotation,
    cutouts,
    flat,
    run_lengths,
    scene,
)

MATERIAL = "composites"

NAMES = ["background", *CLASSES]


def decoded(segmentation: dict[str, Any]) -> np.ndarray:
    runs = [np.full(count, place % 2, bool) for place, count in enumerate(segmentation["counts"])]
    return np.concatenate(runs).reshape(segmentation["size"], order="F")


@pytest.mark.parametrize("side", list(COUNTS))
def test_boxes_run_lengths_and_mask_files_agree(place: Path, side: str) -> None:
    document = json.loads((place / f"{side}.json").read_text(encoding="utf-8"))
    assert len(document["images"]) == COUNTS[side] == len(list((place / side / "masks").iterdir()))
    assert [(entry["id"], entry["name"]) for entry in document["categories"]] == list(enumerate(NAMES))[1:]
    names = {image["id"]: image["file_name"] for image in document["images"]}
    for entry in document["annotations"][:100]:
        image = place / names[entry["image_id"]]
        mask = np.asarray(Image.open(image.parents[1] / "masks" / f"{image.stem}.png"))
        shape = decoded(entry["segmentation"])
        left, top, width, height = entry["bbox"]
        inside = np.zeros_like(shape)
        inside[top : top + height, left : left + width] = True
        assert shape.sum() == entry["area"] > 0
        assert not (shape & ~inside).any()
        assert (mask[shape] == entry["category_id"]).all()
    assert (place / side / "classes.txt").read_text().split() == NAMES


def test_every_class_is_on_every_side_often_enough(place: Path) -> None:
    for side, count in COUNTS.items():
        entries = json.loads((place / f"{side}.json").read_text(encoding="utf-8"))["annotations"]
        shown = np.bincount([entry["category_id"] for entry in entries], minlength=len(NAMES))[1:]
        assert (shown > 0.35 * count).all()


def test_sides_share_no_photograph() -> None:
    every = [name for names in PHOTOGRAPHS.values() for name in names]
    assert len(set(every)) == len(every)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Stamps of other making: a solid ellipse for each name, on clear ground."""
    ellipse = np.hypot(*np.meshgrid(np.linspace(-1.2, 1.2, 60), np.linspace(-1.2, 1.2, 40))) < 1
    for inside, names in CLASSES.values():
        folder = tmp_path / inside
        folder.mkdir(parents=True, exist_ok=True)
        for name in names or [f"stamp{number}" for number in range(12)]:
            pixels = np.zeros((40, 60, 4), np.uint8)
            pixels[ellipse] = (200, 90, len(name) * 9, 255)
            Image.fromarray(pixels).save(folder / f"{name}.png")
    return tmp_path


def test_a_test_stamp_is_on_no_other_side(shelf: Path) -> None:
    sides = cutouts(shelf)
    for label in CLASSES:
        train, validation, test = (set(sides[side][label]) for side in ("train", "validation", "test"))
        assert train
        assert validation
        assert len(test) >= 2
        assert not test & (train | validation)
        assert label == "apple" or not train & validation


def test_a_scene_is_drawn_the_same_again_and_hides_no_object(shelf: Path) -> None:
    stamps = cutouts(shelf)["train"]
    photo = Image.fromarray(np.full((400, 500, 3), 90, np.uint8))
    for number in range(12):
        picture, objects = scene(Random(number), [photo], stamps)
        again, _ = scene(Random(number), [photo], stamps)
        assert np.array_equal(np.asarray(picture), np.asarray(again))
        assert picture.size == (SIZE, SIZE)
        assert all(one.mask.sum() >= 0.65 * one.whole > 0 for one in objects)
        drawn = flat(objects)
        assert all((drawn[one.mask] == NAMES.index(one.label)).all() for one in objects)
        assert (drawn > 0).sum() == sum(one.mask.sum() for one in objects)


def test_run_lengths_start_outside_and_go_down_the_columns() -> None:
    mask = np.array([[1, 0, 0], [1, 0, 1]], bool)
    assert list(run_lengths(mask)) == [0, 2, 3, 1]
    assert list(run_lengths(np.zeros((2, 3), bool))) == [6]


def test_an_annotation_is_as_coco_has_it() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[10:14, 20:27] = True
    entry = annotation(Pasted("cow", mask, 28))
    assert (entry["bbox"], entry["area"], entry["category_id"]) == ([20, 10, 7, 4], 28, NAMES.index("cow"))
    assert np.array_equal(decoded(entry["segmentation"]), mask)
