"""YOLO: lines become boxes and outlines in pixels, in each of the layouts that are in use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.data.annotations import header, kind, remarks, root, rows
from regraft.data.masks import DrawnMask, parse_mask
from regraft.data.objects import parse_objects
from regraft.errors import DataError
from tests.data.annotations.scenes import NAMES, SIZE, assert_near, draw, objects_of, read, write_yolo
from tests.data.images import png


def labels_of(folder: Path, name: str = "a.txt") -> Path:
    return folder / "labels" / "train" / name


def test_boxes_and_outlines_become_pixels(tmp_path: Path) -> None:
    assert_near(objects_of(write_yolo(tmp_path / "boxes")), pixels=0.001)
    assert_near(objects_of(write_yolo(tmp_path / "outlines", outlines=True)), pixels=0.001)
    assert header(tmp_path / "boxes", file="x") == ["image", "objects", "mask"]


@pytest.mark.parametrize(
    ("path", "base", "image"),
    [
        (".", ".", "images/train/a.png"),
        ("data.yaml", ".", "images/train/a.png"),
        ("images/train", "images/train", "a.png"),
        ("images", "images", "train/a.png"),
    ],
)
def test_a_dataset_is_named_by_its_folder_its_yaml_or_its_images(
    tmp_path: Path, path: str, base: str, image: str
) -> None:
    write_yolo(tmp_path)
    assert kind(tmp_path / path) == "yolo"
    assert root(tmp_path / path).resolve() == (tmp_path / base).resolve()
    assert read(tmp_path / path)[0][0].values["image"] == image
    assert_near(objects_of(tmp_path / path), pixels=0.001)


def test_without_a_yaml_all_images_are_read_and_classes_txt_has_the_names(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    assert kind(tmp_path) == "yolo"
    found = objects_of(tmp_path)
    assert [item.label for item in found["a.png"]] == ["0", "2"]
    for place in ("labels/train", "labels", "."):
        (tmp_path / place / "classes.txt").write_text("\n".join(NAMES) + "\n", "utf-8")
        if place != "labels/train":  # the names of all lie above the splits
            assert_near(objects_of(tmp_path), pixels=0.001)
        (tmp_path / place / "classes.txt").unlink()


def test_a_split_below_images_finds_the_names_above_it(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n", "utf-8")
    assert_near(objects_of(tmp_path / "images" / "train"), pixels=0.001)


def test_a_photograph_of_a_kind_that_is_not_read_is_a_bad_row(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "z.HEIC").write_bytes(b"\0\0\0\x24ftypheic")
    (bad,) = read(tmp_path)[1]
    assert bad.reason == "'images/train/z.HEIC' is HEIC, which is not read; save it as JPEG or PNG"


def test_roboflows_layout_and_its_wrong_path_are_understood(tmp_path: Path) -> None:
    write_yolo(tmp_path / "from")
    shutil.copytree(tmp_path / "from" / "images" / "train", tmp_path / "to" / "train" / "images")
    shutil.copytree(tmp_path / "from" / "labels" / "train", tmp_path / "to" / "train" / "labels")
    names = ", ".join(NAMES)
    (tmp_path / "to" / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\nnames: [{names}]\n")
    for path, base in (("data.yaml", "."), (".", "."), ("train", "train")):
        assert kind(tmp_path / "to" / path) == "yolo"
        assert root(tmp_path / "to" / path).resolve() == (tmp_path / "to" / base).resolve()
        assert_near(objects_of(tmp_path / "to" / path), pixels=0.001)


def test_a_list_of_images_is_read_in_its_order(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "list.txt").write_text("./images/train/ü.png\r\nimages\\train\\a.png\n\n../outside.png\n", "utf-8")
    (tmp_path / "data.yaml").write_text("train: [list.txt]\nnames: {0: cat, 1: dog, 2: bird}")
    good, bad = read(tmp_path)
    assert [row.values["image"] for row in good] == ["images/train/ü.png", "images/train/a.png"]
    assert [(row.row, row.reason) for row in bad] == [(3, "'../outside.png' leads out of the data folder")]


def test_what_is_no_yolo_is_not_taken_for_it(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "labels" / "a.png")  # masks
    (tmp_path / "recipe.yaml").write_text("model: x\ndata: {train: a.csv}\n")
    for path in (".", "images", "labels", "recipe.yaml", "missing", "missing.yaml"):
        assert kind(tmp_path / path) is None


def test_an_image_is_upright_before_boxes_are_measured(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for ending in ("jpg", "png", "tiff", "webp"):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = tmp_path / "images" / "train" / f"turned.{ending}"
        Image.new("RGB", SIZE).save(path, exif=exif)
        labels_of(tmp_path, "turned.txt").write_text("0 0.5 0.5 1 1\n")
        found = objects_of(tmp_path)[path.name]
        assert found[0].box == (0, 0, SIZE[1], SIZE[0]), ending
        path.unlink()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.1", "has 4 numbers: expected are class"),
        ("0 0.5 0.5 0.1 0.1 0.9", "has 6 numbers: expected are class"),
        ("0", "has 1 numbers"),
        ("cat 0.5 0.5 0.1 0.1", "holds something that is not a number"),
        ("0 0.5 0.5 0.1 x", "holds something that is not a number"),
        ("0 320 240 10 10", "320 is not between 0 and 1"),
        ("0 0.5 0.5 nan 0.1", "nan is not between 0 and 1"),
        ("0 0.5 0.5 0 0.1", "its box has no width"),
        ("0 0.5 0.5 0.1 1e999", "inf is not between"),
        ("0 0.95 0.5 0.2 0.1", "its box reaches to x = 67.2, the image is 64 wide"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "its box has no width"),
        ("3 0.5 0.5 0.1 0.1", "class 3 has no name: there are 3, 0 to 2"),
        ("-1 0.5 0.5 0.1 0.1", "the class is -1, not a whole number"),
        ("0.5 0.5 0.5 0.1 0.1", "the class is 0.5, not a whole number"),
        ("nan 0.5 0.5 0.1 0.1", "the class is nan"),
        ("9" * 400 + " 0.5 0.5 0.1 0.1", "the class is inf"),
    ],
)
def test_a_fault_is_said_with_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = labels_of(write_yolo(tmp_path))
    path.write_text(f"0 0.5 0.5 0.1 0.1\r\n\r\n{line}\n1 0.5 0.5 0.1 0.1\n")
    good, bad = read(tmp_path)
    assert [(row.file, row.row, row.column) for row in bad] == [(str(path), 3, "objects")]
    assert reason in bad[0].reason
    assert len(good) == 2
    assert len(read(tmp_path, only=["image"])[0]) == 3


def test_rounding_at_the_edge_is_no_fault(tmp_path: Path) -> None:
    labels_of(write_yolo(tmp_path)).write_text("0 0.500001 0.5 1.000001 1\n2.0 0.5 0.5 .1 1e-1")
    assert [item.label for item in objects_of(tmp_path)["a.png"]] == ["cat", "小鸟"]


def test_an_image_without_a_label_file_has_no_objects(tmp_path: Path) -> None:
    labels_of(write_yolo(tmp_path), "ü.txt").unlink()
    assert objects_of(tmp_path)["ü.png"] == ()


def test_a_label_file_without_an_image_is_said(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "a.png").unlink()
    good, bad = read(tmp_path)
    assert len(good) == 2
    assert [(row.file, row.row) for row in bad] == [(str(labels_of(tmp_path)), 1)]
    assert "no image of this name" in bad[0].reason


def test_what_is_not_read_is_remarked(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    assert remarks(tmp_path, file="birds") == ["birds: of train, val only train is read"]
    labels_of(tmp_path, "ü.txt").unlink()
    assert remarks(tmp_path / "images", file="birds") == [
        "birds: 1 of 3 images have no label file and count as images without objects"
    ]


def test_labels_in_no_known_place_are_an_error(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    shutil.move(tmp_path / "labels", tmp_path / "label")
    with pytest.raises(DataError, match="none of the 3 images has a label file"):
        read(tmp_path)
    assert len(read(tmp_path, only=["image"])[0]) == 3


def test_labels_that_are_no_text_are_a_bad_row(tmp_path: Path) -> None:
    labels_of(write_yolo(tmp_path)).write_bytes(b"0 0.5 \xff")
    assert [row.reason for row in read(tmp_path)[1]] == ["the text is not UTF-8"]


def test_an_image_that_cannot_be_measured_is_a_bad_row(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0\xff\xff\xff\xff"):
        (tmp_path / "images" / "train" / "a.png").write_bytes(content)
        good, bad = read(tmp_path)
        assert len(good) == 2
        assert [(row.row, row.column) for row in bad] == [(1, "image")]
        assert "a.png" in bad[0].reason


def test_an_image_too_large_to_be_read_is_refused_by_its_header(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "b.png").write_bytes(png(30_000, 30_000, iter([bytes(90_000)])))
    _, bad = read(tmp_path)
    assert [row.reason for row in bad if "900 million" in row.reason]


def test_masks_are_drawn_from_outlines(tmp_path: Path) -> None:
    good, bad = read(write_yolo(tmp_path, outlines=True), only=["image", "mask"])
    assert not bad
    masks = [parse_mask(row.values["mask"]) for row in good]
    assert isinstance(masks[0], DrawnMask)
    assert masks[0].names == ("background", *NAMES)
    np.testing.assert_array_equal(masks[0].read(), np.full((48, 64), 3))


def test_a_mask_needs_outlines_and_names(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    good, bad = read(tmp_path, only=["mask"])
    assert [row.row for row in bad] == [1, 1]
    assert "has a box but no outline" in bad[0].reason
    assert len(good) == 1
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match="the classes have no names"):
        read(tmp_path, only=["mask"])


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ("train: images/nowhere\nnames: [a]", 1, "the images of train are not there"),
        ("train: 3\nnames: [a]", 1, "train is not the path"),
        ("train: []\nnames: [a]", 1, "train is not the path"),
        ("train: images/train\nnames: 3", 1, "names is not a list"),
        ("train: images/train\nnames: [yes, no]", 1, "the name of class 0 is not text"),
        ("train: images/train\nnames: {a: b}", 1, "a key of names is not a class number"),
        ("train: images/train\nnames: [a]\nkpt_shape: [17, 3]", 1, "key points"),
        ("train: images/train\nnames: [a\n", 3, "is not valid YAML"),
        ("train: images/train\nnames: !!python/object:os.system [a]", 2, "is not valid YAML"),
        ("train: images/train\nnames: 2026-99-99", 1, "cannot be read"),
        ("train: images/train\nnames: " + "[" * 900, 1, "nested too deep"),
        ("train: images/labelless\nnames: [a]", 1, "there are no images"),
    ],
)
def test_a_yaml_that_cannot_be_used_is_an_error(tmp_path: Path, text: str, row: int, reason: str) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images" / "labelless").mkdir()
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        list(rows(tmp_path, file=str(tmp_path)))
    assert f"row {row}: " in str(caught.value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_aliases_in_a_yaml_do_not_blow_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "train: *a11", "names: *a11"]))
    with pytest.raises(DataError, match="train is not the path"):
        read(tmp_path)
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "train: images/train", "names: *a11"]))
    with pytest.raises(DataError, match="the name of class 0 is not text"):
        read(tmp_path)


def test_a_link_that_leads_out_keeps_its_name(tmp_path: Path) -> None:
    write_yolo(tmp_path / "data")
    draw(tmp_path / "outside.png")
    (tmp_path / "data" / "images" / "train" / "z.png").symlink_to(tmp_path / "outside.png")
    assert read(tmp_path / "data")[0][2].values["image"] == "images/train/z.png"


def test_a_name_that_is_no_unicode_is_a_bad_row(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    shutil.copy(tmp_path / "images" / "train" / "a.png", bytes(tmp_path / "images" / "train") + b"/\xff.png")
    good, bad = read(tmp_path)
    assert len(good) == 3
    assert "surrogate" in bad[0].reason
    assert parse_objects(good[0].values["objects"])
