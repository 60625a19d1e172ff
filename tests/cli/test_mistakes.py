"""A user's mistake gets a message that says what was given and what to do, an exit code, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

MISTAKES = {
    "no words": (["tune"], 2, "--data"),
    "no such recipe": (["tune", "nope.yaml"], 2, "nope.yaml"),
    "two recipes": (["tune", "a.yaml", "b.yaml"], 2, "two recipes"),
    "no such table": (["tune", "--data", "nope.csv", "--task", "text-classification"], 3, "nope.csv"),
    "no task": (["tune", "--data", "{reviews}"], 2, "task"),
    "misspelt task": (["tune", "--data", "{reviews}", "--task", "text-clasification"], 2, "'text-classification'"),
    "misspelt key": (["plan", "{recipe}", "trainig.epochs=2"], 2, "'training'"),
    "misspelt strategy": (["plan", "{recipe}", "strategy.name=fulll"], 2, "'full'"),
    "option of another strategy": (["plan", "{recipe}", "strategy.n=2"], 2, "strategy.n"),
    "wrong type": (["plan", "{recipe}", "training.epochs=many"], 2, "training.epochs"),
    "pattern without match": (["plan", "{recipe}", "strategy.freeze=blocks[7]"], 2, "blocks[0]"),
    "too many layers": (["plan", "{recipe}", "strategy={{name: top-layers, n: 9}}"], 2, "2 blocks"),
    "nothing to train": (["plan", "{recipe}", "strategy={{name: linear-probe, freeze: ['*']}}"], 2, "freeze"),
    "wrong column": (["plan", "{recipe}", "data.columns.text=txet"], 3, "text"),
    "unknown column key": (["plan", "{recipe}", "data.columns.txt=text"], 2, "text"),
    "metric of another kind": (["plan", "{recipe}", "evaluation.primary=spearman"], 2, "spearman"),
    "loss that does not fit": (["plan", "{recipe}", "task.loss=binary-cross-entropy"], 2, "loss"),
    "misspelt packaged model": (["plan", "{recipe}", "model=minilmm"], 2, "minilm"),
    "folder that is no model": (["plan", "{recipe}", "model={folder}"], 2, "config.json"),
    "nothing to score on": (
        ["plan", "{recipe}", "data.split={{train: 0.8, validation: 0.2, test: 0.0}}"], 2, "data.split.test"
    ),
    "run that is none": (["resume", "{folder}"], 2, "not a run folder"),
    "model that is none": (["predict", "{folder}", "text"], 2, "not a tuned model"),
    "report of nothing": (["report", "{folder}"], 2, "not a run folder"),
    "run name that exists": (["tune", "{recipe}", "name=tuned", "output={runs}"], 2, "resume"),
    "run name that is a path": (["tune", "{recipe}", "name=../x"], 2, "name"),
    "words where numbers belong": (
        ["plan", "--data", "{reviews}", "--task", "text-regression", "data.columns.score=label"], 3, "row 2"
    ),
}  # fmt: skip


@pytest.fixture
def words(place: Path, tuned_run: Path, tmp_path: Path) -> dict[str, str]:
    recipe, empty = tmp_path / "recipe.yaml", tmp_path / "empty"
    empty.mkdir()
    recipe.write_text(
        f"task: text-classification\nmodel: {place / 'model'}\ndata: {place / 'reviews.csv'}\noutput: {tmp_path}\n"
    )
    return {
        "reviews": str(place / "reviews.csv"),
        "recipe": str(recipe),
        "folder": str(empty),
        "runs": str(tuned_run.parent),
    }


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_explained(command, words, name):
    given, code, said = MISTAKES[name]
    answer = command(*(word.format(**words) for word in given))
    assert answer.code == code, answer.err
    assert said in answer.err
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err


def test_bad_rows_are_named_with_file_row_and_column(command, place, tmp_path):
    table = tmp_path / "reviews.csv"
    table.write_text((place / "reviews.csv").read_text() + ',good\n"a film",\n')
    given = ["plan", "--data", table, "--task", "text-classification", "--model", place / "model"]
    answer = command(*given)
    assert answer.code == 3
    assert f"{table}, row 122, column 'text'" in answer.err
    assert f"{table}, row 123, column 'label'" in answer.err
    skipped = command(*given, "data.on_bad_rows=skip")
    assert skipped.code == 0
    assert "2 bad rows" in skipped.out


def test_pickled_weights_are_refused_with_exit_code_6(command, place, words, tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "config.json").write_text((place / "model" / "config.json").read_text())
    (hostile / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    answer = command("plan", words["recipe"], f"model={hostile}")
    assert answer.code == 6
    assert "pytorch_model.bin" in answer.err
