"""Columns that name files, and folders of images in place of tables."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.data import BadRow, Column, Example, Splits, load_splits, read_examples, stream_examples
from regraft.data.folders import Root
from regraft.data.pictures import Picture, open_picture
from regraft.data.table import read_header
from regraft.errors import DataError
from tests.data.images import write_image
from tests.data.samples import COLUMNS, LABEL, options_for, parse_text

Write = Callable[[str, str | bytes], str]


def open_mask(path: Path) -> str:
    """Any file will do for a mask here."""
    return path.read_bytes().hex()[:16]


IMAGE = Column("image", "input", parse_text, synonyms=("file_name", "path"), opens=open_picture)
MASK = Column("mask", "target", parse_text, opens=open_mask)
IMAGES = (IMAGE, LABEL)


def read(
    path: str | Path, columns: tuple[Column, ...] = IMAGES, **given: Any
) -> tuple[list[Example], list[BadRow], dict[str, str]]:
    return read_examples(str(path), columns, options_for(path, **{"on_bad_rows": "skip", **given}))


def bad(path: str | Path, columns: tuple[Column, ...] = IMAGES, **given: Any) -> list[str]:
    return [str(row) for row in read(path, columns, **given)[1]]


def error(path: str | Path, columns: tuple[Column, ...] = IMAGES, **given: Any) -> str:
    with pytest.raises(DataError) as raised:
        read(path, columns, **given)
    return str(raised.value)


def load(path: str | Path, columns: tuple[Column, ...] = IMAGES, **given: Any) -> Splits:
    return load_splits(options_for(path, **given), columns, seed=0, stratify=True)


def images(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write_image(folder / name, seed=seed)


# A column of paths.


def test_a_path_in_a_cell_starts_from_the_folder_of_the_table(tmp_path: Path, write: Write) -> None:
    images(tmp_path, "pictures/a.png", "b.jpg")
    (first, second), _, mapping = read(write("a.csv", "file_name,label\npictures/a.png,cat\nb.jpg,dog\n"))
    assert isinstance(first.inputs["image"], Picture)
    assert first.inputs["image"].path == str(tmp_path / "pictures" / "a.png")
    assert (second.target, second.row) == ("dog", 3)
    assert mapping == {"image": "file_name", "label": "label"}


def test_a_named_folder_is_where_paths_start_from(tmp_path: Path, write: Write) -> None:
    images(tmp_path, "elsewhere/a.png")
    path = write("tables.csv", "image,label\na.png,cat\n")
    assert len(read(path, images=str(tmp_path / "elsewhere"))[0]) == 1
    assert "data.images = " in error(path, images=path)


def test_a_table_named_without_a_folder_is_read_where_one_is(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path, "a.png")
    write("a.csv", "image,label\na.png,cat\n")
    monkeypatch.chdir(tmp_path)
    ((found,), _, _) = read("a.csv")
    monkeypatch.chdir("/")
    assert found.inputs["image"].pixels().shape == (16, 24, 3)


def test_every_file_that_cannot_be_used_names_its_row_and_column(tmp_path: Path, write: Write) -> None:
    images(tmp_path, "good.png", "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-200])
    rows = ["good.png", "cut.png", "god.png", "GOOD.PNG", "good.jpeg", "none/a.png", "", "http://x.org/a.png", "a.csv"]
    path = write("a.csv", "path,label\n" + "".join(f"{row},cat\n" for row in rows))
    assert bad(path) == [
        f"{path}, row 3, column 'path': is truncated: the file ends before the picture does",
        f"{path}, row 4, column 'path': names no file: 'god.png'; did you mean 'good.png'?",
        f"{path}, row 5, column 'path': names no file: 'GOOD.PNG'; did you mean 'good.png'?",
        f"{path}, row 6, column 'path': names no file: 'good.jpeg'; did you mean 'good.png'?",
        f"{path}, row 7, column 'path': names no file: 'none/a.png'; there is no folder {tmp_path}/none",
        f"{path}, row 8, column 'path': is empty",
        f"{path}, row 9, column 'path': is an address: 'http://x.org/a.png'; fetch the file into the data folder first",
        f"{path}, row 10, column 'path': is no image that can be read: it begins with b'path,label\\ngood.', "
        "and read are PNG, JPEG, WebP, GIF, TIFF, BMP and PPM",
    ]


@pytest.mark.parametrize(
    "cell", ["../secret.png", "/etc/hostname", "link.png", "folder/a.png", "inside/../../secret.png"]
)
def test_no_path_leads_out_of_the_data_folder(tmp_path: Path, cell: str) -> None:
    data = tmp_path / "data"
    images(tmp_path, "secret.png", "other/a.png", "data/inside/a.png")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    (data / "folder").symlink_to(tmp_path / "other")
    (data / "a.csv").write_text(f"image,label\n{cell},cat\ninside/a.png,dog\n")
    (said,) = bad(data / "a.csv")
    assert f"row 2, column 'image': leads out of the data folder {data}" in said


@pytest.mark.parametrize("cell", ["link.png", "folder/a.png", "inside/../inside/a.png", "{data}/inside/a.png"])
def test_paths_and_links_that_stay_inside_are_fine(tmp_path: Path, cell: str) -> None:
    data = tmp_path / "data"
    images(data, "inside/a.png")
    (data / "link.png").symlink_to("inside/a.png")
    (data / "folder").symlink_to(data / "inside")
    (data / "a.csv").write_text(f"image,label\n{cell.format(data=data)},cat\n")
    assert len(read(data / "a.csv")[0]) == 1


def test_the_data_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    images(tmp_path, "real/a.png")
    (tmp_path / "data").symlink_to("real")
    (tmp_path / "data" / "a.csv").write_text(f"image,label\n{tmp_path}/real/a.png,cat\na.png,dog\n")
    assert len(read(tmp_path / "data" / "a.csv")[0]) == 2


@pytest.mark.parametrize("name", ["loop.png", "x" * 5000, "a\0b", "."])
def test_a_path_that_cannot_be_has_a_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(ValueError, match="."):
        Root(tmp_path).find(name)


def test_a_target_may_be_a_file_too(tmp_path: Path, write: Write) -> None:
    images(tmp_path, "a.png", "b.png")
    path = write("a.jsonl", '{"image": "a.png", "mask": "b.png"}\n{"image": "a.png", "mask": "c.png"}\n')
    examples, rows, _ = read(path, (IMAGE, MASK))
    assert examples[0].target == (tmp_path / "b.png").read_bytes().hex()[:16]
    assert [(row.row, row.column) for row in rows] == [(2, "mask")]


def test_what_a_cell_holds_that_is_no_path_is_not_opened(write: Write, tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    drawn = Column("mask", "target", lambda cell: tuple(cell), opens=open_mask)
    (found,), _, _ = read(write("a.jsonl", '{"image": "a.png", "mask": [1, 2]}'), (IMAGE, drawn))
    assert found.target == (1, 2)


def test_files_are_opened_in_several_threads_and_come_in_the_order_of_the_rows(tmp_path: Path, write: Write) -> None:
    def slow(path: Path) -> Picture:
        time.sleep(0.002 * (int(path.stem) % 7))
        return open_picture(path)

    images(tmp_path, *(f"{number}.png" for number in range(150)))
    path = write("a.csv", "image,label\n" + "".join(f"{number}.png,x\n" for number in range(150)))
    columns = (Column("image", "input", parse_text, opens=slow), LABEL)
    assert [example.row for example in read(path, columns)[0]] == list(range(2, 152))
    assert read(path, columns) == read(path)


def test_prediction_reads_few_rows_ahead(tmp_path: Path, write: Write) -> None:
    images(tmp_path, "a.png")
    opened: list[Path] = []

    def count(path: Path) -> Picture:
        opened.append(path)
        return open_picture(path)

    path = write("a.csv", "image\n" + "a.png\n" * 5000)
    stream = stream_examples(path, (Column("image", "input", parse_text, opens=count), LABEL), options_for(path))
    assert next(stream).row == 2
    stream.close()  # type: ignore[attr-defined]
    assert len(opened) < 1000


# A folder per class.


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    images(folder, "dog/2.png", "dog/10.jpg", "cat/deep/1.webp", "cat/3.png")
    return folder


def test_a_folder_for_each_class_is_a_table_sorted_by_path(pets: Path) -> None:
    examples, rows, mapping = read(pets)
    assert mapping == {"image": "image", "label": "label"}
    assert rows == []
    assert [(example.file, example.row, example.target) for example in examples] == [
        (f"{pets}/cat/3.png", 1, "cat"),
        (f"{pets}/cat/deep/1.webp", 2, "cat"),
        (f"{pets}/dog/10.jpg", 3, "dog"),
        (f"{pets}/dog/2.png", 4, "dog"),
    ]


def test_a_damaged_image_in_a_folder_is_named(pets: Path) -> None:
    (pets / "dog" / "2.png").write_bytes(b"not an image")
    (said,) = bad(pets)
    assert said.startswith(f"{pets}/dog/2.png, row 4, column 'image': is no image that can be read")
    assert f"{pets}: 1 of 4 rows cannot be used\n  {pets}/dog/2.png, row 4" in error(pets, on_bad_rows="error")


def test_a_photograph_of_a_kind_that_is_not_read_is_named_and_not_passed_over(pets: Path) -> None:
    (pets / "dog" / "9.HEIC").write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic")
    (said,) = bad(pets)
    assert said == (f"{pets}/dog/9.HEIC, row 5, column 'image': is HEIC, which is not read; save it as JPEG or PNG")


def test_what_is_passed_over_is_counted(pets: Path) -> None:
    for name in ("dog/Thumbs.db", "dog/.DS_Store", "cat/._3.png", "cat/notes.txt", ".git/a.png", "README.md"):
        (pets / name).parent.mkdir(exist_ok=True)
        (pets / name).write_bytes(b"?")
    (pets / "bird").mkdir()
    write_image(pets / "lost.png", seed=9)
    assert len(read(pets)[0]) == 4
    assert load(pets, split={"train": 1.0, "validation": 0.0, "test": 0.0}).notes == [
        f"{pets}: 4 files not named like an image are passed over: "
        "cat/._3.png, cat/notes.txt, dog/.DS_Store and 1 more.",
        f"{pets}: 1 file in no folder of a class is passed over: lost.png.",
        f"{pets}: there are no images in 'bird'.",
    ]


def test_links_in_a_folder_are_followed_inside_it_only(pets: Path, tmp_path: Path) -> None:
    images(tmp_path, "outside/a.png", "alone.png")
    (pets / "bird").symlink_to(tmp_path / "outside")
    (pets / "cat" / "far.png").symlink_to(tmp_path / "alone.png")
    (pets / "cat" / "up").symlink_to(pets)
    (pets / "dog" / "near").symlink_to(pets / "cat" / "deep")
    examples, rows, _ = read(pets)
    assert [(row.file, row.reason[:28]) for row in rows] == [
        (f"{pets}/bird", "leads out of the data folder"),
        (f"{pets}/cat/far.png", "leads out of the data folder"),
        (f"{pets}/cat/up", "is a symlink to a folder that it lies in"[:28]),
    ]
    assert f"{pets}/dog/near/1.webp" in [example.file for example in examples]


def test_a_name_that_is_no_text_is_a_bad_row(pets: Path) -> None:
    (pets / "dog" / "2.png").rename(os.fsdecode(os.fsencode(pets) + b"/dog/\xff.png"))
    (said,) = bad(pets)
    assert said == f"{pets}/dog/\\udcff.png, row 4: has a name that is not UTF-8"


def test_the_same_folder_gives_the_same_examples(pets: Path) -> None:
    assert read(pets) == read(pets)


def test_a_folder_is_nothing_for_a_task_that_reads_texts(pets: Path) -> None:
    with pytest.raises(DataError, match="is not a file but a folder\n  → name a table"):
        read(pets, COLUMNS)


def test_a_folder_without_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    assert f"{tmp_path} is not a file but a folder, and one without images" in error(tmp_path)


def test_a_folder_that_does_not_say_what_is_asked_says_what_to_write(pets: Path) -> None:
    said = error(pets, (IMAGE, MASK))
    assert f"{pets} holds a folder for each class; that does not say what the 'mask' of an image is" in said
    assert "annotations in COCO" in said
    assert "holds images alone; that does not say what the 'label'" in error(pets / "dog")


def test_prediction_takes_a_folder_of_images_alone(pets: Path) -> None:
    items = list(stream_examples(str(pets / "dog"), IMAGES, options_for(pets / "dog")))
    assert [(item.file, item.row) for item in items] == [(f"{pets}/dog/10.jpg", 1), (f"{pets}/dog/2.png", 2)]


# A table in the folder.


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_metadata_in_a_folder_is_its_table(pets: Path, ending: str) -> None:
    rows = [("cat/3.png", "a cat"), ("dog/2.png", "a dog"), ("dog/3.png", "none")]
    path = pets / f"metadata.{ending}"
    if ending == "csv":
        path.write_text("file_name,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    else:
        path.write_text("".join(json.dumps({"file_name": name, "label": label}) + "\n" for name, label in rows))
    examples, _, _ = read(pets)
    assert [(example.file, example.target) for example in examples] == [(str(path), "a cat"), (str(path), "a dog")]
    assert bad(pets)[0].startswith(f"{path}, row {4 if ending == 'csv' else 3}, column 'file_name': names no file")


def test_two_tables_in_a_folder_are_one_too_many(pets: Path) -> None:
    (pets / "metadata.csv").write_text("file_name,label\n")
    (pets / "metadata.jsonl").write_text("{}")
    assert "holds metadata.csv and metadata.jsonl" in error(pets)


# The sides of a split.


@pytest.fixture
def sided(tmp_path: Path) -> Path:
    folder = tmp_path / "sided"
    names = [
        f"{side}/{label}/{number}.png"
        for side, count in (("train", 12), ("val", 3), ("test", 4))
        for label in ("cat", "dog")
        for number in range(count)
    ]
    images(folder, *names)
    return folder


def test_folders_of_a_split_are_its_sides(sided: Path) -> None:
    splits = load(sided)
    assert [len(side) for side in (splits.train, splits.validation, splits.test)] == [24, 6, 8]
    assert splits.train[0].file == f"{sided}/train/cat/0.png"


def test_a_side_that_is_named_goes_before_the_one_in_the_folder(sided: Path) -> None:
    splits = load(sided, test=str(sided / "val"), validation=str(sided / "test"))
    assert (len(splits.validation), len(splits.test)) == (8, 6)


def test_a_side_that_is_not_there_is_carved_from_train(sided: Path) -> None:
    (sided / "val").rename(sided.parent / "val")
    splits = load(sided)
    assert len(splits.test) == 8
    assert len(splits.train) + len(splits.validation) == 24
    assert splits.validation


def test_a_folder_with_one_side_twice_is_refused(sided: Path) -> None:
    images(sided, "valid/cat/1.png")
    with pytest.raises(DataError, match="holds the folders val and valid"):
        load(sided)


def test_asked_for_rows_a_folder_of_sides_says_which_there_are(sided: Path) -> None:
    with pytest.raises(DataError, match="holds the folders of a split\n  → name one: .*train, .*val, .*test"):
        read_header(str(sided), options_for(sided))


# Images with masks.


def test_images_and_masks_are_joined_by_their_names(tmp_path: Path) -> None:
    images(tmp_path, "images/a.jpg", "images/b/c.jpg", "images/d.jpg", "images/e.jpg")
    images(tmp_path, "masks/a.png", "masks/b/c.png", "masks/e.png", "masks/e.tif", "masks/lone.png")
    examples, rows, mapping = read(tmp_path, (IMAGE, MASK))
    assert mapping == {"image": "image", "mask": "mask"}
    assert [example.file for example in examples] == [f"{tmp_path}/images/a.jpg", f"{tmp_path}/images/b/c.jpg"]
    assert examples[1].target == open_mask(tmp_path / "masks" / "b" / "c.png")
    assert [str(row) for row in rows] == [
        f"{tmp_path}/images/d.jpg, row 3, column 'mask': has no mask: no file below masks has its name",
        f"{tmp_path}/images/e.jpg, row 4, column 'mask': has several masks: 'masks/e.png', 'masks/e.tif'",
    ]
    notes = load(tmp_path, (IMAGE, MASK), on_bad_rows="skip", split={"train": 0.5, "validation": 0.5, "test": 0.0})
    assert notes.notes == [f"{tmp_path}: 1 file without an image of that name is passed over: masks/lone.png."]


def test_a_label_is_not_guessed_to_be_the_mask(tmp_path: Path) -> None:
    images(tmp_path, "images/a.jpg", "masks/a.png")
    assert "that does not say what the 'label' of an image is" in error(tmp_path)


# Annotations.

OBJECTS = Column("objects", "target", lambda cell: tuple(str(item) for item in cell))


def test_a_coco_file_is_read_as_a_table(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    annotation = {"id": 1, "image_id": 2, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}
    path = tmp_path / "instances.json"
    sizes = {"width": 24, "height": 16}
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", **sizes}, {"id": 2, "file_name": "b.png", **sizes}],
                "annotations": [annotation],
                "categories": [{"id": 7, "name": "cat"}],
            }
        )
    )
    examples, rows, _ = read(path, (IMAGE, OBJECTS))
    assert rows == []
    assert [len(example.target) for example in examples] == [0, 1]
    path.rename(tmp_path / "_annotations.coco.json")
    assert len(read(tmp_path, (IMAGE, OBJECTS))[0]) == 2


def test_the_sides_of_a_yolo_folder_are_found(tmp_path: Path) -> None:
    for number, side in enumerate(("train", "train", "val", "test")):
        write_image(tmp_path / "images" / side / f"{number}.png", seed=number)
        (tmp_path / "labels" / side).mkdir(parents=True, exist_ok=True)
        (tmp_path / "labels" / side / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: cat}\n")
    splits = load_splits(options_for(tmp_path), (IMAGE, OBJECTS), seed=0, stratify=False)
    assert [len(side) for side in (splits.train, splits.validation, splits.test)] == [2, 1, 1]
    assert "cat" in splits.test[0].target[0]


def test_a_json_file_that_is_no_annotations_is_no_table(write: Write) -> None:
    assert "a file that ends in '.json' is not a table" in error(write("a.json", "{}"))


def test_an_image_folder_of_hundreds_is_read_alike_each_time(tmp_path: Path) -> None:
    for number in range(300):
        path = tmp_path / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), number % 256, np.uint8)).save(path)
    first, second = load(tmp_path), load(tmp_path)
    assert first == second
    assert len({example.id for example in first.train}) <= 256


def test_what_a_folder_calls_label_is_no_mask_though_a_table_may_call_it_so(pets: Path) -> None:
    mask = Column("mask", "target", parse_text, synonyms=("label",), opens=open_mask)
    assert "that does not say what the 'mask' of an image is" in error(pets, (IMAGE, mask))
