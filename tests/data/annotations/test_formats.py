"""All formats: the same scene gives the same objects, and a damaged file never gives anything but a reason."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.data.annotations import kind, root, rows
from regraft.data.cells import Row
from regraft.data.example import BadRow
from regraft.data.masks import DrawnMask, parse_mask
from regraft.data.objects import Object, normalised, parse_objects
from regraft.data.table import read_table
from regraft.errors import DataError
from regraft.fingerprint import canonical
from regraft.recipe import DataOptions
from tests.data.annotations.scenes import (
    NAMES,
    SCENES,
    SIZE,
    assert_near,
    objects_of,
    read,
    write_coco,
    write_voc,
    write_yolo,
)


def from_table(path: Path) -> dict[str, tuple[Object, ...]]:
    found = list(read_table(str(path), DataOptions(train=str(path))))
    assert all(isinstance(row, Row) for row in found), found
    return {row.values["image"]: parse_objects(row.values["objects"]) for row in found if isinstance(row, Row)}


def write_jsonl(folder: Path) -> Path:
    def line(name: str) -> str:
        objects = [{"label": item.label, "box": item.box, "segments": item.segments} for item in SCENES[name]]
        return json.dumps({"image": name, "objects": objects})

    path = folder / "scenes.jsonl"
    path.write_text("\n".join(map(line, SCENES)), "utf-8")
    return path


def test_a_scene_has_equal_objects_in_every_format(tmp_path: Path) -> None:
    for name in ("coco", "yolo", "outlines", "voc"):
        (tmp_path / name).mkdir()
    everywhere = [
        objects_of(write_coco(tmp_path / "coco")),
        objects_of(write_yolo(tmp_path / "yolo")),
        objects_of(write_yolo(tmp_path / "outlines", outlines=True)),
        objects_of(write_voc(tmp_path / "voc")),
        from_table(write_jsonl(tmp_path)),
    ]
    for found in everywhere:
        assert_near(found)
        for name, objects in found.items():
            truth, expected = (normalised(some, NAMES, *SIZE) for some in (objects, SCENES[name]))
            np.testing.assert_allclose(truth, expected, atol=1 / min(SIZE))


def test_objects_in_a_csv_are_read_as_json(tmp_path: Path) -> None:
    lines = ["image,objects"]
    for name, objects in SCENES.items():
        cell = json.dumps([{"label": item.label, "box": item.box} for item in objects])
        lines.append('"{}","{}"'.format(name, cell.replace('"', '""')))
    path = tmp_path / "scenes.csv"
    path.write_text("\n".join(lines), "utf-8")
    assert_near(from_table(path), pixels=0)


def test_masks_from_coco_and_yolo_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    drawn = []
    for path in (write_coco(tmp_path / "coco"), write_yolo(tmp_path / "yolo", outlines=True)):
        masks = [parse_mask(row.values["mask"]) for row in read(path, only=["mask"])[0]]
        drawn.append([mask.read() for mask in masks if isinstance(mask, DrawnMask)])
    for one, other in zip(*drawn, strict=True):
        assert (one != other).mean() < 0.01  # six digits move what lies on the middle of a pixel


@pytest.mark.parametrize("write", [write_coco, write_yolo, write_voc])
def test_cells_are_json_and_only_those_that_are_wanted(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    for only in (["image"], ["objects"], ["image", "objects"]):
        good, bad = read(path, only=only)
        assert not bad
        assert all(sorted(row.values) == sorted(only) for row in good)
        assert all(json.loads(canonical(row.values)) for row in good)
    assert all((root(path) / row.values["image"]).is_file() for row in read(path, only=["image"])[0])


TOKENS = [
    *(
        b'"',
        b"[",
        b"]",
        b"{",
        b"}",
        b":",
        b",",
        b"\n",
        b"\0",
        b"\xff",
        b"\\",
        b"<",
        b">",
        b"&",
        b"/",
        b" ",
        b"\r\n",
        b"-",
    ),
    *(b"null", b"NaN", b"1e999", b"9" * 400, b"\\ud800", b"true", b"[[[[", b"..", b"<!DOCTYPE a>", b"\xe2\x80\xa8"),
    *(b"1.5", b"0", b"'", b"*a", b"&a", b"!!", b"\t", b"%", b"#", b"|", b"\xef\xbb\xbf", b"<object>", b"</object>"),
]


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few changes: bytes set, pieces cut, doubled or put in, a digit changed, the end cut off."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        place = draw.randrange(len(changed) + 1)
        length = draw.choice([1, 2, 3, 8, 64])
        match draw.randrange(8):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3 | 4:
                changed[place : place + draw.choice([0, 1])] = draw.choice(TOKENS)
            case 5 | 6:
                digits = [at for at, byte in enumerate(changed) if byte in b"0123456789"]
                if digits:
                    changed[draw.choice(digits)] = draw.choice(b"0123456789-.e")
            case _ if draw.random() < 0.3:
                del changed[place:]
    return bytes(changed)


def check(path: Path, only: list[str] | None) -> str:
    """What becomes of annotations: "none", "error", "bad rows" or "good"."""
    if kind(path) is None:
        return "none"
    problem = None
    try:
        root(path)
        found = list(rows(path, file="the file", only=only))
    except DataError as error:
        problem = str(error)
    if problem is not None:
        assert ", row " in problem
        assert len(problem) < 5000
        return "error"
    for row in found:
        assert row.row >= 1
        if isinstance(row, BadRow):
            assert row.reason
            assert len(str(row)) < 3000
        else:
            use(row)
    return "bad rows" if any(isinstance(row, BadRow) for row in found) else "good"


def use(row: Row) -> None:
    """Nothing in a good row makes what comes after it fail, but for a mask that has a reason."""
    canonical(row.values)
    if "objects" in row.values:
        normalised(parse_objects(row.values["objects"]), [*NAMES, *labels(row)], *SIZE)
    try:
        parse_mask(row.values.get("mask"))
    except ValueError as error:
        reason = str(error)
        assert len(reason) < 500, reason


def labels(row: Row) -> list[str]:
    return [item["label"] for item in row.values["objects"]]


KINDS = ["coco", "yolo labels", "yolo yaml", "voc"]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("what", KINDS)
def test_mutated_files_give_rows_or_reasons(tmp_path: Path, what: str, masks: bool) -> None:
    outcomes = fuzz(tmp_path, what, masks=masks, files=250)
    assert outcomes["good"] > 5, outcomes
    assert outcomes["error"] + outcomes["bad rows"] > 50, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("what", KINDS)
def test_thousands_of_mutated_files_give_rows_or_reasons(tmp_path: Path, what: str, masks: bool) -> None:
    assert sum(fuzz(tmp_path, what, masks=masks, files=2500).values()) == 2500


def fuzz(tmp_path: Path, what: str, *, masks: bool, files: int) -> Counter[str]:
    folder = tmp_path / "data"
    folder.mkdir()
    if what == "coco":
        path = victim = write_coco(folder)
    elif what == "voc":
        path = write_voc(folder)
        victim = folder / "Annotations" / "a.xml"
    else:
        path = write_yolo(folder, outlines=masks)
        victim = folder / ("data.yaml" if what == "yolo yaml" else "labels/train/a.txt")
    if what == "voc" and masks:
        (folder / "SegmentationClass").mkdir()
        shutil.copy(folder / "JPEGImages" / "a.png", folder / "SegmentationClass")
    draw, good, outcomes = random.Random(f"{what} {files}"), victim.read_bytes(), Counter[str]()
    ways: list[list[str] | None] = [["image", "mask"] if masks else ["image", "objects"]] * 4
    for _ in range(files):
        victim.write_bytes(mutate(good, draw))
        outcomes[check(path, draw.choice([*ways, ["image"], ["objects"], None]))] += 1
    return outcomes
