"""Fashion-MNIST as folders of PNG files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from materials.errors import DamagedMaterial
from materials.fashion import CLASSES, SPLITS, read, write

MATERIAL = "fashion-mnist"


@pytest.mark.parametrize(("split", "each"), [("train", 200), ("validation", 100), ("test", 200)])
def test_every_class_has_equally_many(place: Path, split: str, each: int) -> None:
    assert {folder.name: len(list(folder.iterdir())) for folder in (place / split).iterdir()} == dict.fromkeys(
        CLASSES, each
    )


def test_training_and_validation_share_no_picture(place: Path) -> None:
    numbers = {split: {path.name for path in (place / split).rglob("*.png")} for split in SPLITS}
    assert not numbers["train"] & numbers["validation"]
    assert len(numbers["train"]) == 2000


def test_pictures_are_small_and_grey_and_the_licence_is_beside_them(place: Path) -> None:
    with Image.open(next((place / "test" / "ankle-boot").iterdir())) as picture:
        assert (picture.size, picture.mode) == ((28, 28), "L")
    assert "MIT" in (place / "LICENSE").read_text(encoding="utf-8")


def idx(path: Path, array: np.ndarray, kind: int = 8) -> Path:
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


def test_an_idx_file_is_read_and_a_part_of_each_class_written(tmp_path: Path) -> None:
    images = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2)
    labels = np.arange(40, dtype=np.uint8) % 10
    assert np.array_equal(read(idx(tmp_path / "images.gz", images)), images)
    write(images, labels, tmp_path / "a", slice(0, 3))
    write(images, labels, tmp_path / "b", slice(3, 4))
    names = [{path.name for path in (tmp_path / part).rglob("*.png")} for part in "ab"]
    assert [len(found) for found in names] == [30, 10]
    assert not names[0] & names[1]
    for path in (tmp_path / "a" / "dress").iterdir():
        assert np.array_equal(np.asarray(Image.open(path)), images[int(path.stem)])
        assert labels[int(path.stem)] == CLASSES.index("dress")


@pytest.mark.parametrize("harm", ["kind", "cut"])
def test_another_file_is_refused(tmp_path: Path, harm: str) -> None:
    path = idx(tmp_path / "images.gz", np.zeros((2, 2), np.uint8), kind=13 if harm == "kind" else 8)
    if harm == "cut":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(DamagedMaterial, match="no IDX file"):
        read(path)
