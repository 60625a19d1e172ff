"""All the data of a run: named files, carved sides, leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from regraft.data import Example, Splits, load_splits
from regraft.errors import DataError
from regraft.recipe import SplitOptions
from tests.data.samples import COLUMNS, options_for

Write = Callable[[str, str | bytes], str]


def table(*cells: Sequence[str], start: int = 0, number: int = 0, header: str = "text,label") -> str:
    made = [(f"text {place}", "yes" if place % 3 else "no") for place in range(start, start + number)]
    return "\n".join([header, *(",".join(row) for row in (*cells, *made))]) + "\n"


def load(path: str, *, stratify: bool = True, **given: Any) -> Splits:
    return load_splits(options_for(path, **given), COLUMNS, seed=0, stratify=stratify)


def ids(examples: Sequence[Example]) -> set[str]:
    return {example.id for example in examples}


def test_one_file_is_divided_into_three(write: Write) -> None:
    splits = load(write("a.csv", table(number=500)))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 500
    assert len(splits.test) == pytest.approx(50, abs=12)
    assert splits.columns == {"text": "text", "label": "label"}
    assert (splits.bad_rows, splits.notes) == ([], [])


def test_a_seed_of_its_own_keeps_the_split_whatever_the_recipes_seed(write: Write) -> None:
    path = write("a.csv", table(number=200))
    options = options_for(path, split=SplitOptions(seed=5))
    first, second = (load_splits(options, COLUMNS, seed=seed, stratify=True) for seed in (0, 1))
    assert (
        ids(first.test) == ids(second.test) == ids(load_splits(options_for(path), COLUMNS, seed=5, stratify=True).test)
    )


def test_named_files_are_taken_whole(write: Write) -> None:
    train, validation, test = (
        write(f"{name}.csv", table(start=start, number=50))
        for name, start in (("train", 0), ("validation", 100), ("test", 200))
    )
    splits = load(train, validation=validation, test=test)
    assert [len(side) for side in (splits.train, splits.validation, splits.test)] == [50, 50, 50]
    assert {example.file for example in splits.test} == {test}


def test_a_named_test_leaves_train_and_validation_in_their_proportion(write: Write) -> None:
    test = write("test.csv", table(start=5000, number=20))
    options = SplitOptions(train=0.6, validation=0.2, test=0.2)
    splits = load(write("a.csv", table(number=2000)), test=test, split=options)
    assert len(splits.test) == 20
    assert len(splits.validation) == pytest.approx(500, abs=50)
    assert len(splits.train) + len(splits.validation) == 2000


def test_a_named_validation_leaves_train_and_test_in_their_proportion(write: Write) -> None:
    validation = write("validation.csv", table(start=5000, number=20))
    splits = load(write("a.csv", table(number=2000)), validation=validation)
    assert len(splits.validation) == 20
    assert len(splits.test) == pytest.approx(2000 / 9, abs=25)


def test_rows_that_test_has_too_are_left_out_of_training_and_named(write: Write) -> None:
    path = write("a.csv", table(number=100))
    splits = load(path, test=write("test.csv", table(start=98, number=10)))
    assert not ids(splits.test) & (ids(splits.train) | ids(splits.validation))
    assert splits.notes == [
        f"2 rows of train left out, because test has the same inputs: {path}, row 100; {path}, row 101."
    ]


def test_no_row_lies_on_two_sides_of_three_overlapping_files(write: Write) -> None:
    splits = load(
        write("a.csv", table(number=60)),
        validation=write("v.csv", table(start=40, number=40)),
        test=write("t.csv", table(start=50, number=20)),
    )
    train, validation, test = ids(splits.train), ids(splits.validation), ids(splits.test)
    assert (len(train), len(validation), len(test)) == (40, 20, 20)
    assert len(train | validation | test) == 80
    assert [note.split(":")[0] for note in splits.notes] == [
        "20 rows of validation left out, because test has the same inputs",
        "10 rows of train left out, because test has the same inputs",
        "10 rows of train left out, because validation has the same inputs",
    ]


def test_a_carved_test_shares_nothing_with_a_named_validation(write: Write) -> None:
    splits = load(write("a.csv", table(number=300)), validation=write("v.csv", table(start=200, number=50)))
    assert not ids(splits.test) & ids(splits.validation)


def test_the_same_file_for_train_and_test_is_an_error(write: Write) -> None:
    path = write("a.csv", table(number=30))
    with pytest.raises(DataError, match=r"row 2: this row and all others of train also occur in test"):
        load(path, test=path)


def test_equal_inputs_with_different_labels_are_kept_and_noted(write: Write) -> None:
    path = write("a.csv", table(("same", "yes"), ("same", "no"), ("same", "yes"), number=100))
    splits = load(path)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 103
    (note,) = splits.notes
    assert note.startswith("1 input occurs in ")
    assert f"{path}, row 2 ('yes') and {path}, row 3 ('no')" in note


def test_groups_in_two_named_files_are_noted(write: Write) -> None:
    header = "text,label,author"
    train = write("a.csv", table(("one", "yes", "Ann"), ("two", "no", "Bob"), ("three", "no", ""), header=header))
    test = write("t.csv", table(("four", "yes", "Ann"), ("five", "no", ""), header=header))
    splits = load(train, test=test, group="author", split=SplitOptions(train=0.9, validation=0.0, test=0.1))
    assert splits.notes == ["1 group has rows both in train and in test, for example 'Ann'; they are kept."]


def test_groups_stay_together_in_carved_sides(write: Write) -> None:
    cells = [(f"text {number}", "yes", f"author {number % 40}") for number in range(400)]
    splits = load(write("a.csv", table(*cells, header="text,label,author")), group="author")
    authors = [{example.group for example in side} for side in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, authors)) == 40


def test_bad_rows_of_all_files_are_listed(write: Write) -> None:
    train = write("a.csv", table(("one", ""), number=50))
    test = write("t.csv", table(("two",), start=100, number=5))
    splits = load(train, test=test, on_bad_rows="skip")
    assert [(row.file, row.row) for row in splits.bad_rows] == [(train, 2), (test, 2)]


def test_each_file_may_name_its_columns_its_own_way(write: Write) -> None:
    test = write("t.jsonl", '{"review": "fine", "stars": "yes"}')
    splits = load(write("a.csv", table(number=50)), test=test)
    assert splits.test[0].inputs == {"text": "fine"}
    assert splits.columns == {"text": "text", "label": "label"}


def test_the_same_files_give_the_same_splits(write: Write) -> None:
    path = write("a.csv", table(number=200))
    assert load(path) == load(path)
