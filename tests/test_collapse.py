"""A run that has learned nothing says so and what to try; one that has learned says nothing."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft import make_recipe, tune, write_report
from regraft.cli._progress import told
from regraft.collapse import only_class
from regraft.run import Run
from regraft.testing import WORDS, tiny_model, toy_table
from regraft.training import Event

WITHOUT = "data.split={train: 0.8, validation: 0.0, test: 0.2}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tables of all kinds, one whose labels are noise, and one of uneven classes."""
    folder = tmp_path_factory.mktemp("collapse")
    tiny_model(folder / "model", words=WORDS)
    for kind in ("classes", "numbers"):
        toy_table(folder / f"{kind}.csv", kind=kind)
    toy_table(folder / "labels.jsonl", kind="labels")
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    labels = [row["label"] for row in rows]
    random.Random(1).shuffle(labels)
    good = [row for row in rows if row["label"] == "good"]
    few = [row for row in rows if row["label"] == "bad"][:14]
    _write(folder / "noise.csv", [row | {"label": label} for row, label in zip(rows, labels, strict=True)])
    _write(folder / "uneven.csv", [*good, *few])
    return folder


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)


def run(place: Path, folder: Path, table: str, strategy: dict[str, Any], *overrides: str, epochs: int = 12) -> Run:
    values = {
        "task": "text-regression" if table.startswith("numbers") else "text-classification",
        "data": {"train": str(place / table), "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "model": str(place / "model"),
        "strategy": strategy,
        "training": {"epochs": epochs, "precision": "fp32", "checkpoint": {"every": None}},
        "evaluation": {"baselines": False, "resamples": 100},
        "output": str(folder),
    }
    return tune(make_recipe(values, overrides)).run


def collapse(run: Run) -> dict[str, Any]:
    """The event, if there is one."""
    return next((event for event in run.history() if event["event"] == "collapsed"), {})


FULL = {"name": "full", "learning_rate": 3e-3}


def test_a_rate_of_1_is_told_on_the_way_at_the_end_and_in_the_report(place: Path, tmp_path: Path) -> None:
    ended = run(place, tmp_path, "classes.csv", {"name": "full", "learning_rate": 1.0})
    found = collapse(ended)
    assert found["only"] in {"good", "bad"}
    assert found["rose"]
    assert "one class for everything: all 24 validation rows" in found["seen"][0]
    assert "the training loss rose from 0.6" in found["seen"][1]
    assert found["tries"][0] == "a lower rate: strategy.learning_rate is 1, by default 5e-05; 5e-05"
    assert any(event.get("only") for event in ended.history() if event["event"] == "validation")
    page = write_report(ended).read_text(encoding="utf-8")
    assert "The model may have learned nothing. One class for everything" in page


def test_without_validation_rows_training_rows_tell(place: Path, tmp_path: Path) -> None:
    ended = run(place, tmp_path, "classes.csv", {"name": "full", "learning_rate": 1.0}, WITHOUT)
    assert "training rows are said to be" in collapse(ended)["seen"][0]


def test_beside_few_validation_rows_training_rows_tell(place: Path, tmp_path: Path) -> None:
    few = "data.split={train: 0.75, validation: 0.05, test: 0.2}"
    ended = run(place, tmp_path, "classes.csv", {"name": "full", "learning_rate": 1.0}, few)
    assert "training rows are said to be" in collapse(ended)["seen"][0]


@pytest.mark.parametrize("table", ["classes.csv", "numbers.csv", "labels.jsonl"])
def test_a_rate_that_moves_nothing_is_told(table: str, place: Path, tmp_path: Path) -> None:
    found = collapse(run(place, tmp_path, table, {"name": "full", "learning_rate": 1e-8}, epochs=2))
    assert (found["flat"], found["rose"]) == (True, False)
    assert "not clearly below" in found["seen"][-1]
    assert found["tries"][0] == "a higher rate: strategy.learning_rate is 1e-08, by default 5e-05; 5e-05"
    assert any(each.startswith("more steps: training.epochs=") for each in found["tries"])


def test_labels_that_are_noise_are_told(place: Path, tmp_path: Path) -> None:
    found = collapse(run(place, tmp_path, "noise.csv", {"name": "linear-probe"}, epochs=3))
    assert found["flat"]
    assert "the inputs may say nothing of the labels" in found["tries"][-1]


def test_uneven_classes_are_told_of_weights(place: Path, tmp_path: Path) -> None:
    slow = {"name": "full", "learning_rate": 1e-3}
    found = collapse(run(place, tmp_path, "uneven.csv", slow, WITHOUT, epochs=3))
    assert found["only"] == "good"
    assert any("task.class_weights=balanced" in each for each in found["tries"])
    weighted = collapse(run(place, tmp_path, "uneven.csv", slow, WITHOUT, "task.class_weights=balanced", epochs=3))
    assert not any("task.class_weights" in each for each in weighted.get("tries", []))


@pytest.mark.parametrize("table", ["classes.csv", "numbers.csv", "labels.jsonl"])
def test_a_run_that_learned_says_nothing(table: str, place: Path, tmp_path: Path) -> None:
    ended = run(place, tmp_path, table, FULL)
    assert collapse(ended) == {}
    assert "may have learned nothing" not in write_report(ended).read_text(encoding="utf-8")


def test_a_run_that_learned_without_validation_rows_says_nothing(place: Path, tmp_path: Path) -> None:
    assert collapse(run(place, tmp_path, "classes.csv", FULL, WITHOUT)) == {}


def test_what_is_fitted_has_no_rate_to_change(place: Path, tmp_path: Path) -> None:
    assert collapse(run(place, tmp_path, "classes.csv", {"name": "logistic"})) == {}


def test_one_class_is_told_only_where_several_rows_are_of_others() -> None:
    logits = np.array([[0.0, 1.0]] * 6)
    assert only_class(logits, np.array([0, 0, 0, 0, 1, 1]), ["a", "b"]) == "b"
    assert only_class(logits, np.array([0, 0, 0, 1, 1, 1]), ["a", "b"]) is None
    assert only_class(np.eye(2), np.array([0, 1]), ["a", "b"]) is None


def test_the_terminal_says_what_was_seen_and_what_to_try() -> None:
    lines = told(Event("collapsed", {"seen": ["one class for everything"], "tries": ["a lower rate"]}))
    assert lines == ["not learned: one class for everything", "  try a lower rate"]
    values = {"epoch": 1.0, "scores": {"accuracy": 0.5}, "best": False, "only": "good"}
    assert told(Event("validation", values)) == ["epoch 1: accuracy 0.500; all rows are said to be 'good'"]
