"""The sentences of two domains."""

import json
from pathlib import Path

import pytest

from materials.errors import DamagedMaterial
from materials.nlp_corpus import beginning, sentences, split, write

MATERIAL = "nlp-corpus"
NAMES = ("train", "validation", "test", "other")


def read(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(list(row) == ["text"] for row in rows)
    return [row["text"] for row in rows]


@pytest.fixture(scope="module")
def tables(place: Path) -> dict[str, list[str]]:
    return {name: read(place / f"{name}.jsonl") for name in NAMES}


@pytest.mark.parametrize(("name", "count"), [("train", 900), ("validation", 150), ("test", 300), ("other", 300)])
def test_a_table_is_whole(tables: dict[str, list[str]], name: str, count: int) -> None:
    rows = tables[name]
    assert len(rows) == count
    assert all(row == row.strip() and 8 <= len(row.split()) <= 120 for row in rows)


def test_no_two_sentences_begin_alike(tables: dict[str, list[str]]) -> None:
    every = [beginning(row) for rows in tables.values() for row in rows]
    assert len(set(every)) == len(every)


def test_the_domains_are_apart(tables: dict[str, list[str]]) -> None:
    nations, films = ("General Assembly", "Security Council", "the Committee"), (" film", " movie")
    for name, rows in tables.items():
        of_nations, of_films = (sum(any(word in row for word in words) for row in rows) for words in (nations, films))
        assert (of_nations > 0.3 * len(rows)) == (name != "other")
        assert (of_films > 0.9 * len(rows)) == (name == "other")


def test_the_sources_are_named_beside_it(place: Path) -> None:
    assert "United Nations Multilingual corpus" in (place / "README.md").read_text(encoding="utf-8")


def test_of_sentences_that_begin_alike_one_is_taken() -> None:
    rows = [f"Letter dated {day} April 1994 from the representative of {name}." for day, name in ((1, "A"), (2, "B"))]
    assert split(rows, {"all": 1}) == {"all": [rows[0]]}
    with pytest.raises(DamagedMaterial, match="too few"):
        split(rows, {"all": 2})


def test_the_tables_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = [f"{chr(65 + number // 26)}{chr(97 + number % 26)} is a word." for number in range(100)]
    tables = {"a": 40, "b": 10}
    assert split(rows, tables) == split(rows[::-1], tables)
    assert not set(split(rows, tables)["a"]) & set(split(rows, tables)["b"])


def test_another_number_of_sentences_is_refused(tmp_path: Path) -> None:
    (tmp_path / "doc-0.json").write_text(json.dumps(["A sentence."]))
    with pytest.raises(DamagedMaterial, match="1 sentences, not 100,000"):
        sentences(tmp_path)


def test_only_whole_sentences_are_read(tmp_path: Path) -> None:
    whole = ' "The Committee took note\x85of the report" of its chairman.'
    cut = [
        "t recently adopted by the Assembly at its last session.",
        "The Committee, having seen the report of its own",
    ]
    (tmp_path / "doc-0.json").write_text(json.dumps([whole, *cut, "Too short."] * 25_000))
    assert set(sentences(tmp_path)) == {whole.strip().replace("\x85", " ")}


def test_letters_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "table.jsonl", ['Économie\nand "more".'])
    assert read(tmp_path / "table.jsonl") == ['Économie\nand "more".']
    assert "É" in (tmp_path / "table.jsonl").read_text(encoding="utf-8")
