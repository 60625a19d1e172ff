"""The table of translations."""

import csv
import json
from pathlib import Path

import pytest

from materials.errors import DamagedMaterial
from materials.homeassistant import HEADER, TABLES, distinct, pairs, split, write

MATERIAL = "homeassistant-pt"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tables(place: Path) -> dict[str, list[dict[str, str]]]:
    return {name: read(place / f"{name}.csv") for name in TABLES}


@pytest.mark.parametrize(("name", "count"), [("train", 4_000), ("validation", 500), ("test", 1_000)])
def test_a_table_is_whole(tables: dict[str, list[dict[str, str]]], name: str, count: int) -> None:
    rows = tables[name]
    assert len(rows) == count
    assert tuple(rows[0]) == HEADER
    for row in rows:
        assert all(value and value == value.strip() for value in row.values())
        assert row["source"] != row["target"]
        assert len(row["source"].split()) >= 2


@pytest.mark.parametrize("column", ["source", "component"])
def test_no_text_and_no_integration_lies_in_two_tables(tables: dict[str, list[dict[str, str]]], column: str) -> None:
    sides = [{row[column].casefold() for row in rows} for rows in tables.values()]
    assert len(set().union(*sides)) == sum(len(side) for side in sides)


def test_no_text_comes_twice(tables: dict[str, list[dict[str, str]]]) -> None:
    for rows in tables.values():
        assert len({row["source"].casefold() for row in rows}) == len(rows)


def test_a_known_text_is_there(tables: dict[str, list[dict[str, str]]]) -> None:
    every = {row["source"]: row["target"] for rows in tables.values() for row in rows}
    assert every["Target temperature"] == "Temperatura alvo"
    assert every["Connection error: {error}"] == "Erro de conexão: {error}"


def test_the_licence_is_there(place: Path) -> None:
    assert "Apache License" in (place / "LICENSE.md").read_text(encoding="utf-8")


def component(package: Path, name: str, **languages: object) -> None:
    folder = package / "homeassistant" / "components" / name / "translations"
    folder.mkdir(parents=True)
    for language, tree in languages.items():
        (folder / f"{language.replace('_', '-')}.json").write_text(json.dumps(tree))


def test_pairs_are_stripped_translated_and_no_references(tmp_path: Path) -> None:
    component(
        tmp_path,
        "b",
        en={"a": {"x": " One two\n", "same": "Wi-Fi", "key": "[%key:common%]", "none": "No", "empty": "Yes it is"}},
        pt_BR={"a": {"x": "Um dois ", "same": "Wi-Fi", "key": "Chave", "empty": " "}},
    )
    component(tmp_path, "a", en={"y": "Three"}, pt_BR={"y": "Três"})
    component(tmp_path, "c", en={"y": "Four"})
    assert list(pairs(tmp_path)) == [("Three", "Três", "a"), ("One two", "Um dois", "b")]


def test_the_first_of_equal_sources_stays_and_single_words_go() -> None:
    rows = [("One two", "a", "x"), ("Three", "b", "x"), ("one Two", "c", "y"), ("One three", "d", "y")]
    assert distinct(rows) == [rows[0], rows[3]]


def test_too_few_are_refused() -> None:
    with pytest.raises(DamagedMaterial, match="too few"):
        split([("One two", "Um dois", "a")])


def test_the_split_does_not_depend_on_the_order_of_the_integrations() -> None:
    rows = [(f"text {number}", f"texto {number}", f"part{number % 80}") for number in range(8_000)]
    turned = sorted(rows, key=lambda row: row[2])
    assert split(rows) == split(turned)


def test_line_breaks_and_quotes_survive(tmp_path: Path) -> None:
    write(tmp_path / "table.csv", [('A "b",\nc', "Ã", "x")])
    assert [tuple(row.values()) for row in read(tmp_path / "table.csv")] == [('A "b",\nc', "Ã", "x")]
