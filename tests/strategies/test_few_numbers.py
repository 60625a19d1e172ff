"""bitfit and norm-tuning on real models: what is a norm, and that neither a stop nor the store changes a bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from regraft import make_recipe, prepare, tune
from regraft.errors import RecipeError
from regraft.testing import WORDS, tiny_model, toy_images, toy_table
from tests.training.test_exact import Countdown, _broken, _whole

STRATEGIES = ("bitfit", "norm-tuning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    toy_table(folder / "reviews.csv")
    for family in ("bert", "llama", "modernbert", "resnet"):
        tiny_model(folder / family, family=family, words=WORDS)
    toy_images(folder / "images", kind="classes")
    return folder


def recipe(place: Path, strategy: str, *overrides: str, family: str = "bert") -> Any:
    images = family == "resnet"
    return make_recipe(
        {
            "task": "image-classification" if images else "text-classification",
            "data": str(place / ("images" if images else "reviews.csv")),
            "model": {"name": str(place / family), "head": "own" if images else "mean"},
            "strategy": {"name": strategy, "learning_rate": 1e-2},
            "training": {"epochs": 2, "batch_size": 8, "precision": "fp32", "checkpoint": {"every": 1000}},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(place / "runs"),
        },
        overrides,
    )


@pytest.mark.parametrize(("family", "kind"), [("bert", nn.LayerNorm), ("resnet", nn.BatchNorm2d)])
def test_a_norm_is_known_by_its_class(family: str, kind: type[nn.Module], place: Path) -> None:
    opened = prepare(recipe(place, "norm-tuning", family=family)).pretrained
    norms = [path for path, module in opened.model.named_modules() if isinstance(module, kind)]
    assert set(opened.anatomy.norms) == {f"{path}.{name}" for path in norms for name in ("weight", "bias")}


def test_norms_without_biases_are_norms_too(place: Path) -> None:
    prepared = prepare(recipe(place, "norm-tuning", family="llama"))
    assert "backbone.norm.weight" in prepared.pretrained.anatomy.norms
    assert set(prepared.pretrained.anatomy.norms) < prepared.phases[0].trainable


@pytest.mark.parametrize("family", ["llama", "modernbert"])
def test_a_model_without_biases_refuses_bitfit(family: str, place: Path) -> None:
    with pytest.raises(RecipeError, match="has no biases"):
        prepare(recipe(place, "bitfit", family=family))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stop_changes_no_bit(strategy: str, place: Path, tmp_path: Path) -> None:
    prepared = prepare(recipe(place, strategy))
    expected = _whole(prepared, tmp_path / "whole", Countdown())
    assert _broken(prepared, tmp_path / "broken", 9) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_below_the_top_blocks_rows_are_stored_and_change_no_bit(strategy: str, place: Path, tmp_path: Path) -> None:
    runs = [
        tune(recipe(place, strategy, "strategy.n=1", f"output={tmp_path}", f"cache.store={store}")).run
        for store in ("always", "never")
    ]
    told = [next(event for event in run.history() if event["event"] == "execution") for run in runs]
    assert [each["stored"] for each in told] == [True, False]
    assert told[0]["frontier"]["blocks"] == 1
    for file in ("model.safetensors", "head.safetensors"):
        one, other = (load_file(run.model / file) for run in runs)
        assert all(torch.equal(value, other[name]) for name, value in one.items())
