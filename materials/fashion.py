"""Fashion-MNIST: grey pictures of clothes, 28x28, ten kinds, as PNG files in a folder for each class.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
arXiv 1708.07747. Taken are balanced samples: ``train`` (2,000) and ``validation`` (1,000) from the 60,000 training
pictures, ``test`` (2,000) from the 10,000 of the test set. A file's name is the picture's number there.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack
from regraft.fingerprint import draw

if TYPE_CHECKING:
    import numpy as np

PACKAGE = Package(
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    registry="debian",
)

CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
)

# Folder → the set it is taken from, and which of each class in a drawn order.
SPLITS = {"train": ("train", 0, 200), "validation": ("train", 200, 300), "test": ("t10k", 0, 200)}


def fill(target: Path, scratch: Path) -> None:
    """Write the three folders and the licence."""
    package = unpack(download(PACKAGE, scratch), scratch / "package", only=("*.gz", "*/copyright"))
    data = package / "usr/share/datasets/fashion-mnist"
    for split, (source, first, last) in SPLITS.items():
        images = read(data / f"{source}-images-idx3-ubyte.gz")
        labels = read(data / f"{source}-labels-idx1-ubyte.gz")
        write(images, labels, target / split, slice(first, last))
    copyright_file = package / "usr/share/doc/dataset-fashion-mnist/copyright"
    (target / "LICENSE").write_bytes(copyright_file.read_bytes())


def read(path: Path) -> np.ndarray:
    """An IDX file of bytes: two zeros, the type 8, the number of dimensions, their sizes, the values."""
    import numpy as np

    content = gzip.decompress(path.read_bytes())
    zeros, kind, dimensions = struct.unpack(">HBB", content[:4])
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    if zeros or kind != 8 or len(content) != 4 + 4 * dimensions + np.prod(shape):
        raise DamagedMaterial(f"{path.name} is no IDX file of bytes.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write(images: np.ndarray, labels: np.ndarray, folder: Path, part: slice) -> None:
    """Write that part of every class, taken in an order that depends on the pictures' numbers alone."""
    import numpy as np
    from PIL import Image

    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        numbers = sorted(np.flatnonzero(labels == label).tolist(), key=lambda number: draw("fashion", number))
        for number in numbers[part]:
            Image.fromarray(images[number]).save(folder / name / f"{number:05}.png")


MATERIAL = Material(
    name="fashion-mnist",
    summary="Fashion-MNIST as PNG files, ten classes: 2,000 for training, 1,000 and 2,000 held out (3 MB)",
    licence="MIT",
    sources=(PACKAGE,),
    fill=fill,
)
