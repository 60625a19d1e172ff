"""The tables that the benchmarks are run on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.texts import WORKLOADS, write_tables

_SENTENCES = ["nothing here is good at all", "it was fine to hold", "i would buy it again"]


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Tables in the form of VADER's: 40 documents of 30 sentences that name their document."""
    for table in ("amazon", "nyt", "movie"):
        with (tmp_path / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "text", "score", "label"))
            for document in range(40):
                for place in range(30):
                    text = f"{table}{document}x {place} {_SENTENCES[place % 3]}"
                    writer.writerow((f"{document}_{place}", text, (-1.0) ** document, ""))
    return tmp_path


def _tables(material: Path, folder: Path, workload: str, rows: int = 10_000) -> list[list[dict[str, str]]]:
    folder.mkdir()
    write_tables(workload, folder, material=material, rows=rows, test_rows=rows)
    return [_read(folder / f"{side}.csv") for side in ("train", "test")]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _documents(rows: list[dict[str, str]]) -> set[str]:
    return {row["text"].split()[0] for row in rows}


def test_a_long_text_is_of_one_document_in_its_order(material: Path) -> None:
    train, _ = _tables(material, material / "long", "long")
    for row in train:
        words = row["text"].split()
        places = [int(words[i + 1]) for i, word in enumerate(words) if word.endswith("x")]
        assert len({word for word in words if word.endswith("x")}) == 1
        assert places == list(range(places[0], places[0] + len(places)))


def test_no_document_is_on_both_sides(material: Path) -> None:
    train, test = _tables(material, material / "long", "long")
    assert not _documents(train) & _documents(test)
    assert len(_documents(train)) == 64


def test_a_long_text_has_the_label_of_its_mean_score(material: Path) -> None:
    train, _ = _tables(material, material / "long", "long")
    for row in train:
        document = int("".join(filter(str.isdigit, row["text"].split()[0])))
        assert row["label"] == ("negative" if document % 2 else "positive")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_tables_are_the_same_each_time_and_fewer_rows_are_the_first(material: Path, workload: str) -> None:
    train, test = _tables(material, material / "once", workload)
    again, _ = _tables(material, material / "again", workload, rows=20)
    assert train[:20] == again
    assert test
