"""From rows to examples, and what becomes of bad rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from regraft.data import BadRow, Example, read_examples, stream_examples
from regraft.errors import DataError
from regraft.fingerprint import example_id
from tests.data.samples import COLUMNS, options_for

Write = Callable[[str, str | bytes], str]


def read(path: str, *, targets: bool = True, **given: Any) -> tuple[list[Example], list[BadRow], dict[str, str]]:
    return read_examples(path, COLUMNS, options_for(path, **given), targets=targets)


def test_an_example_has_its_id_inputs_target_file_and_row(write: Write) -> None:
    path = write("a.csv", "Review,stars\nfine,5\n")
    examples, bad, mapping = read(path)
    assert examples == [Example(example_id({"text": "fine"}), {"text": "fine"}, "5", None, path, 2)]
    assert bad == []
    assert mapping == {"text": "Review", "label": "stars"}


def test_equal_inputs_have_equal_ids_whatever_label_and_format(write: Write) -> None:
    first = read(write("a.csv", "text,label\nfine,1\n"))[0][0]
    second = read(write("a.jsonl", '{"label": 0, "extra": [], "text": "fine"}'))[0][0]
    assert first.id == second.id


@pytest.mark.parametrize("cell", ["", "  "])
def test_a_missing_optional_input_is_left_out(write: Write, cell: str) -> None:
    (example,), _, _ = read(write("a.csv", f"text,text_b,label\nfine,{cell},1\n"))
    assert example.inputs == {"text": "fine"}


def test_a_key_that_a_json_row_lacks_is_a_missing_cell(write: Write) -> None:
    path = write("a.jsonl", '{"text": "a", "text_b": "b", "label": 1}\n{"text": "a", "label": 1}\n{"text": "a"}')
    examples, bad, _ = read(path, on_bad_rows="skip")
    assert [example.inputs for example in examples] == [{"text": "a", "text_b": "b"}, {"text": "a"}]
    assert [(row.row, row.column) for row in bad] == [(3, "label")]


def test_a_cell_that_the_task_cannot_use_names_file_row_and_the_column_of_the_user(write: Write) -> None:
    path = write("a.csv", "Review,stars\nfine,1\nbad,\n")
    with pytest.raises(DataError) as raised:
        read(path)
    assert f"{path}, row 3, column 'stars': is empty" in str(raised.value)
    assert "data.on_bad_rows=skip" in str(raised.value)


def test_ten_bad_rows_are_listed_and_all_are_counted(write: Write) -> None:
    path = write("a.csv", "text,label\nfine,1\n" + "fine,\n" * 25)
    with pytest.raises(DataError) as raised:
        read(path)
    message = str(raised.value)
    assert "25 of 26 rows cannot be used" in message
    assert "row 12" in message
    assert "row 13" not in message
    assert "... and 15 more" in message


def test_bad_rows_are_skipped_and_counted_exactly(write: Write) -> None:
    path = write("a.csv", 'text,label\nfine,1\nragged\n,1\n"open,1\nbad,2\n')
    examples, bad, _ = read(path, on_bad_rows="skip")
    assert [example.row for example in examples] == [2, 6]
    assert [row.row for row in bad] == [3, 4, 5]


def test_a_file_without_one_good_row_is_an_error_even_with_skip(write: Write) -> None:
    with pytest.raises(DataError, match="2 of 2 rows cannot be used"):
        read(write("a.csv", "text,label\n,1\nfine,\n"), on_bad_rows="skip")


def test_a_file_of_a_header_only_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match="row 1: there are no rows"):
        read(write("a.csv", "text,label\n"))


def test_a_group_is_text_and_an_empty_one_is_none(write: Write) -> None:
    path = write("a.jsonl", '{"text":"a","label":1,"by":7}\n{"text":"b","label":1,"by":" "}\n{"text":"c","label":1}')
    assert [example.group for example in read(path, group="by")[0]] == ["7", None, None]


def test_a_group_may_be_a_column_that_is_an_input_too(write: Write) -> None:
    (example,), _, _ = read(write("a.csv", "text,label\nfine,1\n"), group="text")
    assert example.group == "fine"


def test_prediction_streams_examples_without_targets_and_bad_rows_as_they_come(write: Write) -> None:
    path = write("a.csv", "id,text\n1,fine\n2\n3,good\n")
    items = list(stream_examples(path, COLUMNS, options_for(path)))
    assert [type(item) for item in items] == [Example, BadRow, Example]
    assert [item.row for item in items] == [2, 3, 4]
    assert items[0] == Example(example_id({"text": "fine"}), {"text": "fine"}, None, None, path, 2)


def test_prediction_does_not_look_at_labels(write: Write) -> None:
    examples, bad, _ = read(write("a.csv", "text,label\nfine,\n"), targets=False)
    assert (len(examples), bad) == (1, [])


def test_a_long_reason_is_cut(write: Write) -> None:
    def refuse(cell: Any) -> str:
        raise ValueError("no " * 10_000)

    columns = [COLUMNS[0], COLUMNS[2].__class__("label", "target", refuse)]
    path = write("a.csv", "text,label\nfine,1\n")
    with pytest.raises(DataError) as raised:
        read_examples(path, columns, options_for(path))
    assert len(str(raised.value)) < 1000
