"""Which column of a file is what."""

from __future__ import annotations

from typing import Any

import pytest

from regraft.data import Column
from regraft.data.columns import check_keys, recognise
from regraft.errors import DataError, RecipeError
from tests.data.samples import COLUMNS, LABEL, TEXT, options_for


def find(*header: str, columns: tuple[Column, ...] = COLUMNS, targets: bool = True, **given: Any) -> dict[str, str]:
    return recognise(header, columns, options_for("a.csv", **given), file="a.csv", targets=targets)


def error(*header: str, **given: Any) -> str:
    with pytest.raises(DataError, match=r"^a\.csv, row 1: ") as raised:
        find(*header, **given)
    return str(raised.value)


def test_equal_names_are_found() -> None:
    assert find("id", "label", "text") == {"text": "text", "label": "label"}


def test_an_optional_column_is_taken_where_it_is_there() -> None:
    assert find("text", "text_b", "label") == {"text": "text", "text_b": "text_b", "label": "label"}


def test_synonyms_are_found_whatever_their_case_and_surrounding_space() -> None:
    assert find("id", " Review ", "STARS") == {"text": " Review ", "label": "STARS"}


def test_an_equal_name_comes_before_a_synonym() -> None:
    assert find("review", "text", "label") == {"text": "text", "label": "label"}


def test_in_a_file_of_two_columns_the_other_one_is_the_text() -> None:
    assert find("comment_body", "label") == {"text": "comment_body", "label": "label"}


def test_in_a_file_of_two_columns_the_other_one_is_the_label() -> None:
    assert find("text", "mood") == {"text": "text", "label": "mood"}


def test_two_unknown_names_are_not_guessed() -> None:
    message = error("comment", "mood")
    assert "no column is known to be 'text'; the header has 'comment', 'mood'" in message
    assert "data.columns.text=comment" in message


def test_three_columns_are_not_guessed_from() -> None:
    assert "data.columns.text=" in error("comment", "label", "id")


def test_the_rest_is_not_guessed_for_a_task_of_two_required_inputs() -> None:
    second = Column("text_b", "input", TEXT.parse)
    with pytest.raises(DataError, match="no column is known to be 'text_b'"):
        find("text", "other", columns=(TEXT, second))


def test_several_columns_that_could_be_it_are_listed() -> None:
    message = error("review", "sentence", "label")
    assert "several columns could be 'text': 'review', 'sentence'" in message
    assert "data.columns.text=review" in message


def test_a_named_column_that_is_not_there_names_the_nearest() -> None:
    options = options_for("a.csv", columns={"text": "revew"})
    with pytest.raises(DataError, match=r"row 1: data\.columns\.text = 'revew' is not in the header") as raised:
        recognise(["review", "label"], COLUMNS, options, file="a.csv")
    assert "did you mean data.columns.text=review?" in str(raised.value)


def test_a_named_column_is_used_though_another_has_the_name() -> None:
    options = options_for("a.csv", columns={"text": "body"})
    assert recognise(["text", "body", "label"], COLUMNS, options, file="a.csv")["text"] == "body"


def test_a_key_that_the_task_does_not_read_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'data\.columns\.txet'.*\n.*'data\.columns\.text'"):
        check_keys(COLUMNS, options_for("a.csv", columns={"txet": "review"}))


def test_one_column_cannot_be_two_things() -> None:
    with pytest.raises(RecipeError, match="'review' twice"):
        check_keys(COLUMNS, options_for("a.csv", columns={"text": "review", "label": "review"}))


def test_a_group_that_is_not_in_the_header_names_the_nearest() -> None:
    assert "data.group = 'autor' is not in the header" in error("text", "label", "author", group="autor")
    assert "did you mean data.group=author?" in error("text", "label", "author", group="autor")


def test_prediction_needs_no_target_and_no_group() -> None:
    assert find("text", "id", targets=False, group="author") == {"text": "text"}


def test_prediction_takes_the_only_column_for_the_text() -> None:
    assert find("comment", targets=False) == {"text": "comment"}


def test_prediction_does_not_take_the_target_for_the_text() -> None:
    assert find("comment", "stars", targets=False)["text"] == "comment"


def test_prediction_ignores_a_named_target_that_is_not_there() -> None:
    options = options_for("a.csv", columns={"label": "stars"})
    assert recognise(["text", "id"], COLUMNS, options, file="a.csv", targets=False) == {"text": "text"}


def test_prediction_ignores_targets_that_could_be_several() -> None:
    assert find("text", "class", "stars", targets=False) == {"text": "text"}


def test_a_header_without_end_is_not_listed_whole() -> None:
    message = error(*(f"column {number}" for number in range(10_000)))
    assert "and 9970 more" in message
    assert len(message) < 1000


def test_a_task_without_optional_columns_is_fine() -> None:
    assert find("text", "label", columns=(TEXT, LABEL)) == {"text": "text", "label": "label"}
