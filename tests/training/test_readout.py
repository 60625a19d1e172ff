"""Phases with an objective of their own: the last layer fitted in closed form, and the backbone tuned by pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from regraft import evaluation
from regraft.errors import RecipeError
from regraft.preparation import Prepared, prepare
from regraft.probing import output_features
from regraft.sources import make_rows
from regraft.training.readout import require_plain
from tests.training.stage import Stage, bits, loop_of
from tests.training.test_exact import Countdown, _broken, _whole

_CONTRASTIVE = "strategy={name: contrastive, learning_rate: 1.0e-3, n: 1}"


def _prepared(stage: Stage, output: Path, *overrides: str) -> Prepared:
    return prepare(stage.recipe(output, "training.checkpoint.every=1000", "training.accumulation=1", *overrides))


def test_a_fitted_head_says_what_the_linear_probe_says(stage: Stage, output: Path, tmp_path: Path) -> None:
    prepared = _prepared(stage, output, "strategy={name: logistic}")
    test = make_rows(prepared.splits.test, prepared.task, prepared.answers, prepared.pretrained).encoded
    seen = [output_features(prepared.subject(), side, prepared.recipe) for side in (prepared.rows.encoded, test)]
    values = np.asarray(prepared.rows.values)
    expected = evaluation.linear_probe("classes", seen[0], values, seen[1], seed=prepared.recipe.seed, classes=2)
    loop, model = loop_of(prepared, tmp_path / "checkpoints")
    list(loop.events())
    batch = prepared.task.inputs.collate(test, prepared.pretrained.processor)
    with torch.no_grad():
        said = model.eval()(**batch)["logits"].softmax(1)
    np.testing.assert_allclose(said.numpy(), expected, atol=1e-4)


def test_a_head_of_numbers_is_fitted_by_ridge_regression(stage: Stage, output: Path, tmp_path: Path) -> None:
    from regraft.testing import toy_table

    table = toy_table(tmp_path / "numbers.csv", kind="numbers")
    asked = ("task=text-regression", f"data.train={table}", "strategy={name: logistic}")
    prepared = _prepared(stage, output, *asked)
    loop, model = loop_of(prepared, tmp_path / "checkpoints")
    list(loop.events())
    weight = model.get_parameter("classifier.weight")
    features = output_features(prepared.subject(), prepared.rows.encoded, prepared.recipe)
    values = prepared.task.target(prepared.rows.encoded, prepared.rows.values, prepared.answers).numpy()
    expected, _, _ = evaluation.linear_readout("numbers", features, values, seed=7, classes=1)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_stop_anywhere_between_pairs_and_fit_changes_no_bit(
    stage: Stage, output: Path, tmp_path: Path, accumulation: int
) -> None:
    cut = (f"training.accumulation={accumulation}", "training.batch_size=36", "cache.store=never")
    prepared = _prepared(stage, output, _CONTRASTIVE, *cut)
    count = Countdown()
    expected = _whole(prepared, tmp_path / "whole", count)
    for at in range(1, count.calls + 1):
        assert _broken(prepared, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


def test_pairs_are_learned_from_stored_rows_to_the_same_bits(stage: Stage, output: Path, tmp_path: Path) -> None:
    found = []
    for store in ("always", "never"):
        prepared = _prepared(stage, output, _CONTRASTIVE, f"cache.store={store}")
        loop, model = loop_of(prepared, tmp_path / store)
        decided = [event.values for event in loop.events() if event.name == "execution"]
        assert [each["stored"] for each in decided] == [store == "always"] * 2
        found.append(bits(model, tmp_path / store))
    assert found[0] == found[1]


def test_pairs_that_lie_in_different_passes_count_too(stage: Stage, output: Path, tmp_path: Path) -> None:
    losses, models = [], []
    for passes in (1, 3):
        prepared = _prepared(stage, output, _CONTRASTIVE, "model.dropout=0", f"training.accumulation={passes}")
        loop, model = loop_of(prepared, tmp_path / str(passes))
        losses.append([event.values["loss"] for event in loop.events() if event.name == "step"])
        models.append(model.state_dict())
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-3, atol=1e-3, msg=name)


def test_a_head_that_does_more_than_its_last_layer_is_refused() -> None:
    gave = torch.randn(2, 3)
    require_plain({"logits": gave}, gave)
    with pytest.raises(RecipeError, match="not those of the last layer"):
        require_plain({"logits": gave + 1}, gave)


def test_a_probe_that_is_fitted_leaves_all_epochs_for_tuning(stage: Stage, output: Path, tmp_path: Path) -> None:
    prepared = _prepared(stage, output, "strategy={name: probe-then-tune, probe: fitted}", "model.head=mean")
    assert [(phase.objective, phase.epochs) for phase in prepared.phases] == [("closed-form", 1), ("task", 2)]
    loop, _ = loop_of(prepared, tmp_path / "checkpoints")
    told = [event.name for event in loop.events() if event.name in ("fit", "step", "frozen")]
    assert told == ["fit", "frozen", *["step"] * 10, "frozen"]


def test_nothing_is_fitted_where_an_example_has_many_answers(tmp_path: Path) -> None:
    from regraft import make_recipe
    from regraft.testing import WORDS, tiny_model, toy_images

    data = toy_images(tmp_path / "images", kind="boxes", images=30)
    model = tiny_model(tmp_path / "model", family="detr", words=WORDS)
    asked = {"task": "object-detection", "data": str(data), "model": str(model), "output": str(tmp_path)}
    with pytest.raises(RecipeError, match=r"no single answer|fits the last layer"):
        prepare(make_recipe(asked, ["strategy={name: probe-then-tune, probe: fitted}"]))


def test_a_fitted_run_says_so_in_its_plan(stage: Stage, output: Path) -> None:
    prepared = _prepared(stage, output, "strategy={name: logistic}")
    assert any("fitted" in note for note in prepared.plan.notes)
    assert prepared.plan.steps == 1
    assert prepared.recipe.model.head == "mean"
    assert prepared.plan.phases[-1]["objective"] == "closed-form"


def test_only_a_layer_on_features_that_were_tuned_is_held_by_a_prior(
    stage: Stage, output: Path, tmp_path: Path
) -> None:
    penalties = []
    for strategy in ("strategy={name: logistic}", _CONTRASTIVE):
        prepared = _prepared(stage, output, strategy)
        loop, model = loop_of(prepared, tmp_path / str(len(penalties)))
        (fit,) = [event.values for event in loop.events() if event.name == "fit"]
        penalties.append(fit["penalty"])
    features = model.get_parameter("classifier.weight").shape[1]
    assert penalties[0] in (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)  # by cross-validation
    assert penalties[1] == features / len(prepared.rows.examples)
