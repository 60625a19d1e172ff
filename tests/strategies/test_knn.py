"""knn on real models: its head is opened again, neither a stop nor the store changes a bit, the plan is true."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from regraft import Recipe, Tuned, make_recipe, prepare, tune
from regraft.errors import RecipeError
from regraft.souping import soup
from regraft.sources import make_rows
from regraft.testing import WORDS, tiny_model, toy_table
from regraft.training.readout import embedding
from tests.training.test_exact import Countdown, _broken, _whole


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("knn")
    for kind in ("classes", "labels", "numbers"):
        toy_table(folder / f"{kind}.jsonl", kind=kind)
    tiny_model(folder / "model", words=WORDS)
    return folder


def recipe(place: Path, *overrides: str, table: str = "classes") -> Recipe:
    return make_recipe(
        {
            "task": "text-regression" if table == "numbers" else "text-classification",
            "data": str(place / f"{table}.jsonl"),
            "model": str(place / "model"),
            "strategy": {"name": "knn"},
            "training": {"precision": "fp32"},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(place / "runs"),
        },
        overrides,
    )


def test_several_labels_are_told_by_neighbours_and_opened_again(place: Path) -> None:
    outcome = tune(recipe(place, table="labels"))
    inputs = ["good", "bad", "a good film and a bad story"]
    assert Tuned.load(outcome.run.folder).predict(inputs) == outcome.tuned.predict(inputs)
    kept = load_file(outcome.run.model / "head.safetensors")
    assert set(kept) == {"answers", "k", "weight"}


def test_a_stop_changes_no_bit(place: Path, tmp_path: Path) -> None:
    prepared = prepare(recipe(place, "cache.store=never"))
    count = Countdown()
    expected = _whole(prepared, tmp_path / "whole", count)
    for at in range(1, count.calls + 1):
        assert _broken(prepared, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


def test_what_is_kept_of_a_row_is_what_the_last_layer_is_given_of_it(place: Path, tmp_path: Path) -> None:
    asked = recipe(place, f"output={tmp_path}", "strategy.temperature=0.5")
    outcome, prepared = tune(asked), prepare(asked)
    opened = outcome.tuned.pretrained
    rows = make_rows(prepared.splits.train, prepared.task, prepared.answers, opened)
    inputs = prepared.task.inputs.collate(rows.encoded, opened.processor)
    with embedding(opened.model.eval(), opened.anatomy), torch.no_grad():
        given = opened.model(**inputs)["logits"]
    kept = load_file(outcome.run.model / "head.safetensors")["weight"]
    torch.testing.assert_close(kept, functional.normalize(given, dim=1) / 0.5, rtol=1e-4, atol=1e-5)


def test_stored_rows_give_the_same_bits(place: Path, tmp_path: Path) -> None:
    one, other = (
        load_file(tune(recipe(place, f"output={tmp_path}", f"cache.store={store}")).run.model / "head.safetensors")
        for store in ("always", "never")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_plan_says_that_nothing_trains_and_how_many_rows_are_kept(place: Path) -> None:
    prepared = prepare(recipe(place))
    rows, features = len(prepared.splits.train), prepared.pretrained.config.hidden_size
    assert any(f"nothing trains: the last layer keeps {rows} training rows" in note for note in prepared.plan.notes)
    head = next(part for part in prepared.plan.tree if part.name == "head")
    assert head.parameters == rows * (features + 2) + 1
    assert head.trainable == prepared.plan.parameters["trainable"] == 0
    assert prepared.plan.model["new"] == []


def test_the_number_of_neighbours_may_be_asked_for(place: Path) -> None:
    outcome = tune(recipe(place, "strategy.k=7"))
    assert next(event["k"] for event in outcome.run.history() if event["event"] == "fit") == 7


@pytest.mark.parametrize(
    ("overrides", "table", "told"),
    [
        (["strategy.k=5000"], "classes", "strategy.k = 5000"),
        (["model.head=own"], "classes", "has no last layer of ours"),
        (["strategy.freeze=head"], "classes", "is asked to be frozen"),
        (["strategy.train=blocks[0]"], "classes", "takes no step"),
        ([], "numbers", "here the answers are numbers"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], table: str, told: str, place: Path) -> None:
    with pytest.raises(RecipeError, match=told):
        prepare(recipe(place, *overrides, table=table))


def test_rows_have_no_mean(place: Path, tmp_path: Path) -> None:
    runs = [tune(recipe(place, f"output={tmp_path}")).run.folder for _ in range(2)]
    with pytest.raises(RecipeError, match="the mean of rows says nothing"):
        soup(runs, to=tmp_path / "soup")
