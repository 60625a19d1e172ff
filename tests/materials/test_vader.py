"""The sentiment tables."""

import csv
from pathlib import Path

import pytest

from materials.errors import DamagedMaterial
from materials.vader import HEADER, TABLES, convert

MATERIAL = "vader"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "count"),
    [("movie.csv", 10_605), ("tweets.csv", 4_200), ("amazon.csv", 3_708), ("nyt.csv", 5_190)],
)
def test_a_table_is_whole(place: Path, name: str, count: int) -> None:
    table = read(place / name)
    assert len(table) == count
    assert tuple(table[0]) == HEADER
    assert len({row["id"] for row in table}) == count
    assert all(row["text"].strip() for row in table)
    assert all(-4 <= float(row["score"]) <= 4 for row in table)
    assert all((row["label"] == "positive") == (float(row["score"]) > 0) for row in table)


def test_the_movie_sentences_are_as_known(place: Path) -> None:
    table = read(place / "movie.csv")
    assert table[2] == {
        "id": "3",
        "text": "Effective but too tepid biopic",
        "score": "-0.6",
        "label": "negative",
    }
    assert sum(float(row["score"]) == 0 for row in table) == 37


def test_the_licence_is_there(place: Path) -> None:
    assert "C.J. Hutto" in (place / "LICENSE.txt").read_text()
    assert set(TABLES) < {path.name for path in place.iterdir()}


def test_quotes_and_zeros_are_converted(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_bytes('1\t0\tA "quote", a comma\r\n2\t0.10\tcafé\r\n'.encode())
    convert(source, tmp_path / "table.csv", 2)
    assert [tuple(row.values()) for row in read(tmp_path / "table.csv")] == [
        ("1", 'A "quote", a comma', "0", "negative"),
        ("2", "café", "0.10", "positive"),
    ]


@pytest.mark.parametrize("text", ["1\t0.5\tone\n", "1\t0.5\tone\n2\t0.5\n", "1\t0.5\tone\n2\thigh\ttwo\n"])
def test_a_file_that_is_not_as_known_is_refused(tmp_path: Path, text: str) -> None:
    source = tmp_path / "source.txt"
    source.write_text(text)
    with pytest.raises(DamagedMaterial, match=r"source\.txt"):
        convert(source, tmp_path / "table.csv", 2)
