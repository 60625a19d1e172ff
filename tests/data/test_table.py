"""Reading tables: exact row numbers, encodings, delimiters, and what is said of a broken file or row."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.data import BadRow, locate
from regraft.data.cells import Row
from regraft.data.table import read_header, read_table
from regraft.errors import DataError, RecipeError
from tests.data.samples import options_for

Write = Callable[..., str]


def rows(path: str, **given: Any) -> list[Row | BadRow]:
    return list(read_table(path, options_for(path, **given)))


def texts(path: str, **given: Any) -> list[Any]:
    return [row.values["text"] for row in rows(path, **given) if isinstance(row, Row)]


def bad(path: str, **given: Any) -> list[tuple[int, str]]:
    return [(row.row, row.reason) for row in rows(path, **given) if isinstance(row, BadRow)]


def error(path: str, **given: Any) -> str:
    with pytest.raises(DataError) as raised:
        rows(path, **given)
    assert path in str(raised.value)
    return str(raised.value)


def test_rows_of_a_csv_are_numbered_by_the_line_they_start_on(write: Write) -> None:
    path = write("a.csv", 'text,label\none,1\n"two\nlines\n\nand more",2\n\nthree,3\n')
    assert [(row.row, row.values["text"]) for row in rows(path) if isinstance(row, Row)] == [
        (2, "one"),
        (3, "two\nlines\n\nand more"),
        (8, "three"),
    ]


def test_rows_of_json_lines_are_numbered_by_their_line(write: Write) -> None:
    path = write("a.jsonl", '\n{"text": "one", "label": 1}\n\n{"text": "two", "label": null}\n')
    assert rows(path) == [Row({"text": "one", "label": 1}, 2), Row({"text": "two", "label": None}, 4)]


def test_rows_of_parquet_are_numbered_from_one_across_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [str(i) for i in range(700)]}), path, row_group_size=300)
    assert [(row.row, row.values["text"]) for row in rows(str(path))] == [(i + 1, str(i)) for i in range(700)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_counts_as_one(write: Write, end: str) -> None:
    path = write("a.csv", end.join(["text,label", "one,1", "two", "three,3", ""]))
    assert texts(path) == ["one", "three"]
    assert [row for row, _ in bad(path)] == [3]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8-sig", b""),
        ("utf-16", b""),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
        ("utf-32", b""),
    ],
)
@pytest.mark.parametrize(
    "text", ["a fine film", "un très bon film", "хороший фильм", "很好看的电影，值得一看", "🎬 great"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_unicode_encodings_are_found(write: Write, encoding: str, mark: bytes, text: str, name: str) -> None:
    content = f'{{"text": "{text}"}}\n' * 3 if name == "a.jsonl" else f"text,label\n{text},1\n{text},2\n{text},0\n"
    assert texts(write(name, mark + content.encode(encoding))) == [text] * 3


def test_a_named_encoding_is_used(write: Write) -> None:
    path = write("a.csv", "text,label\n很好看,好\n".encode("gb18030"))
    assert rows(path, encoding="gb18030") == [Row({"text": "很好看", "label": "好"}, 2)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_bytes_that_cannot_be_decoded_name_their_line_and_the_option(write: Write, end: bytes) -> None:
    good = end.join([b"text,label", *[b"fine,1"] * 30_000])
    message = error(write("a.csv", good + end + "很好看,1".encode("gb18030") + end + b"more,1"))
    assert "row 30002: the text is not UTF-8" in message
    assert "data.encoding=gb18030" in message


def test_a_chosen_encoding_that_does_not_fit_says_so(write: Write) -> None:
    path = write("a.csv", "text,label\nfine,1\n很好看,1\n".encode("gb18030"))
    assert "row 3: the text is not ASCII\n  → data.encoding=ascii does not fit" in error(path, encoding="ascii")


@pytest.mark.parametrize("name", ["klingon", "rot13", "", "a\0b"])
def test_an_encoding_that_does_not_exist_is_an_error_of_the_recipe(write: Write, name: str) -> None:
    path = write("a.csv", "text,label\nfine,1\n")
    if not name:
        assert texts(path, encoding=name) == ["fine"]  # nothing was named
        return
    with pytest.raises(RecipeError, match=r"data\.encoding"):
        rows(path, encoding=name)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(write: Write, delimiter: str) -> None:
    path = write("a.csv", f'"text"{delimiter}"a,b;c|d,,,;;;"\nfine{delimiter}1\n')
    assert texts(path) == ["fine"]


def test_a_tsv_is_divided_by_tabs_whatever_its_header_has(write: Write) -> None:
    assert texts(write("a.tsv", "text\ta,b,c\nfine, very\t1\n")) == ["fine, very"]


@pytest.mark.parametrize(("given", "real"), [("#", "#"), ("\\t", "\t"), ("\t", "\t")])
def test_a_named_delimiter_is_used(write: Write, given: str, real: str) -> None:
    assert texts(write("a.csv", f"text{real}label\nfine, very{real}1\n"), delimiter=given) == ["fine, very"]


@pytest.mark.parametrize("delimiter", ["", "::", '"', "\n"])
def test_a_delimiter_that_cannot_be_is_an_error_of_the_recipe(write: Write, delimiter: str) -> None:
    with pytest.raises(RecipeError, match=r"data\.delimiter"):
        rows(write("a.csv", "text,label\nfine,1\n"), delimiter=delimiter)


def test_a_ragged_row_is_bad_and_says_how_many_cells_it_has(write: Write) -> None:
    assert bad(write("a.csv", "text,label\none\ntwo, and more,2\nthree,3\n")) == [
        (2, "has 1 cell, the header has 2"),
        (3, "has 3 cells, the header has 2 (a cell that contains ',' belongs in double quotes)"),
    ]


def test_a_quote_that_never_closes_costs_its_own_row_only(write: Write) -> None:
    path = write("a.csv", 'text,label\none,1\n"two,2\nthree,3\n"four\nlines",4\nfive,5\n')
    assert texts(path) == ["one", "three", "four\nlines", "five"]
    assert bad(path) == [(3, "has text after a closing quote, where ',' belongs (a quote in a cell is written \"\")")]


def test_a_quote_open_to_the_end_of_the_file_is_named(write: Write) -> None:
    path = write("a.csv", 'text,label\none,1\n"two,2\nthree,3\n')
    assert texts(path) == ["one", "three"]
    assert bad(path) == [(3, "has a double quote that is never closed")]


def test_many_quotes_that_never_close_take_no_more_than_linear_time(write: Write) -> None:
    path = write("a.csv", "text,label\n" + '"a,b\nx""y,z\n' * 20_000)
    assert len(rows(path)) > 10_000


def test_a_huge_cell_is_a_bad_row_of_its_own(write: Write) -> None:
    path = write("a.csv", "text,label\none,1\n" + '"' + "very\n" * 2_000_000 + '",2\nthree,3\n')
    assert bad(path) == [(3, "has 10,000,000 characters; a cell may have 1,000,000")]
    assert [row.row for row in rows(path) if isinstance(row, Row)] == [2, 2_000_004]


def test_a_cell_of_the_longest_allowed_size_is_read_and_the_limit_of_csv_is_as_before(write: Write) -> None:
    before = csv.field_size_limit()
    assert texts(write("a.csv", f"text,label\n{'a' * 1_000_000},1\n")) == ["a" * 1_000_000]
    assert csv.field_size_limit() == before


def test_nul_characters_make_a_bad_row(write: Write) -> None:
    path = write("a.csv", "text,label\nsome text that is long enough\0,1\nfine,2\n")
    assert [(row, reason[:23]) for row, reason in bad(path)] == [(2, "contains NUL characters")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'text': 1}", "is not valid JSON: Expecting property name"),
        ('{"text": "a"', "is not valid JSON"),
        ('["a", "b"]', "is a list; expected is one object a line"),
        ('"a"', "is text; expected is one object"),
        ("7", "is a number; expected is one object"),
        ("null", "is null; expected is one object"),
        ('{"text": NaN}', "contains NaN, which is not a finite number"),
        ('{"text": -Infinity}', "contains -Infinity"),
        ('{"text": 1e999}', "contains 1e999"),
        ('{"text": ' + "9" * 5000 + "}", "contains a number of more than 300 digits"),
        ('{"text": ' + "[" * 50 + "]" * 50 + "}", "is nested more than 32 deep"),
        ('{"text": ' + "[" * 100_000, "is nested too deep"),
        ('{"text": "\\ud800"}', "contains half a surrogate pair"),
        ('{"text": {"a": ["\\udfff"]}}', "contains half a surrogate pair"),
        ('{"text": "\\u0000"}', "contains NUL characters"),
        ('{"text": "a", "text": "b"}', "has the key 'text' twice"),
        ('{"text": "' + "a" * 1_000_001 + '"}', "has 1,000,001 characters"),
    ],
)
def test_a_json_line_that_cannot_be_used_is_a_bad_row(write: Write, line: str, reason: str) -> None:
    path = write("a.jsonl", '{"text": "one"}\n' + line + '\n{"text": "three"}\n')
    ((row, said),) = bad(path)
    assert row == 2
    assert said.startswith(reason)
    assert texts(path) == ["one", "three"]


def test_a_fault_in_a_column_that_nobody_asked_for_spoils_nothing(write: Write) -> None:
    path = write("a.jsonl", '{"text": "one", "blob": "\\u0000"}\n')
    assert list(read_table(path, options_for(path), only=["text"])) == [Row({"text": "one"}, 1)]


def test_an_emoji_written_as_a_surrogate_pair_is_fine(write: Write) -> None:
    assert texts(write("a.jsonl", '{"text": "\\ud83d\\ude00"}')) == ["😀"]


def test_missing_numbers_dates_and_lists_of_parquet_become_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    day = pa.array([None, "2024-02-29"]).cast(pa.date32())
    pq.write_table(pa.table({"text": [float("nan"), 1.5], "day": day, "list": [["a"], None]}), path)
    assert rows(str(path)) == [
        Row({"text": None, "day": None, "list": ["a"]}, 1),
        Row({"text": 1.5, "day": "2024-02-29", "list": None}, 2),
    ]


def test_bytes_in_parquet_make_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [b"\xff"]}), path)
    assert bad(str(path)) == [(1, "holds bytes, not text, a number or a list")]


def test_a_damaged_page_of_parquet_names_the_row_it_starts_from(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"a rather unusual text {i * 7919}" for i in range(512)]})
    pq.write_table(table, path, row_group_size=256, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[content.index(b"text %d" % (400 * 7919))] ^= 1
    path.write_bytes(content)
    assert "row 257: is not parquet, or is damaged" in error(str(path))


def test_text_named_parquet_is_not_parquet(write: Write) -> None:
    assert "row 1: is not parquet, or is damaged" in error(write("a.parquet", "text,label\nfine,1\n"))


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n", "  \r\n\t\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_an_empty_file_is_an_error_at_row_1(write: Write, name: str, content: str) -> None:
    assert "row 1: " in error(write(name, content))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("text,label,text\na,b,c\n", "row 1: the header has the column 'text' twice"),
        (
            ",text,label\n0,a,1\n",
            "row 1: column 1 of 3 has no name\n  → give it a name in the header; pandas",
        ),
        ("text, ,label\na,b,1\n", "row 1: column 2 of 3 has no name"),
        ('"text,label\na,b\n', "row 1: the header has a double quote that is never closed"),
        ("te\0xt,label\na,b\n", "row 1: the header contains NUL characters"),
    ],
)
def test_a_header_that_cannot_be_used_is_an_error_at_row_1(write: Write, content: str, problem: str) -> None:
    assert problem in error(write("a.csv", content))


def test_a_column_that_parquet_has_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    assert "row 1: the header has the column 'text' twice" in error(str(path))


def test_space_around_the_names_of_a_header_does_not_count(write: Write) -> None:
    path = write("a.csv", " text , label\nfine,1\n")
    assert read_header(path, options_for(path)) == ["text", "label"]


def test_the_columns_of_json_lines_are_the_keys_of_the_first_rows(write: Write) -> None:
    path = write("a.jsonl", 'not json\n{"text": "a"}\n{"label": 1, "text": "b"}\n')
    assert read_header(path, options_for(path)) == ["text", "label"]


def test_json_lines_without_one_good_row_name_the_first_bad_one(write: Write) -> None:
    path = write("a.jsonl", "\n[\n{\n")
    with pytest.raises(DataError, match="row 2: is not valid JSON"):
        read_header(path, options_for(path))


def test_an_unknown_extension_lists_those_that_can_be_read(write: Write) -> None:
    message = error(write("a.xlsx", "?"))
    assert ".csv, .tsv, .jsonl, .ndjson, .parquet" in message


def test_extensions_are_known_in_capitals_too(write: Write) -> None:
    assert texts(write("A.CSV", "text,label\nfine,1\n")) == ["fine"]


def test_a_missing_file_names_the_nearest_beside_it(write: Write, tmp_path: Path) -> None:
    write("reviews.csv", "text,label\nfine,1\n")
    message = error(str(tmp_path / "review.csv"))
    assert f"there is no such file\n  → did you mean {tmp_path / 'reviews.csv'}?" in message


def test_a_folder_in_place_of_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    assert "is not a file but a folder" in error(str(tmp_path / "a.csv"))


def test_a_pipe_in_place_of_a_file_says_so_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    assert "is not a file but a device or pipe" in error(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("path", ["a\0b.csv", "x" * 5000 + ".csv", "~nobody-of-this-name/a.csv"])
def test_a_path_that_cannot_be_is_an_error_and_nothing_else(path: str) -> None:
    with pytest.raises(DataError):
        locate(path)


def test_materials_lie_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    (tmp_path / "materials" / "vader").mkdir(parents=True)
    (tmp_path / "materials" / "vader" / "movie.csv").write_text("text,label\nfine,1\n")
    assert locate("materials:vader/movie.csv") == tmp_path / "materials" / "vader" / "movie.csv"
    assert texts("materials:vader/movie.csv") == ["fine"]


def test_a_missing_material_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="python -m materials vader"):
        locate("materials:vader/movie.csv")


@pytest.mark.parametrize("path", ["materials:../../etc/passwd", "materials:/etc/passwd"])
def test_a_material_cannot_lead_out_of_the_materials(path: str) -> None:
    with pytest.raises(DataError, match="leads out of the materials"):
        locate(path)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("text,label\nfine,1\n")
    assert texts("~/a.csv") == ["fine"]


def test_a_table_is_streamed(write: Write) -> None:
    path = write("a.csv", "text,label\n" + "fine,1\n" * 100_000 + "\xff")
    stream = read_table(path, options_for(path))
    assert next(stream) == Row({"text": "fine", "label": "1"}, 2)
    stream.close()  # type: ignore[attr-defined]
