"""Weights of few bits: refused before anything is spent where they cannot be had, and never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from regraft import make_recipe, prepare
from regraft.errors import RecipeError, ResourceError
from regraft.preparation import phased
from regraft.pretrained.few_bits import kept_whole
from regraft.strategies import make_strategy
from regraft.testing import WORDS, tiny_model, toy_table


@pytest.fixture
def place(tmp_path: Path) -> Path:
    toy_table(tmp_path / "reviews.csv")
    tiny_model(tmp_path / "bert", words=WORDS)
    return tmp_path


def recipe(place: Path, *overrides: str, **values: Any) -> Any:
    return make_recipe(
        {
            "task": "text-classification",
            "data": str(place / "reviews.csv"),
            "model": {"name": str(place / "bert")},
            "strategy": "lora",
            **values,
        },
        overrides,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("bits", [4, 8])
def test_without_a_gpu_few_bits_are_refused_before_the_data_are_read(bits: int, place: Path) -> None:
    with pytest.raises(ResourceError, match=f"model.bits = {bits} needs a GPU with CUDA"):
        prepare(recipe(place, f"model.bits={bits}", data="no-such-file.csv"))


@pytest.mark.parametrize("bits", [1, 3, 16])
def test_other_numbers_of_bits_are_no_recipe(bits: int, place: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.bits"):
        recipe(place, f"model.bits={bits}")


def test_what_is_no_number_with_a_fraction_does_not_train(place: Path) -> None:
    opened = prepare(recipe(place)).pretrained
    layer = next(module for module in opened.model.modules() if isinstance(module, nn.Linear))
    layer.weight = nn.Parameter(torch.zeros_like(layer.weight, dtype=torch.uint8), requires_grad=False)
    asked = recipe(place, strategy="full")
    with pytest.raises(RecipeError, match="cannot be trained"):
        phased(opened, make_strategy(asked.strategy), asked, prepare(asked).answers, epochs=1)


def test_heads_and_poolers_are_not_rounded(place: Path) -> None:
    opened = prepare(recipe(place)).pretrained
    assert {"classifier", ".*pooler"} <= set(kept_whole(opened.model))
    assert kept_whole(opened.model.base_model) == [".*pooler"]
