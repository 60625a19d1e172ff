"""Two models on the same rows: who is better, on which rows, and when nothing may be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regraft import make_recipe, tune
from regraft.comparing import Slice, _corrected, compare_models
from regraft.errors import DataError, RecipeError
from regraft.evaluation import Comparison
from regraft.run import read_json
from regraft.testing import WORDS, tiny_model, toy_table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned, one that could not, and one that split otherwise; each ends in the folder of its name."""
    place = tmp_path_factory.mktemp("comparing")
    toy_table(place / "toy.csv", rows=200)
    toy_table(place / "numbers.csv", rows=60, kind="numbers")
    tiny_model(place / "model", words=WORDS)
    rates = {"good": 3e-3, "bad": 1e-7, "elsewhere": 1e-7}
    for name, rate in rates.items():
        values = {
            "task": "text-classification",
            "data": {"train": str(place / "toy.csv"), "split": {"validation": 0.1, "test": 0.4}},
            "model": str(place / "model"),
            "strategy": {"name": "full", "learning_rate": rate},
            "training": {"epochs": 10, "precision": "fp32"},
            "evaluation": {"baselines": False, "resamples": 200},
            "output": str(place),
            "name": name,
            "seed": 1 if name == "elsewhere" else 0,
        }
        tune(make_recipe(values))
    return place


def test_the_better_one_is_named_and_the_difference_is_that_of_their_scores(runs: Path) -> None:
    found = compare_models(runs / "good", runs / "bad")
    assert found.rows == read_json(runs / "good" / "scores.json")["rows"]
    assert found.comparison.difference == pytest.approx(found.comparison.tuned_value - found.comparison.baseline_value)
    assert found.comparison.low > 0
    assert found.verdict.startswith(f"{runs / 'good'} is better: accuracy")
    other = compare_models(runs / "bad", runs / "good")
    assert other.comparison.difference == -found.comparison.difference
    assert other.verdict.startswith(f"{runs / 'good'} is better: accuracy")


def test_a_model_is_as_good_as_itself(runs: Path) -> None:
    found = compare_models(runs / "good", runs / "good")
    assert found.comparison.p == 1
    assert found.verdict.startswith(f"no difference that {found.rows} rows could show")


def test_slices_are_the_rows_of_a_label(runs: Path) -> None:
    found = compare_models(runs / "good", runs / "bad")
    assert {each.name for each in found.slices} == {"label good", "label bad"}
    assert sum(each.rows for each in found.slices) == found.rows


def test_rows_that_the_other_has_learned_from_are_refused(runs: Path) -> None:
    with pytest.raises(DataError, match="elsewhere has learned from"):
        compare_models(runs / "good", runs / "elsewhere")
    assert compare_models(runs / "good", runs / "elsewhere", data=str(runs / "toy.csv")).rows == 200


def test_models_of_different_tasks_are_refused(runs: Path) -> None:
    values = {
        "task": "text-regression",
        "data": {"train": str(runs / "numbers.csv"), "split": {"validation": 0.2, "test": 0.2}},
        "model": str(runs / "model"),
        "training": {"epochs": 1, "precision": "fp32"},
        "evaluation": {"baselines": False, "resamples": 100},
        "output": str(runs),
        "name": "numbers",
    }
    tune(make_recipe(values))
    with pytest.raises(RecipeError, match="text-classification.*text-regression"):
        compare_models(runs / "good", runs / "numbers")


def test_p_of_slices_is_corrected_for_their_number() -> None:
    def of(p: float) -> Slice:
        return Slice(str(p), 30, Comparison("accuracy", "", 0.1, 0.0, 0.2, p, 0.9, 0.8))

    found = [each.comparison.p for each in _corrected([of(0.04), of(0.01), of(0.03)])]
    assert np.allclose(found, [0.03, 0.06, 0.06])
