"""regraft rank: the table and what follows from it on stdout, the rest on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regraft.testing import WORDS, tiny_model


@pytest.fixture(scope="module")
def blind(place: Path) -> Path:
    """A model that knows no word."""
    return tiny_model(place / "blind", words=WORDS[:1])


def on_reviews(place: Path) -> list[object]:
    return ["--data", place / "reviews.csv", "--task", "text-classification"]


def test_models_are_compared_and_the_verdict_is_said(command, place, blind):
    answer = command("rank", "--models", place / "model", blind, *on_reviews(place))
    assert answer.code == 0
    table = answer.out.split("\n\n")[0]
    assert all(word in table for word in ("parameters", "probe: accuracy", "kNN", "LogME", "H-score", "best"))
    assert str(blind) in table
    assert "No test row was looked at" in answer.out
    assert "too few to tell" in answer.out
    assert "opening" in answer.err


def test_models_may_be_named_in_every_way(command, place, blind):
    recipe = place / "rank.yaml"
    recipe.write_text(f"task: text-classification\ndata: {place / 'reviews.csv'}\n")
    ways = [
        ["--models", place / "model", blind],
        ["--models", f"{place / 'model'},{blind}"],
        ["--models", place / "model", "--models", blind],
    ]
    told = [json.loads(command("rank", recipe, *way, "--json", "-q").out) for way in ways]
    for each in told:
        assert {found["name"] for found in each["candidates"]} == {str(place / "model"), str(blind)}


def test_a_recipe_overrides_and_models_may_stand_in_any_order(command, place, blind):
    recipe = place / "order.yaml"
    recipe.write_text(f"task: text-classification\ndata: {place / 'reviews.csv'}\n")
    words = ["--models", place / "model", blind, recipe, "evaluation.primary=macro_f1", "--json", "-q"]
    assert json.loads(command("rank", *words).out)["metric"] == "macro_f1"


def test_a_folder_with_a_comma_is_one_model(command, place):
    odd = tiny_model(place / "a,b", words=WORDS, seed=1)
    answer = command("rank", "--models", place / "model", "--models", odd, *on_reviews(place), "--json")
    assert str(odd) in {found["name"] for found in json.loads(answer.out)["candidates"]}


def test_layers_say_which_is_best(command, place):
    answer = command("rank", "--layers", "--model", place / "model", *on_reviews(place))
    assert answer.code == 0
    assert "blocks[0]" in answer.out
    assert "best" in answer.out
    assert "depths in one pass" in answer.out or "from the store" in answer.out


def test_regression_has_no_h_score(command, place, blind):
    answer = command(
        "rank", "--models", place / "model", blind, "--data", place / "scores.csv", "--task", "text-regression"
    )
    assert answer.code == 0
    assert "–" in answer.out


def test_a_sample_is_said(command, place):
    answer = command("rank", "--layers", "--model", place / "model", *on_reviews(place), "--rows", 30, "-q")
    assert "30 of the" in answer.out
    assert answer.err == ""


def test_quiet_json_is_all_there_is(command, place):
    answer = command("rank", "--layers", "--model", place / "model", *on_reviews(place), "--json", "-q")
    assert json.loads(answer.out)["of"] == "layers"
    assert answer.err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to rank"),
        (["--layers", "--models", "a", "b"], "looks into one model"),
        (["--models", "a", "b", "--model", "c"], "--model goes with --layers"),
        (["--models", "minilm"], "fewer than two"),
    ],
)
def test_what_cannot_be_ranked_is_said(command, place, words, said):
    answer = command("rank", *words, *on_reviews(place))
    assert answer.code == 2
    assert said in answer.err


def test_a_hostile_folder_is_refused(command, place, tmp_path):
    tiny_model(tmp_path / "bad")
    (tmp_path / "bad" / "training_args.bin").write_bytes(b"\x80\x04.")
    answer = command("rank", "--models", place / "model", tmp_path / "bad", *on_reviews(place))
    assert answer.code == 6
    assert answer.out == ""
