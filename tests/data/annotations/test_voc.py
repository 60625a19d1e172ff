"""VOC: an xml file for each image, and masks beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.data.annotations import header, kind, remarks, root, rows
from regraft.data.masks import open_mask
from regraft.data.objects import Object, parse_objects
from regraft.errors import DataError
from tests.data.annotations.scenes import SIZE, assert_near, draw, objects_of, read, voc_object, write_voc, write_xml

BOX = voc_object(Object("cat", (1, 2, 11, 22)))


def test_the_objects_of_each_image_are_read(tmp_path: Path) -> None:
    path = write_voc(tmp_path)
    assert kind(path) == "voc"
    assert header(path, file="x") == ["image", "objects"]
    assert root(path) == path
    assert_near(objects_of(path))
    assert [row.values["image"] for row in read(path)[0]] == [f"JPEGImages/{name}.png" for name in ("a", "b c", "ü")]


def test_pixels_are_numbered_from_one(tmp_path: Path) -> None:
    write_voc(tmp_path)
    corners = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>48.0</ymax></bndbox>"
    write_xml(tmp_path, "a", f"<object><name>cat</name>{corners}</object>")
    assert objects_of(tmp_path)["a.png"] == (Object("cat", (0, 0, 64, 48)),)
    write_xml(tmp_path, "a", f"<object><name>cat</name>{corners.replace('>1<', '>0<')}</object>")
    assert objects_of(tmp_path)["a.png"] == (Object("cat", (0, 0, 64, 48)),)


def test_boxes_know_the_size_that_their_image_had(tmp_path: Path) -> None:
    write_voc(tmp_path)
    xml = write_xml(tmp_path, "a", BOX)
    assert [item.drawn_on for item in objects_of(tmp_path)["a.png"]] == [SIZE]
    for odd in ("", "0", "-64", "many", "9" * 5000):
        xml.write_text(write_xml(tmp_path, "a", BOX).read_text("utf-8").replace(">64<", f">{odd}<"), "utf-8")
        assert [item.drawn_on for item in objects_of(tmp_path)["a.png"]] == [None]


def test_what_is_difficult_is_a_crowd(tmp_path: Path) -> None:
    write_voc(tmp_path)
    write_xml(tmp_path, "a", BOX + voc_object(Object("dog", (1, 2, 3, 4), crowd=True)))
    assert [item.crowd for item in objects_of(tmp_path)["a.png"]] == [False, True]


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    write_voc(tmp_path)
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    write_xml(tmp_path, "a", BOX.replace("</object>", f"{part}</object>"))
    assert [item.label for item in objects_of(tmp_path)["a.png"]] == ["cat"]


def test_a_list_in_image_sets_chooses_the_rows(tmp_path: Path) -> None:
    write_voc(tmp_path)
    path = tmp_path / "ImageSets" / "Main" / "train.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes("ü\r\na\r\nmissing\n".encode())
    assert kind(path) == "voc"
    assert root(path) == tmp_path
    good, bad = read(path)
    assert [row.values["image"] for row in good] == ["JPEGImages/ü.png", "JPEGImages/a.png"]
    assert [Path(row.file).name for row in bad] == ["missing.xml"]
    for text, reason in (("a 1\n", "is not the name"), ("x\n../a\n", "row 2"), ("\n", "the list is empty")):
        path.write_text(text)
        with pytest.raises(DataError, match=reason):
            list(rows(path, file="train.txt"))


def test_what_is_no_voc_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "a.txt").write_text("a")
    for path in (".", "Annotations", "a.txt", "missing"):
        assert kind(tmp_path / path) is None


def test_the_image_is_the_one_of_the_same_name_or_the_one_that_is_named(tmp_path: Path) -> None:
    write_voc(tmp_path)
    write_xml(tmp_path, "a", BOX, "renamed long ago.jpg")
    write_xml(tmp_path, "other", BOX, "VOC\\JPEGImages\\ü.png")
    draw(tmp_path / "JPEGImages" / "ü.jpg")
    write_xml(tmp_path, "ü", BOX, "ü.jpg")
    write_xml(tmp_path, "lost", BOX, "lost.jpg")
    good, bad = read(tmp_path)
    assert {row.values["image"] for row in good} == {
        f"JPEGImages/{name}" for name in ("a.png", "b c.png", "ü.png", "ü.jpg")
    }
    assert [(Path(row.file).name, row.column) for row in bad] == [("lost.xml", "image")]
    assert "no image of this name in JPEGImages/, nor 'lost.jpg'" in bad[0].reason
    write_xml(tmp_path, "ü", BOX)
    assert "there are 2 images of this name" in read(tmp_path)[1][-1].reason


@pytest.mark.parametrize(
    ("objects", "row", "reason"),
    [
        (BOX + BOX.replace("<xmax>11</xmax>", "<xmax>1</xmax>"), 2, "object 2: its box has no width"),
        (BOX.replace("<xmax>11</xmax>", ""), 1, "object 1: its bndbox has not the numbers"),
        (BOX.replace("11", "eleven"), 1, "object 1: its bndbox has not the numbers"),
        (BOX.replace("11", "nan"), 1, "object 1: its box holds something that is not a finite number"),
        (BOX.replace("11", "9" * 400), 1, "object 1: its box holds something that is not a finite number"),
        (BOX.replace("cat", " "), 1, "object 1: its label is empty"),
        ("<object><name>cat</name></object>", 1, "object 1: has no bndbox"),
        ("<object>", 4, "is not valid XML: mismatched tag"),
    ],
)
def test_a_fault_is_said_with_file_and_object(tmp_path: Path, objects: str, row: int, reason: str) -> None:
    write_voc(tmp_path)
    path = write_xml(tmp_path, "a", objects)
    if row == 4:
        path.write_text(path.read_text().replace("</annotation>", "\n</annotation>"))
    good, bad = read(tmp_path)
    assert [(found.file, found.row) for found in bad] == [(str(path), row)]
    assert reason in bad[0].reason
    assert len(good) == 2
    assert len(read(tmp_path, only=["image"])[0]) == 3


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>'.encode(), "DOCTYPE"),
        (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>'.encode("utf-16"), "DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE"),
        (b"<annotation>&x;</annotation>", "undefined entity"),
        (b"", "no element found"),
        (b"<a/>", "begins with <a>"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "encoding"),
        (b'<?xml version="1.0" encoding="gb18030"?><annotation/>', "encoding"),
        (b"<annotation>\n\xff</annotation>", "not well-formed"),
        (b"<annotation>" + b"<a>" * 200_000, "no element found"),
        (b"<annotation>" + b" " * 16_000_000, "has more than 16,000,000 bytes"),
    ],
    ids=[
        "laughs",
        "laughs in utf-16",
        "external",
        "entity",
        "empty",
        "other",
        "klingon",
        "gb",
        "bytes",
        "deep",
        "long",
    ],
)
def test_xml_that_is_not_to_be_read_is_a_bad_row(tmp_path: Path, content: bytes, reason: str) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_bytes(content)
    good, bad = read(tmp_path)
    assert len(good) == 2
    assert len(bad) == 1
    assert reason in bad[0].reason


def test_deep_xml_that_is_whole_is_read(tmp_path: Path) -> None:
    write_voc(tmp_path)
    write_xml(tmp_path, "a", "<a>" * 100_000 + "</a>" * 100_000 + BOX)
    assert len(objects_of(tmp_path)["a.png"]) == 1


def test_utf16_and_latin_xml_are_read(tmp_path: Path) -> None:
    write_voc(tmp_path)
    text = write_xml(tmp_path, "a", BOX.replace("cat", "Bär")).read_text("utf-8")
    for encoding in ("utf-16", "iso-8859-1"):
        head = f'<?xml version="1.0" encoding="{encoding}"?>'
        (tmp_path / "Annotations" / "a.xml").write_bytes((head + text).encode(encoding))
        assert objects_of(tmp_path)["a.png"][0].label == "Bär"


def test_images_without_xml_are_remarked(tmp_path: Path) -> None:
    write_voc(tmp_path)
    assert remarks(tmp_path, file="birds") == []
    draw(tmp_path / "JPEGImages" / "more.png")
    assert remarks(tmp_path, file="birds") == ["birds: 1 images in JPEGImages/ have no xml file and are not read"]


def test_no_xml_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="there are no xml files"):
        read(tmp_path)


def test_masks_are_the_files_of_the_images_that_are_segmented(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(np.array([[0, 3, 255]], np.uint8)).save(tmp_path / "SegmentationClass" / "ü.png")
    assert header(tmp_path, file="x") == ["image", "objects", "mask"]
    good, bad = read(tmp_path, only=["image", "mask"])
    assert [row.values for row in good] == [{"image": "JPEGImages/ü.png", "mask": "SegmentationClass/ü.png"}]
    assert not bad
    assert open_mask(root(tmp_path) / good[0].values["mask"]).values == (0, 3, 255)
    write_xml(tmp_path, "a", "", segmented=1)
    assert "there is no SegmentationClass/a.png" in read(tmp_path, only=["image", "mask"])[1][0].reason


def test_objects_are_what_a_cell_may_hold(tmp_path: Path) -> None:
    row = read(write_voc(tmp_path))[0][0]
    assert len(parse_objects(row.values["objects"])) == 2
