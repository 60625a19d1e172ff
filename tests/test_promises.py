"""Promises that were once broken: each test is named for what must hold."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import regraft
from regraft.errors import CheckpointError, DataError, RecipeError
from regraft.testing import WORDS, tiny_model, toy_table


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "bert", words=WORDS)


def asked(model: Path, table: Any, folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "model": str(model),
        "data": table if isinstance(table, dict) else str(table),
        "strategy": {"name": "full", "learning_rate": 3e-3},
        "training": {"epochs": 1},
        "evaluation": {"resamples": 100},
        "output": str(folder),
        **more,
    }


def test_numbers_far_from_zero_are_learned_as_those_near_it(model, tmp_path):
    near, far = (_predicted_scores(model, tmp_path, start) for start in (0.0, 1.7e9))
    assert max(near) - min(near) > 5
    assert [value - 1.7e9 for value in far] == pytest.approx(near, abs=1.0)


def _predicted_scores(model: Path, folder: Path, start: float) -> list[float]:
    """What is predicted for the test rows when the scores are ``start`` and ``start + 50``."""
    rows = [json.loads(line) for line in toy_table(folder / f"toy-{start}.jsonl").read_text().splitlines()]
    table = folder / f"scores-{start}.jsonl"
    scored = [{"text": row["text"], "score": start + 50 * (row["label"] == "good")} for row in rows]
    table.write_text("".join(json.dumps(row) + "\n" for row in scored))
    wanted = asked(model, table, folder, task="text-regression", training={"epochs": 8, "precision": "fp32"})
    outcome = regraft.tune(regraft.make_recipe(wanted))
    return [answer["prediction"] for answer in outcome.tuned.predict([row["text"] for row in rows[:30]])]


def test_evaluate_refuses_options_that_would_change_the_test_rows(model, tmp_path):
    run = regraft.tune(regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))).run
    with pytest.raises(RecipeError, match="seed=1"):
        regraft.evaluate(run.folder, overrides=["seed=1"])


def test_evaluate_refuses_test_rows_that_are_not_those_of_the_run(model, tmp_path):
    table = toy_table(tmp_path / "r.csv")
    run = regraft.tune(regraft.make_recipe(asked(model, table, tmp_path))).run
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:70]))
    with pytest.raises(DataError, match="has changed since the run"):
        regraft.evaluate(run.folder)


def test_evaluate_leaves_out_the_rows_that_the_run_left_out(model, tmp_path):
    table = toy_table(tmp_path / "r.csv")
    with table.open("a") as file:
        file.writelines(f"a film number {number},only{number}\n" for number in range(12))
    wanted = asked(model, {"train": str(table), "on_bad_rows": "skip"}, tmp_path)
    outcome = regraft.tune(regraft.make_recipe(wanted))
    assert regraft.evaluate(outcome.run.folder)["test"] == outcome.scores["test"]


def test_a_second_run_in_the_same_process_is_refused_while_one_goes_on(model, tmp_path):
    recipe = regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))
    first = regraft.tune_events(recipe)
    next(first)
    seen: list[Exception] = []

    def second() -> None:
        try:
            regraft.tune(recipe)
        except RecipeError as error:
            seen.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    first.close()
    assert "another run" in str(seen[0])
    assert regraft.tune(recipe).scores


def test_resume_refuses_another_deciding_metric(model, tmp_path):
    run = regraft.tune(regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))).run
    run.recipe.write_text(run.recipe.read_text().replace("primary: null", "primary: log_loss"))
    with pytest.raises(CheckpointError, match="recipe"):
        regraft.resume(run)


def test_resume_computes_with_the_threads_of_the_run(model, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run = regraft.tune(regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))).run
        torch.set_num_threads(1)
        regraft.resume(run)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_recipe_of_a_run_works_from_every_folder(model, tmp_path, monkeypatch):
    toy_table(tmp_path / "r.csv")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    wanted = asked(Path(os.path.relpath(model)), Path("r.csv"), tmp_path)
    first = regraft.tune(regraft.make_recipe(wanted))
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = regraft.tune(regraft.read_recipe(first.run.recipe))
    weights = [(outcome.run.model / "model.safetensors").read_bytes() for outcome in (first, again)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("given", [5, None, [5], [None], [{"txt": "a"}], ["a", ""], "\ud800"])
def test_what_cannot_be_read_is_an_error_that_says_so(model, tmp_path, given):
    tuned = regraft.tune(regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))).tuned
    with pytest.raises(RecipeError, match="input"):
        tuned.predict(given)


def test_a_missing_second_text_is_no_second_text(model, tmp_path):
    tuned = regraft.tune(regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))).tuned
    assert tuned.predict({"text": "a film", "text_pair": None}) == tuned.predict("a film")


def test_a_bad_input_is_named_by_its_place_among_all(model, tmp_path):
    tuned = regraft.tune(regraft.make_recipe(asked(model, toy_table(tmp_path / "r.csv"), tmp_path))).tuned
    with pytest.raises(RecipeError, match="input 601"):
        tuned.predict(["a"] * 600 + [""])
