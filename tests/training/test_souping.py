"""regraft soup: the mean of runs is what it says, is scored beside each of them, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regraft import Tuned, soup, tune
from regraft.cli.soup import command
from regraft.errors import RecipeError
from tests.training.stage import Stage, make_stage

SPLIT = "data.split.seed=7"


@pytest.fixture(scope="module")
def runs(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds that learned from the same rows, one of them at another rate."""
    output = tmp_path_factory.mktemp("seeds")
    rates = {1: "1e-3", 2: "1e-3", 3: "5e-4"}
    return [
        tune(stage.recipe(output, SPLIT, f"seed={seed}", f"strategy.learning_rate={rate}", f"name=s{seed}")).run.folder
        for seed, rate in rates.items()
    ]


def test_a_uniform_soup_is_the_mean_and_is_scored_beside_each(runs: list[Path], tmp_path: Path) -> None:
    made = soup(runs, to=tmp_path / "soup")
    saved = load_file(made.folder / "model.safetensors")
    each = [load_file(run / "model" / "model.safetensors") for run in runs]
    for name, value in saved.items():
        mean = torch.stack([weights[name] for weights in each]).mean(dim=0)
        torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-6)
    told = json.loads((made.folder / "soup.json").read_text())
    assert told["averaged"] == made.runs == [str(run) for run in runs]
    for run in runs:
        own = json.loads((run / "scores.json").read_text())["test"]["accuracy"]["value"]
        assert told["scores"]["baselines"][str(run)]["accuracy"]["value"] == pytest.approx(own)
    (answer,) = Tuned.load(made.folder).predict(["a good film"])
    assert answer["prediction"] in {"good", "bad"}


def test_a_greedy_soup_is_no_worse_on_the_validation_rows_than_its_best_run(runs: list[Path], tmp_path: Path) -> None:
    made = soup(runs, how="greedy", to=tmp_path / "soup")
    alone = [json.loads((run / "scores.json").read_text())["validation"]["accuracy"]["value"] for run in runs]
    assert made.scores["validation"]["accuracy"]["value"] >= max(alone) - 1e-9
    assert set(made.runs) <= {str(run) for run in runs}


def test_the_command_says_each_score_and_where_the_model_is(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(runs[:2], to=tmp_path / "soup")
    said = capsys.readouterr().out
    assert all(str(run) in said for run in runs[:2])
    assert str(tmp_path / "soup") in said
    assert (tmp_path / "soup" / "config.json").is_file()


def test_runs_that_learned_from_each_others_test_rows_are_refused(stage: Stage, runs: list[Path], output: Path) -> None:
    other = tune(stage.recipe(output, "data.split.seed=8", "name=other")).run.folder
    with pytest.raises(RecipeError, match="has split the data otherwise"):
        soup([runs[0], other])


def test_runs_of_another_model_are_refused(stage: Stage, runs: list[Path], output: Path, tmp_path: Path) -> None:
    larger = make_stage(tmp_path / "larger", num_hidden_layers=1)
    other = tune(stage.recipe(output, SPLIT, "name=other", model=larger.model)).run.folder
    with pytest.raises(RecipeError, match="differs from .* in model"):
        soup([runs[0], other])


def test_adapters_are_refused(stage: Stage, output: Path) -> None:
    lora = [tune(stage.recipe(output, SPLIT, "strategy=lora", f"name=l{n}")).run.folder for n in (1, 2)]
    with pytest.raises(RecipeError, match="has an adapter"):
        soup(lora)


def test_one_run_or_one_twice_or_a_place_that_is_taken_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="1 runs to average"):
        soup(runs[:1])
    with pytest.raises(RecipeError, match="2 runs to average"):
        soup([runs[0], runs[0]])
    with pytest.raises(RecipeError, match="exists"):
        soup(runs, to=tmp_path)
