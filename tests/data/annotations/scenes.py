"""A scene with objects, written in each of the formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regraft.data.annotations import rows
from regraft.data.cells import Row
from regraft.data.example import BadRow
from regraft.data.objects import Object, Rle, parse_objects

NAMES = ("cat", "dog", "小鸟")
SIZE = (64, 48)  # width, height
SCENES: dict[str, tuple[Object, ...]] = {
    "a.png": (
        Object("cat", (4, 6, 20, 30), segments=((4, 6, 20, 6, 20, 30, 4, 30),)),
        Object("小鸟", (0, 0, 64, 48), segments=((0, 0, 64, 0, 64, 48, 0, 48),)),
    ),
    "b c.png": (),
    "ü.png": (Object("dog", (10.5, 2.25, 12.5, 40), segments=((10.5, 2.25, 12.5, 20, 11, 40),)),),
}


def draw(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "navy").save(path)


def coco(scenes: dict[str, tuple[Object, ...]] = SCENES) -> dict[str, Any]:
    """The content of a COCO json."""
    images, annotations = [], []
    for number, (name, objects) in enumerate(scenes.items(), start=1):
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        for item in objects:
            x1, y1, x2, y2 = item.box
            annotations.append(
                {
                    "id": 100 + len(annotations),
                    "image_id": number,
                    "category_id": 10 + NAMES.index(item.label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(item.crowd),
                    "segmentation": segmentation(item),
                }
            )
    categories = [{"id": 10 + place, "name": name, "supercategory": "animal"} for place, name in enumerate(NAMES)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def segmentation(item: Object) -> Any:
    if isinstance(item.segments, Rle):
        counts = item.segments.counts
        size = [item.segments.height, item.segments.width]
        return {"size": size, "counts": counts if isinstance(counts, str) else list(counts)}
    return [list(polygon) for polygon in item.segments]


def write_coco(folder: Path, content: Any = None, name: str = "instances.json") -> Path:
    for scene in SCENES:
        draw(folder / scene)
    path = folder / name
    path.write_text(json.dumps(coco() if content is None else content), "utf-8")
    return path


def write_yolo(folder: Path, *, outlines: bool = False) -> Path:
    """images/train and labels/train, with data.yaml."""
    for name, objects in SCENES.items():
        draw(folder / "images" / "train" / name)
        lines = [yolo_line(item, outline=outlines) for item in objects]
        labels = (folder / "labels" / "train" / name).with_suffix(".txt")
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("".join(line + "\n" for line in lines))
    names = "".join(f"  {place}: {name}\n" for place, name in enumerate(NAMES))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}", "utf-8")
    return folder


def yolo_line(item: Object, *, outline: bool) -> str:
    width, height = SIZE
    x1, y1, x2, y2 = item.box
    if outline:
        assert isinstance(item.segments, tuple)
        numbers = [v / SIZE[place % 2] for place, v in enumerate(item.segments[0])]
    else:
        numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    return " ".join([str(NAMES.index(item.label)), *(f"{number:.6f}" for number in numbers)])


def write_voc(folder: Path) -> Path:
    for name, objects in SCENES.items():
        draw(folder / "JPEGImages" / name)
        write_xml(folder, Path(name).stem, "".join(voc_object(item) for item in objects), name)
    return folder


def write_xml(folder: Path, stem: str, objects: str, filename: str = "", *, segmented: int = 0) -> Path:
    path = folder / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"<filename>{filename}</filename><size><width>64</width><height>48</height><depth>3</depth></size>"
    text = f"<annotation>\n{head}<segmented>{segmented}</segmented>\n{objects}</annotation>\n"
    path.write_text(text, "utf-8")
    return path


def voc_object(item: Object) -> str:
    x1, y1, x2, y2 = item.box
    corners = (
        f"<xmin>{round(x1) + 1}</xmin><ymin>{round(y1) + 1}</ymin><xmax>{round(x2)}</xmax><ymax>{round(y2)}</ymax>"
    )
    difficult = f"<difficult>{int(item.crowd)}</difficult>"
    return f"<object><name>{item.label}</name>{difficult}<bndbox>{corners}</bndbox></object>\n"


def read(path: Path, only: Sequence[str] | None = None) -> tuple[list[Row], list[BadRow]]:
    """The good rows and the bad ones."""
    found = list(rows(path, file=str(path), only=only))
    good, bad = [row for row in found if isinstance(row, Row)], [row for row in found if isinstance(row, BadRow)]
    for row in bad:
        assert row.row >= 1, row
        assert row.reason, row
        assert len(str(row)) < 2000, row
    return good, bad


def objects_of(path: Path) -> dict[str, tuple[Object, ...]]:
    """The objects of each image, by the name of its file."""
    good, bad = read(path)
    assert not bad, bad
    return {Path(row.values["image"]).name: parse_objects(row.values["objects"]) for row in good}


def assert_near(found: dict[str, tuple[Object, ...]], *, pixels: float = 1.0) -> None:
    """Equal to the scenes, in order, with boxes to within some pixels."""
    assert sorted(found) == sorted(SCENES)
    for name, expected in SCENES.items():
        assert [item.label for item in found[name]] == [item.label for item in expected]
        for one, other in zip(found[name], expected, strict=True):
            assert np.abs(np.subtract(one.box, other.box)).max() <= pixels, (name, one, other)
