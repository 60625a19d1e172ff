"""The first layers of the language model."""

import json
from pathlib import Path

import pytest
import torch

import materials
from regraft.pretrained.anatomy import anatomy_of
from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library

MATERIAL = "smollm2-135m-4"


def test_it_opens_with_four_layers(place: Path) -> None:
    with quiet():
        model, report = library().AutoModelForCausalLM.from_pretrained(place, output_loading_info=True)
    assert not any(report.values())
    assert len(anatomy_of(model).blocks) == 4
    assert json.loads((place / "config.json").read_text())["num_hidden_layers"] == 4


def test_its_weights_are_those_of_the_whole_model(place: Path) -> None:
    from safetensors import safe_open

    if reason := materials.missing("smollm2-135m"):
        pytest.skip(reason)
    whole = materials.folder("smollm2-135m")
    with (
        safe_open(place / "model.safetensors", framework="pt") as short,
        safe_open(whole / "model.safetensors", framework="pt") as long,
    ):
        names = list(short.keys())
        assert len(names) == 2 + 4 * 9
        assert all(torch.equal(short.get_tensor(name), long.get_tensor(name)) for name in names)


def test_its_tokenizer_is_that_of_the_whole_model(place: Path) -> None:
    if reason := materials.missing("smollm2-135m"):
        pytest.skip(reason)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (place / name).read_bytes() == (materials.folder("smollm2-135m") / name).read_bytes()
