"""``strategy: auto`` in a run: what it takes is what the recipe then says, and why stays in the plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from regraft.assessment import score_baselines
from regraft.choosing import chosen
from regraft.errors import RecipeError
from regraft.preparation import prepare
from regraft.range_test import find_rate
from regraft.recipe import make_recipe, read_recipe
from regraft.report import write_report
from regraft.run import Run
from regraft.sweeping import SweepOptions
from regraft.sweeping.space import check_space
from regraft.tasks import NAMES
from regraft.testing import WORDS, tiny_model, toy_images, toy_table
from regraft.tuning import resume, tune, tune_events
from tests.training.stage import Stage, assert_same_result, make_stage, result_of

_GOOD, _BAD = WORDS[:5], WORDS[5:10]
AUTO = ("strategy={name: auto}", "training={precision: fp32, epochs: 2}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(tmp_path_factory.mktemp("auto"), rows=60)


def test_the_recipe_of_the_run_names_what_was_chosen(stage: Stage, tmp_path: Path) -> None:
    run = tune(stage.recipe(tmp_path, *AUTO)).run
    recipe, plan = read_recipe(run.recipe), json.loads(run.plan.read_text(encoding="utf-8"))
    assert recipe.strategy.name == plan["strategy"]["name"] == "contrastive"
    assert recipe.model.head == "mean"
    assert "36 rows" in plan["choice"]
    assert plan["choice"] in write_report(run).read_text(encoding="utf-8")


def test_a_run_of_that_recipe_ends_with_the_same_bits(stage: Stage, tmp_path: Path) -> None:
    run = tune(stage.recipe(tmp_path, *AUTO, "name=asked")).run
    again = read_recipe(run.recipe).model_copy(update={"name": "again"})
    assert_same_result(tune(again).run, result_of(run))


def test_resuming_chooses_nothing_anew_and_keeps_the_reason(stage: Stage, tmp_path: Path) -> None:
    whole = tune(stage.recipe(tmp_path, *AUTO, "name=whole")).run
    events = tune_events(stage.recipe(tmp_path, *AUTO, "name=cut"))
    next(event for event in events if event.name == "step")
    events.close()
    run = resume(Run(tmp_path / "cut")).run
    assert_same_result(run, result_of(whole))
    reasons = [json.loads(each.plan.read_text(encoding="utf-8"))["choice"] for each in (run, whole)]
    assert reasons[0] == reasons[1]
    assert reasons[0]


def test_without_a_limit_epochs_are_half_of_those_that_so_many_rows_get(stage: Stage, tmp_path: Path) -> None:
    prepared = prepare(stage.recipe(tmp_path, "strategy=auto", "training={precision: fp32}"))
    assert prepared.recipe.training.epochs == 10


def test_a_limit_that_nothing_fits_takes_what_is_quickest(stage: Stage, tmp_path: Path) -> None:
    prepared = prepare(stage.recipe(tmp_path, "strategy={name: auto, minutes: 1.0e-6}"))
    assert prepared.recipe.strategy.name == "logistic"
    assert prepared.plan.choice is not None
    assert "leave no time for steps" in prepared.plan.choice


def test_patterns_of_the_recipe_stay(stage: Stage, tmp_path: Path) -> None:
    prepared = prepare(stage.recipe(tmp_path, "strategy={name: auto, freeze: embeddings}"))
    assert prepared.recipe.strategy.freeze == ["embeddings"]
    assert not any("embeddings" in name for name in prepared.phases[0].trainable)


def test_a_head_that_is_asked_for_and_cannot_be_fitted_is_tuned_with_all(stage: Stage, tmp_path: Path) -> None:
    recipe = make_recipe(
        stage.recipe(tmp_path, "strategy=auto", "model.head=own").model_dump(mode="json"),
        [f"model.name={tiny_model(tmp_path / 'roberta', family='roberta')}"],
    )
    assert prepare(recipe).recipe.strategy.name == "full"


@pytest.mark.parametrize(
    ("family", "task", "kind", "name"),
    [
        ("roberta", "text-regression", "numbers", "probe-then-tune"),
        ("gpt2", "text-regression", "numbers", "probe-then-tune"),
        ("distilbert", "text-classification", "labels", "probe-then-tune"),
        ("llama", "text-classification", "classes", "contrastive"),
        ("t5", "text-classification", "classes", "full"),  # which gives no states of a text alone
    ],
)
def test_what_is_chosen_fits_the_model_and_its_head(
    stage: Stage, tmp_path: Path, family: str, task: str, kind: str, name: str
) -> None:
    model = tiny_model(tmp_path / "model", family=family, words=WORDS)
    table = toy_table(tmp_path / "table.csv", kind=kind, rows=40)
    asked = [f"model.name={model}", f"data.train={table}", f"task={task}", "strategy=auto"]
    prepared = prepare(make_recipe(stage.recipe(tmp_path).model_dump(mode="json"), asked))
    assert prepared.recipe.strategy.name == name


def test_images_are_not_compared_by_cosine(tmp_path: Path) -> None:
    toy_images(tmp_path / "images")
    values = {
        "task": "image-classification",
        "data": str(tmp_path / "images"),
        "model": str(tiny_model(tmp_path / "model", family="resnet")),
        "strategy": "auto",
    }
    assert prepare(make_recipe(values)).recipe.strategy.name == "probe-then-tune"


@pytest.mark.parametrize(
    "asked", ["training.regularization.r_drop=1.0", "training.average=uniform", "strategy={name: auto, train: head}"]
)
def test_what_only_the_loss_of_the_task_obeys_leaves_pairs_and_fits_out(
    stage: Stage, tmp_path: Path, asked: str
) -> None:
    prepared = prepare(stage.recipe(tmp_path, "strategy={name: auto}", asked))
    assert prepared.recipe.strategy.name == "full"


def test_few_bits_ask_for_a_strategy_by_name(stage: Stage, tmp_path: Path) -> None:
    prepared = prepare(stage.recipe(tmp_path))  # of few bits a machine without CUDA prepares nothing
    recipe = stage.recipe(tmp_path, "strategy=auto", "model.bits=4")
    with pytest.raises(RecipeError, match="takes none that goes with model.bits = 4"):
        chosen(recipe, prepared.task, prepared.splits, prepared.answers, poll=lambda: None)


@pytest.mark.parametrize(("own", "named"), [("full", "auto"), ("auto", "full")])
def test_it_is_chosen_from_no_sweep(stage: Stage, tmp_path: Path, own: str, named: str) -> None:
    options = SweepOptions.model_validate({"space": {"strategy.name": ["linear-probe", named]}})
    with pytest.raises(RecipeError, match="auto chooses one itself"):
        check_space(options, stage.recipe(tmp_path, f"strategy={{name: {own}}}"))


def test_a_batch_of_one_has_no_pairs(stage: Stage, tmp_path: Path) -> None:
    alone = "training.batch_size=1"
    assert prepare(stage.recipe(tmp_path, "strategy=auto", alone)).recipe.strategy.name == "probe-then-tune"
    with pytest.raises(RecipeError, match="no pairs in a batch of one"):
        prepare(stage.recipe(tmp_path, "strategy={name: contrastive}", alone))


def test_the_rate_of_what_is_chosen_is_found(stage: Stage, tmp_path: Path) -> None:
    found = find_rate(stage.recipe(tmp_path, "strategy=auto"), steps=30)
    assert found.strategy == "contrastive"
    assert [option.default for option in found.options] == [5e-5]


def _with_names(folder: Path, good: str, bad: str) -> Path:
    """The toy table with other names for its classes, which a tiny model knows as words of such rows."""
    table = toy_table(folder / "toy.csv", rows=60)
    renamed = table.read_text(encoding="utf-8").replace(",good\n", f",{good}\n").replace(",bad\n", f",{bad}\n")
    (folder / "named.csv").write_text(renamed, encoding="utf-8")
    return folder / "named.csv"


@pytest.mark.parametrize("swapped", [False, True])
def test_names_are_learned_from_where_rows_are_like_them(stage: Stage, tmp_path: Path, swapped: bool) -> None:
    """Even an untrained model, being the mean of its words, finds rows alike that share words with a name."""
    good, bad = " ".join(_GOOD), " ".join(_BAD)
    table = _with_names(tmp_path, *((bad, good) if swapped else (good, bad)))
    prepared = prepare(stage.recipe(tmp_path, "strategy=auto", f"data.train={table}"))
    stated = [example for example in prepared.splits.train if example.file == NAMES]
    assert len(stated) == (0 if swapped else 16)
    assert (prepared.recipe.task.own()["templates"] is True) != swapped


def test_baselines_learn_from_the_rows_of_the_table_alone(stage: Stage, tmp_path: Path) -> None:
    found = []
    for templates in ("true", "null"):
        asked = stage.recipe(tmp_path, "strategy=logistic", f"task.templates={templates}", "evaluation.baselines=true")
        prepared = prepare(asked)
        found.append(score_baselines(prepared, lambda: None))
    with_names, without = found
    assert all(np.array_equal(with_names[name], without[name]) for name in ("majority", "linear_probe"))
