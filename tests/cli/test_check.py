"""regraft check: all data is read, nothing is learned, and whatever is bad is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.images import write_image


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for number in range(40):
        write_image(tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number:02}.png", seed=number)
    return tmp_path / "pets"


def test_good_texts_are_counted_by_side_and_label(command, place):
    answer = command("check", "--data", place / "reviews.csv", "--task", "text-classification")
    lines = answer.out.splitlines()
    assert answer.code == 0, answer.err
    assert lines[0].split() == ["train", "validation", "test"]
    assert sum(map(int, lines[1].split()[1:])) == 120
    assert {line.split()[0] for line in lines[2:4]} == {"bad", "good"}
    assert lines[-1] == "all 120 rows can be used"


def test_numbers_are_told_by_their_spread(command, place):
    answer = command("check", "--data", place / "scores.csv", "--task", "text-regression")
    assert answer.code == 0, answer.err
    assert {"min", "mean", "max"} <= {line.split()[0] for line in answer.out.splitlines()}


def test_every_bad_row_of_every_file_is_listed(command, place, tmp_path):
    table, other = tmp_path / "reviews.csv", tmp_path / "test.csv"
    table.write_text((place / "reviews.csv").read_text() + ",good\n" * 15)
    other.write_text("text,label\na film,good\na film, unlike\na play,bad\n")
    asked = ["check", "--data", table, "--task", "text-classification", f"data.test={other}"]
    answer = command(*asked)
    assert answer.code == 3
    bad = [line for line in answer.out.splitlines() if line.startswith("bad      ")]
    assert len(bad) == 16
    assert bad[0].startswith(f"bad      {table}, row 122, column 'text': is empty")
    assert f"{other}, row 3, column 'label': has the label 'unlike', which no training row has" in bad[-1]
    assert answer.err.startswith("error: 16 rows cannot be used")
    told = json.loads(command(*asked, "--json").out)
    assert [row["row"] for row in told["bad_rows"]] == [*range(122, 137), 3]


def test_a_recipe_can_be_checked(command, place, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"task: text-classification\ndata: {place / 'reviews.csv'}\nmodel: no-such-model\n")
    assert command("check", recipe, "data.split={train: 0.5, validation: 0.25, test: 0.25}").code == 0


def test_every_image_that_cannot_be_used_is_named(command, pets):
    (pets / "cat" / "02.png").write_bytes(b"")
    (pets / "dog" / "03.png").write_bytes((pets / "dog" / "03.png").read_bytes()[:100])
    (pets / "dog" / "notes.txt").write_text("not an image")
    answer = command("check", "--data", pets, "--task", "image-classification")
    assert answer.code == 3
    lines = answer.out.splitlines()
    assert [sum(map(int, line.split()[1:])) for line in lines[1:4]] == [38, 19, 19]
    assert lines[4:] == [
        "columns  image = 'image', label = 'label'",
        f"note     {pets}: 1 file not named like an image is passed over: dog/notes.txt.",
        f"bad      {pets}/cat/02.png, row 2, column 'image': is empty",
        f"bad      {pets}/dog/03.png, row 22, column 'image': is truncated: the file ends before the picture does",
    ]


def test_where_no_row_is_good_all_are_listed(command, pets):
    for path in pets.rglob("*.png"):
        path.write_bytes(b"")
    answer = command("check", "--data", pets, "--task", "image-classification", "--json")
    assert answer.code == 3
    assert len(json.loads(answer.out)["bad_rows"]) == 40
    assert "40 of 40 rows cannot be used" in answer.err


def test_data_that_cannot_be_read_at_all_has_an_error_only(command, pets):
    answer = command("check", "--data", pets, "--task", "text-classification")
    assert (answer.code, answer.out) == (3, "")
    assert "is not a file but a folder" in answer.err


def test_sides_that_hold_one_class_only_are_told(command, pets):
    answer = command("check", "--data", pets / "cat", "--task", "image-classification")
    assert answer.code == 3
    assert "does not say what the 'label' of an image is" in answer.err


def test_a_mistake_in_the_recipe_is_one_here_too(command, pets):
    assert command("check", "--data", pets, "--task", "image-clasification").code == 2
    assert command("check").code == 2


def test_what_was_found_is_told_with_its_rows_and_as_json(command, place, tmp_path):
    table = tmp_path / "reviews.csv"
    lines = (place / "reviews.csv").read_text().splitlines(keepends=True)
    table.write_text("".join(lines) + "".join(lines[1:3]))
    answer = command("check", "--quick", "--data", table, "--task", "text-classification")
    assert answer.code == 0, answer.err
    note = next(line for line in answer.out.splitlines() if line.startswith("note     2 rows of"))
    assert "repeat another one of it." in note
    told = json.loads(command("check", "--quick", "--data", table, "--task", "text-classification", "--json").out)
    (found,) = [each for each in told["quality"]["findings"] if each["kind"] == "duplicates"]
    assert [place["row"] for place in found["items"][0]["rows"]] == [2, 122]


def test_the_suggested_table_is_written_with_what_is_left_out_beside_it(command, place, tmp_path):
    table, clean = tmp_path / "reviews.csv", tmp_path / "clean.csv"
    lines = (place / "reviews.csv").read_text().splitlines(keepends=True)
    table.write_text("".join(lines) + lines[1])
    asked = ["check", "--quick", "--data", table, "--task", "text-classification", "--export-clean", clean]
    answer = command(*asked)
    assert answer.code == 0, answer.err
    left = (tmp_path / "clean.left-out.csv").read_text().splitlines()
    assert left[0] == "text,label,row,reason"
    assert left[-1].endswith(f",122,repeats train row 2 of {table}")
    kept = clean.read_text().splitlines(keepends=True)
    assert kept[0] == lines[0]
    assert len(kept) + len(left) - 1 == len(lines) + 1
    again = command(*asked)
    assert again.code == 2
    assert "is there already" in again.err


def test_a_gate_that_is_closed_ends_with_its_own_code(command, place, tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    lines = (place / "reviews.csv").read_text().splitlines()
    train.write_text("\n".join(lines) + "\n")
    test.write_text(
        "\n".join([lines[0], *(f"{line.split(',')[0].upper()}!,{line.split(',')[1]}" for line in lines[1:20])])
    )
    asked = ["--data", train, "--task", "text-classification", f"data.test={test}", "quality=error"]
    for words in (
        ["check", "--quick", *asked],
        ["tune", *asked, f"model={place / 'model'}", f"output={tmp_path / 'runs'}"],
    ):
        answer = command(*words)
        assert answer.code == 7, answer.err
        assert "of test are nearly equal to one of train" in answer.err
    assert not (tmp_path / "runs").exists()
