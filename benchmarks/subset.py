"""A few labelled rows to learn from and others to be judged by: a folder that regraft and its peers read alike.

``train.csv`` and ``test.csv`` have the columns text, or image (a path), and label; ``subset.json`` says what else a
peer has to know. Nothing is imported but Python's own, for a peer may live in an environment without regraft.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Row = tuple[str, str]  # a text or the path of an image, and its label


@dataclass(frozen=True)
class Subset:
    """What is in the folder."""

    images: str  # the folder that the paths of images start from; empty if they are texts
    model: str  # the folder of the pretrained model
    seed: int
    counts: dict[str, int]  # training rows of each class: fewer than asked for where the pool has no more
    test_rows: int


def write_subset(folder: Path, subset: Subset, train: Iterable[Row], test: Iterable[Row]) -> None:
    """Write the two tables, and what is to be known about them."""
    for side, rows in (("train", train), ("test", test)):
        with (folder / f"{side}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image" if subset.images else "text", "label"))
            writer.writerows(rows)
    (folder / "subset.json").write_text(json.dumps(asdict(subset), indent=1) + "\n", encoding="utf-8")


def read_subset(folder: Path) -> Subset:
    """What was written about the folder's tables."""
    return Subset(**json.loads((folder / "subset.json").read_text(encoding="utf-8")))


def read_rows(folder: Path, side: str) -> list[Row]:
    """The rows of ``train`` or ``test``, in their order."""
    with (folder / f"{side}.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        return [(given, label) for given, label in lines]


def answer(predictions: Sequence[str], truth: Sequence[Row], seconds: float, **more: Any) -> None:
    """Print a peer's answer, one line of JSON: accuracy, seconds of training, and the label told for each test row."""
    right = sum(told == label for told, (_, label) in zip(predictions, truth, strict=True))
    told = {"accuracy": right / len(truth), "seconds": seconds, **more, "predictions": list(predictions)}
    print(json.dumps(told, ensure_ascii=False), flush=True)
