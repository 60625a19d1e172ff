"""regraft sweep: the table on stdout, progress on stderr, and what is asked for once only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SWEEP = "sweep: {sampler: grid, finalists: 1, seeds: 2, space: {strategy.learning_rate: [1.0e-3, 5.0e-3]}}"


@pytest.fixture(scope="module")
def recipe(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file with a sweep of two probes, and where its runs go."""
    folder = tmp_path_factory.mktemp("sweep")
    file = folder / "recipe.yaml"
    file.write_text(
        f"task: text-classification\nmodel: {place / 'model'}\ndata: {place / 'reviews.csv'}\nstrategy: linear-probe\n"
        f"training: {{epochs: 1, precision: fp32}}\noutput: {folder / 'runs'}\n{SWEEP}\n"
    )
    return file


def test_the_table_goes_to_stdout_and_progress_to_stderr(command, recipe, tmp_path):
    answer = command("sweep", recipe, f"output={tmp_path}")
    assert answer.code == 0
    assert "trial, by accuracy" in answer.out
    assert "optimistic" in answer.out
    assert "over seeds" in answer.out
    assert "the recipe as it is" in answer.out
    assert f"regraft tune {tmp_path / 'recipe-sweep-1'}" not in answer.out
    assert f"regraft tune {tmp_path / 'reviews-sweep-1' / 'best.yaml'}" in answer.out
    assert (tmp_path / "reviews-sweep-1" / "report.html").is_file()
    assert "trial 2 of 2" in answer.err
    assert "seed run 4 of 4" in answer.err


def test_a_name_and_json_and_going_on(command, recipe, tmp_path):
    first = command("sweep", recipe, f"output={tmp_path}", "--name", "mine", "--json", "--quiet")
    assert first.err == ""
    found = json.loads(first.out)
    assert found["finished"]
    assert [each["state"] for each in found["trials"]] == ["complete", "complete"]
    assert json.loads(command("sweep", tmp_path / "mine", "--json", "--quiet").out) == found


def test_the_winner_is_tuned_into_the_sweeps_folder_and_its_report_tells_of_the_sweep(command, recipe, tmp_path):
    assert command("sweep", recipe, f"output={tmp_path}", "--name", "mine", "--quiet").code == 0
    assert command("tune", tmp_path / "mine" / "best.yaml", "--quiet").code == 0
    page = (tmp_path / "mine" / "reviews-linear-probe-1" / "report.html").read_text()
    assert "How was it chosen?" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.trails=3"], "did you mean 'sweep.trials'?"),
        (["sweep.space.strategy.learnin_rate=[1]"], "did you mean 'strategy.learning_rate'?"),
        (["traning.epochs=3"], "did you mean 'training"),
        (["other.yaml"], "name one recipe file"),
        (["sweep=3"], "is not an option"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(command, recipe, words, said):
    answer = command("sweep", recipe, *words)
    assert answer.code == 2
    assert said in answer.err


def test_tune_says_what_to_do_with_a_sweep(command, recipe):
    answer = command("tune", recipe)
    assert answer.code == 2
    assert f"regraft sweep {recipe}" in answer.err


def test_a_sweep_that_has_begun_takes_no_options(command, tmp_path):
    answer = command("sweep", tmp_path, "seed=3")
    assert answer.code == 2
    assert "has begun" in answer.err


def test_a_folder_that_is_no_sweep_is_named(command, tmp_path):
    answer = command("sweep", tmp_path)
    assert answer.code == 2
    assert "no sweep.yaml" in answer.err
