"""regraft plan: what would train, what it would take, and what to choose within a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regraft.strategies import strategy_names


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, place: Path) -> list[object]:
    return [
        "plan", "--data", place / "reviews.csv", "--task", "text-classification", "--model", place / "model",
        "strategy={name: top-layers, n: 1}", "training.epochs=2", "evaluation.resamples=100",
    ]  # fmt: skip


def test_a_plan_forecasts_time_memory_and_disk(command, asked, tmp_path):
    answer = command(*asked, f"output={tmp_path}")
    lines = {line.split()[0]: line for line in answer.out.splitlines() if line.strip()}
    assert answer.code == 0
    assert "1 of 2 blocks are frozen" in lines["frontier"]
    assert "filled once" in lines["store"]
    assert "at the peak" in lines["memory"]
    assert "in all, with 2 epochs of" in lines["time"]
    assert list(tmp_path.iterdir()) == []


def test_a_quick_plan_runs_nothing(command, asked):
    answer = command(*asked, "--quick", "--json")
    assert json.loads(answer.out)["forecast"] is None


def test_a_plan_says_how_little_a_few_test_rows_tell(command, asked):
    few, many = (
        command(*asked, "--quick", f"data.split={{train: {1 - test}, validation: 0, test: {test}}}").out
        for test in (0.25, 0.875)  # of 120
    )
    assert "rows to score on: intervals will be wide, about ±0.11 around an accuracy of 0.9" in few
    assert "rows to score on" not in many


def test_a_plan_as_json_holds_the_forecast(command, asked, tmp_path):
    told = json.loads(command(*asked, "--json", f"output={tmp_path}").out)["forecast"]
    assert set(told) == {
        "strategy", "options", "trainable", "total", "phases", "parts", "seconds", "memory", "disk", "spent", "notes"
    }  # fmt: skip
    assert told["options"]["n"] == 1
    assert told["phases"][0]["stored"]
    assert told["parts"]["reading"] > 0


@pytest.fixture(scope="module")
def compared(asked: list[object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One comparison for all tests, for it starts a process for each strategy."""
    from regraft.cli._asked import recipe_of
    from regraft.cli.plan import _compared
    from regraft.preparation import prepare

    words = [str(word) for word in asked[7:]] + [f"output={tmp_path_factory.mktemp('compared')}"]
    recipe = recipe_of(words, data=str(asked[2]), task=str(asked[4]), model=str(asked[6]))
    return _compared(prepare(recipe), 1.0, 60.0, None, lambda: None)


def test_every_strategy_is_compared_but_the_one_that_chooses_among_them(compared):
    told = [*compared["forecasts"], *compared["refused"]]
    assert {each["strategy"] for each in told} == set(strategy_names()) - {"auto"}
    assert {each["options"]["n"] for each in told if each["strategy"] == "top-layers"} == {1, 2}
    assert {"full", "linear-probe", "top-layers"} <= {each["strategy"] for each in compared["forecasts"]}


def test_the_one_that_trains_most_is_chosen_where_all_fit(compared):
    chosen = compared["forecasts"][compared["chosen"]]
    assert chosen["trainable"] == max(each["trainable"] for each in compared["forecasts"])


def test_a_comparison_is_a_table_with_a_choice(compared):
    from regraft.cli.plan import _comparison_lines

    lines = list(_comparison_lines(compared))
    assert lines[0].split()[:2] == ["strategy", "trains"]
    assert any(line.startswith("top-layers n=1") for line in lines)
    chosen = compared["forecasts"][compared["chosen"]]["strategy"]
    assert lines[-1].startswith(f"\nwithin 60 minutes: {chosen} (of those within the budget")


def test_a_mistake_in_the_recipe_is_told_before_anything_is_compared(command, asked):
    answer = command(*asked, "strategy.n=9", "--minutes", 5)
    assert answer.code == 2
    assert "2 blocks" in answer.err


def test_quick_does_not_go_with_a_comparison(command, asked):
    assert command(*asked, "--quick", "--compare").code == 2
