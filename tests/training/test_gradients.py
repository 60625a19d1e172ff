"""A look at how strongly the task pulls each part of a model; the look changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from regraft.preparation import looked, prepare
from regraft.recipe import read_recipe, to_yaml
from regraft.training import relative_gradients
from tests.training.stage import Stage

_HALF = "data.split={train: 0.5, validation: 0, test: 0.5}"


def test_a_look_with_a_fitted_head_changes_nothing(stage: Stage, output: Path) -> None:
    p = prepare(stage.recipe(output, _HALF, "strategy={name: logistic}"))
    model = p.pretrained.model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    found = looked(p.pretrained, p.task, p.answers, p.rows, p.loss, seed=0)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert found == looked(p.pretrained, p.task, p.answers, p.rows, p.loss, seed=0)
    assert found != relative_gradients(p.pretrained, p.task, p.answers, p.rows, p.loss, fit=None)
    assert all(math.isfinite(value) for value in found.values())


def test_without_a_fit_it_is_the_plain_gradient_of_the_loss(stage: Stage, output: Path) -> None:
    p = prepare(stage.recipe(output, _HALF))
    model = p.pretrained.model.eval()
    found = relative_gradients(p.pretrained, p.task, p.answers, p.rows, p.loss, fit=None)
    assert len(p.rows.encoded) <= 64
    batch = p.rows.batch(range(len(p.rows.encoded)), p.task, p.answers, p.pretrained.processor)
    value = p.loss.function(model(**batch.inputs), batch.target).sum()
    weights = [model.get_parameter(name) for name in p.pretrained.anatomy.blocks[0]]
    slopes = torch.autograd.grad(value, weights)
    expected = math.sqrt(
        sum(float(s.square().sum()) for s in slopes) / sum(float(w.detach().square().sum()) for w in weights)
    )
    assert found["blocks[0]"] == pytest.approx(expected, rel=1e-3)
    assert found.keys() == p.pretrained.anatomy.parts.keys()


@pytest.mark.parametrize("asked", ["{name: surgical, n: 1}", "{name: full, layer_decay: auto}"])
def test_what_the_look_decided_is_written_down(stage: Stage, output: Path, tmp_path: Path, asked: str) -> None:
    recipe = prepare(stage.recipe(output, f"strategy={asked}")).recipe
    settled = recipe.strategy.own()
    assert settled.get("blocks") is not None or settled["layer_decay"] != "auto"
    file = tmp_path / "again.yaml"
    file.write_text(to_yaml(recipe), encoding="utf-8")
    assert prepare(read_recipe(file)).recipe == recipe
