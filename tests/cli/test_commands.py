"""Every command does what it says: results on stdout, the rest on stderr, and the exit code tells."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from regraft.recipe import read_recipe
from regraft.run import read_json
from regraft.tuned import Tuned


def first_run(place: Path, *more: object) -> list[object]:
    return [
        "tune", "--data", place / "reviews.csv", "--task", "text-classification", "--model", place / "model", *more,
        "training.epochs=1",
    ]  # fmt: skip


def test_a_table_and_a_task_are_enough_to_tune(command, place, tmp_path):
    answer = command(*first_run(place, f"output={tmp_path}"))
    assert answer.code == 0
    assert "majority" in answer.out
    assert "linear probe" in answer.out
    assert (tmp_path / "reviews-full-1" / "report.html").is_file()
    assert (tmp_path / "reviews-full-1" / "model" / "README.md").is_file()


def test_progress_goes_to_stderr_and_results_to_stdout(command, place, tmp_path):
    answer = command(*first_run(place, f"output={tmp_path}", "--json"))
    scores = json.loads(answer.out)
    assert scores["primary"] == "accuracy"
    assert set(scores["baselines"]) == {"majority", "linear_probe"}
    assert "learning rate" in answer.err
    assert "epoch 1" in answer.err


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("logistic", "is fitted to {} training rows, held back by"),
        ("knn", "keeps {} training rows, of which the nearest"),
    ],
)
def test_a_fit_is_told_as_one_and_not_as_an_epoch(command, place, tmp_path, strategy, told):
    answer = command(*first_run(place, f"output={tmp_path}", f"strategy={strategy}"))
    rows = read_json(next(tmp_path.glob("*/plan.json")))["data"]["train"]
    assert f"the last layer {told.format(rows)}" in answer.err
    assert "\nfitted: accuracy" in answer.err
    assert "epoch" not in answer.err


def test_quiet_says_nothing_on_stderr_but_what_went_wrong(command, place, tmp_path):
    quiet = first_run(place, f"output={tmp_path}", "--quiet")
    assert command(*quiet, "strategy.learning_rate=3e-3", "training.epochs=10").err == ""
    told = command(*quiet, "strategy.learning_rate=1e-9").err.splitlines()
    assert told[0].startswith("not learned: ")
    assert all(line.startswith(("not learned: ", "  try ")) for line in told)


def test_overrides_win_over_the_recipe(command, place, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: text-classification\nmodel: {place / 'model'}\ndata: {place / 'reviews.csv'}\nstrategy: full\n"
        f"training: {{epochs: 9}}\noutput: {tmp_path}\nname: mine\n"
    )
    assert command("tune", recipe, "training.epochs=1", "strategy.name=linear-probe", "-q").code == 0
    resolved = read_recipe(tmp_path / "mine" / "recipe.yaml")
    assert resolved.training.epochs == 1
    assert resolved.strategy.name == "linear-probe"
    assert resolved.strategy.own() == {"learning_rate": 1e-3}


def test_plan_shows_every_part_and_writes_nothing(command, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command(
        "plan", "--data", place / "reviews.csv", "--task", "text-classification", "--model", place / "model",
        "strategy.name=top-layers", "strategy.n=1",
    )  # fmt: skip
    lines = answer.out.splitlines()
    assert any("embeddings" in line and "frozen" in line for line in lines)
    assert any("blocks[0]" in line and "frozen" in line for line in lines)
    assert any("blocks[1]" in line and "0.0001" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_finished_run_gives_the_same_scores(command, tuned_run):
    before = (tuned_run / "scores.json").read_bytes()
    history = (tuned_run / "events.jsonl").read_bytes()
    answer = command("resume", tuned_run, "-q")
    assert answer.code == 0
    assert "has ended already" in answer.err
    assert (tuned_run / "scores.json").read_bytes() == before
    assert (tuned_run / "events.jsonl").read_bytes() == history


def test_what_is_said_to_tune_it_again_does_not_end_at_the_name_of_the_run(command, tuned_run):
    [line] = [line for line in command("resume", tuned_run, "-q").out.splitlines() if line.startswith("again")]
    assert line.split()[1:] == ["regraft", "tune", str(tuned_run / "recipe.yaml"), "name=null"]
    assert command("plan", *line.split()[3:], "--quick").code == 0


def test_evaluate_gives_the_scores_of_the_run(command, tuned_run):
    answer = command("evaluate", tuned_run, "--json")
    told = json.loads((tuned_run / "scores.json").read_text())
    assert json.loads(answer.out)["test"] == told["test"]


def test_evaluate_scores_another_table(command, tuned_run, place, tmp_path):
    answer = command(
        "evaluate", tuned_run, "--data", place / "reviews.csv", "--json", "--predictions", tmp_path / "all.parquet"
    )
    assert json.loads(answer.out)["rows"] == 120
    assert pq.read_table(tmp_path / "all.parquet").num_rows == 120


def test_predictions_of_evaluate_are_those_of_predict(command, tuned_run):
    rows = pq.read_table(tuned_run / "predictions.parquet").to_pylist()
    answer = command("predict", tuned_run, *(row["text"] for row in rows))
    answered = [json.loads(line) for line in answer.out.splitlines()]
    assert [each["prediction"] for each in answered] == [row["prediction"] for row in rows]
    assert [list(each["probabilities"].values()) for each in answered] == [
        pytest.approx(row["probabilities"], abs=1e-5) for row in rows
    ]


def test_predict_answers_every_row_of_a_file_in_its_order(command, tuned_run, place):
    answer = command("predict", tuned_run, "--file", place / "reviews.csv", "--batch-size", 7)
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["row"] for line in lines] == list(range(2, 122))
    assert answer.code == 0


def test_predict_reads_text_and_json_lines_from_stdin(command, tuned_run):
    answer = command("predict", tuned_run, stdin='a good film\n{"text": "a dull film"}\n')
    assert [json.loads(line)["row"] for line in answer.out.splitlines()] == [1, 2]


def test_predict_answers_the_good_lines_and_tells_of_the_bad_ones(command, tuned_run):
    answer = command("predict", tuned_run, stdin='a good film\n{"txt": 1}\n{broken\na dull film\n')
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert ["error" in line for line in lines] == [False, True, True, False]
    assert answer.code == 3


def test_a_model_folder_predicts_as_its_run_does(command, tuned_run):
    assert (
        command("predict", tuned_run, "a good film").out == command("predict", tuned_run / "model", "a good film").out
    )


def test_runs_lists_what_was_reached(command, tuned_run):
    answer = command("runs", tuned_run.parent)
    assert "accuracy" in answer.out
    assert json.loads(command("runs", tuned_run.parent, "--json").out)[0]["task"] == "text-classification"


def test_report_is_written_again(command, tuned_run):
    (tuned_run / "report.html").unlink()
    answer = command("report", tuned_run)
    assert answer.out.strip() == str(tuned_run / "report.html")
    assert "<html" in (tuned_run / "report.html").read_text(encoding="utf-8")


def test_init_writes_a_recipe_that_plans_and_never_overwrites(command, place, tmp_path):
    file = tmp_path / "recipe.yaml"
    assert command("init", file, "--data", place / "reviews.csv").code == 0
    assert command("plan", file, f"model={place / 'model'}").code == 0
    assert command("init", file).code == 2


def test_init_prints_the_schema_with_the_options_of_tasks_and_strategies(command):
    schema = json.loads(command("init", "--schema").out)
    assert "n" in schema["$defs"]["StrategyOptions"]["properties"]
    assert "focal_gamma" in schema["$defs"]["TaskOptions"]["properties"]
    ways = schema["$defs"]["AugmentationOptions"]["properties"]
    assert {word for way in ways["policy"]["anyOf"] for word in way["enum"]} >= {"trivial", "rand", "strong"}
    assert {"typos", "mosaic", "time_masks"} <= set(ways)


def test_predict_reads_a_file_as_the_run_read_its_table(command, place, tmp_path):
    table = tmp_path / "own.csv"
    text = (place / "reviews.csv").read_text().replace("text,label", "what was said,verdict", 1)
    table.write_bytes(text.encode("utf-16"))
    given = ["tune", "--data", table, "--task", "text-classification", "--model", place / "model", "-q"]
    columns = ["data.columns.text=what was said", "data.columns.label=verdict", "data.encoding=utf-16"]
    assert command(*given, *columns, f"output={tmp_path}", "name=own", "training.epochs=1").code == 0
    assert len(command("predict", tmp_path / "own", "--file", table).out.splitlines()) == 120
    assert command("evaluate", tmp_path / "own", "--data", table).code == 0


def test_predict_takes_data_options_for_a_file(command, tuned_run, tmp_path):
    table = tmp_path / "other.csv"
    table.write_text("a;b\nx;a good film\n")
    assert command("predict", tuned_run, "--file", table, "data.columns.text=b").code == 0
    assert command("predict", tuned_run, "--file", table, "a text").code == 2


def test_init_says_what_every_option_means(command, tmp_path):
    command("init", tmp_path / "r.yaml")
    lines = (tmp_path / "r.yaml").read_text(encoding="utf-8").splitlines()
    options = [line for line in lines if ":" in line and not line.startswith("#") and not line.endswith(":")]
    assert len(options) > 40
    assert [line for line in options if "  # " not in line] == []


def test_init_writes_the_options_of_task_and_strategies(command, tmp_path):
    command("init", tmp_path / "r.yaml")
    written = (tmp_path / "r.yaml").read_text()
    assert all(
        key in written
        for key in ("learning_rate:", "layer_decay:", "max_length:", "name: top-layers", "cosine", "typos:")
    )


def test_version_is_told(command):
    assert command("--version").out.startswith("regraft ")


def test_python_and_command_line_answer_alike(command, tuned_run):
    from_python = Tuned.load(tuned_run).predict("a good film")[0]
    assert json.loads(command("predict", tuned_run, "a good film").out) == from_python


def test_what_only_writers_and_voices_are_asked_is_refused_of_others(command, tuned_run):
    answer = command("predict", tuned_run, "good", "--temperature", 0.5)
    assert answer.code == 2
    assert "text-classification has no temperature" in answer.err
    assert "leave --temperature out" in answer.err
    answer = command("predict", tuned_run, "good", "--sounds", "folder")
    assert answer.code == 2
    assert "does not speak" in answer.err


def test_a_forecast_can_be_left_out(command, place, tmp_path):
    given = ["tune", "--data", place / "reviews.csv", "--task", "text-classification", "--model", place / "model", "-q"]
    assert command(*given, f"output={tmp_path}", "name=none", "training.epochs=1", "--no-forecast").code == 0
    assert command(*given, f"output={tmp_path}", "name=one", "training.epochs=1", "--forecast").code == 0
    assert '"forecast": null' in (tmp_path / "none" / "plan.json").read_text()
    assert '"forecast": null' not in (tmp_path / "one" / "plan.json").read_text()


def test_two_runs_are_compared_in_a_table_and_a_sentence(command, tuned_run):
    answer = command("compare", tuned_run, tuned_run)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[1].split()[0] == "all"
    assert "No difference that" in answer.out
    assert json.loads(command("compare", tuned_run, tuned_run, "--json").out)["comparison"]["p"] == 1
