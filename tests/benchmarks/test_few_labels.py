"""Subsets of few labels are drawn as the benchmark says, and what peers do to images."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.few_labels import DATASETS, Cell, write_cell
from benchmarks.few_peers import middle_crop, varied_crop
from benchmarks.subset import Row, read_rows, read_subset

TEST_ROWS = 60


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and images in the form of the materials': more negative rows than positive ones."""
    root = tmp_path_factory.mktemp("materials")
    for name, dataset in DATASETS.items():
        if dataset.table:
            _table(root / dataset.material / dataset.table, name)
    for side, count in (("train", 20), ("validation", 10), ("test", 40)):
        for label in ("bag", "coat"):
            folder = root / "fashion-mnist" / side / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:05}.png").touch()
    return root


def _table(path: Path, name: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((f"{name} {number}", "positive" if number % 3 == 0 else "negative") for number in range(300))
        writer.writerows([(f"{name} both", "positive"), (f"{name} both ", "negative"), (f"{name} 7 ", "negative")])


def drawn(cell: Cell, materials: Path, folder: Path) -> tuple[list[Row], list[Row]]:
    """The rows to learn from, and those to be judged by."""
    folder.mkdir(parents=True)
    write_cell(cell, folder, materials=materials, test_rows=TEST_ROWS)
    return read_rows(folder, "train"), read_rows(folder, "test")


@pytest.mark.parametrize("dataset", DATASETS)
def test_test_rows_are_always_the_same_and_not_among_those_to_learn(
    dataset: str, materials: Path, tmp_path: Path
) -> None:
    sides = [
        drawn(Cell(dataset, labels, seed), materials, tmp_path / f"{labels}-{seed}")
        for labels, seed in ((8, 0), (512, 0), (8, 1))
    ]
    tests = [test for _, test in sides]
    assert tests[0] == tests[1] == tests[2]
    assert len(set(tests[0])) == TEST_ROWS
    for train, test in sides:
        assert not {given for given, _ in train} & {given for given, _ in test}


@pytest.mark.parametrize("dataset", ["movie", "fashion"])
def test_each_class_has_as_many_and_few_are_among_more(dataset: str, materials: Path, tmp_path: Path) -> None:
    few, _ = drawn(Cell(dataset, 8, 3), materials, tmp_path / "few")
    more, _ = drawn(Cell(dataset, 16, 3), materials, tmp_path / "more")
    assert set(few) < set(more)
    assert set(Counter(label for _, label in few).values()) == {8}
    assert set(Counter(label for _, label in more).values()) == {16}


def test_a_class_with_too_few_gives_all_and_that_is_told(materials: Path, tmp_path: Path) -> None:
    train, test = drawn(Cell("movie", 150, 0), materials, tmp_path / "all")
    counts = read_subset(tmp_path / "all").counts
    assert counts == Counter(label for _, label in train)
    assert counts["negative"] == 150
    assert counts["positive"] + sum(label == "positive" for _, label in test) == 100


def test_the_same_cell_gives_the_same_rows_and_another_seed_others(materials: Path, tmp_path: Path) -> None:
    once, again, other = (
        drawn(Cell("chinese", 8, seed), materials, tmp_path / place)[0]
        for seed, place in ((0, "once"), (0, "again"), (1, "other"))
    )
    assert once == again != other
    assert all(given.startswith("query: chinese") for given, _ in once)


def test_a_text_with_two_labels_is_left_out_and_a_repeated_one_is_there_once(materials: Path, tmp_path: Path) -> None:
    train, test = drawn(Cell("movie", 512, 0), materials, tmp_path / "all")
    given = [text for text, _ in (*train, *test)]
    assert len(given) == len(set(given)) == 300
    assert "movie both" not in given


def test_images_are_cut_to_the_models_size() -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (10, 0, 30, 20))
    assert all(red > 200 for red, _, _ in middle_crop(image, 8).get_flattened_data())
    random.seed(0)
    assert {varied_crop(image, 8).size for _ in range(50)} == {(8, 8)}
    random.seed(0)
    varied = {varied_crop(image, 8).tobytes() for _ in range(50)}
    assert len(varied) > 20
