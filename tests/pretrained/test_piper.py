"""Piper's VITS: waves of the right length, save and reload, and which phonemes become which ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library
from regraft.pretrained.piper import PiperVitsConfig, PiperVitsModel, phoneme_ids, register

IDS = {"_": [0], "^": [1], "$": [2], "a": [3], "ː": [4, 5], " ": [6]}


def tiny(**config: Any) -> PiperVitsConfig:
    sizes = {
        "vocab_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "ffn_dim": 16,
        "flow_size": 8,
        "duration_predictor_filter_channels": 8,
        "upsample_initial_channel": 16,
        "upsample_rates": (4, 2),
        "upsample_kernel_sizes": (8, 4),
        "resblock_kernel_sizes": (3, 5),
        "resblock_dilation_sizes": ((1, 2), (2, 6)),
        "phoneme_id_map": IDS,
    }
    return PiperVitsConfig(**{**sizes, **config})


@pytest.fixture
def model() -> PiperVitsModel:
    torch.manual_seed(0)
    return PiperVitsModel(tiny()).eval()


def said(model: PiperVitsModel, ids: list[int]) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        wave = model(torch.tensor([ids])).waveform
    assert isinstance(wave, torch.Tensor)
    return wave


def test_a_frame_becomes_as_many_samples_as_the_generator_says(model: PiperVitsModel) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        found = model(torch.tensor([[1, 0, 3, 0, 2]]))
    assert found.waveform.shape == (1, found.spectrogram.shape[-1] * 8)
    assert found.waveform.abs().max() <= 1


def test_saved_and_opened_again_it_says_the_same(model: PiperVitsModel, tmp_path: Path) -> None:
    register()
    register()  # twice does no harm
    with quiet():
        model.save_pretrained(tmp_path)
        again, report = library().AutoModelForTextToWaveform.from_pretrained(
            tmp_path, trust_remote_code=False, output_loading_info=True
        )
    assert isinstance(again, PiperVitsModel)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(said(again.eval(), [1, 0, 3, 0, 2]), said(model, [1, 0, 3, 0, 2]))
    assert again.config.phoneme_id_map == IDS


def test_weights_are_plain_and_none_is_only_for_learning(model: PiperVitsModel) -> None:
    names = list(model.state_dict())
    assert not [name for name in names if "parametrizations" in name or "post_" in name.replace("conv_post", "")]
    assert not [name for name in names if name.startswith(("posterior_encoder", "duration_predictor.flows.1."))]


def test_all_but_the_durations_learn_from_a_wave(model: PiperVitsModel) -> None:
    model.train()(torch.tensor([[1, 0, 3, 0, 2]])).waveform.square().sum().backward()
    without = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"duration_predictor"}


def test_phonemes_are_separated_and_unknown_ones_left_out() -> None:
    assert phoneme_ids("aː ?a", tiny()) == [1, 0, 3, 0, 4, 5, 0, 6, 0, 3, 0, 2]
    assert phoneme_ids("", tiny()) == [1, 0, 2]
