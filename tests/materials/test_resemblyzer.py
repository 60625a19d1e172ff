"""Resemblyzer's weights: voices are told apart."""

from pathlib import Path
from typing import Any

import pytest
import torch

import materials
from materials.errors import DamagedMaterial
from materials.resemblyzer import convert
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet
from regraft.pretrained.speaker import SpeakerEncoder, embed

MATERIAL = "resemblyzer"


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    with quiet():
        return SpeakerEncoder.from_pretrained(place).eval()


def test_one_voice_is_alike_and_another_pitch_is_not(model: Any) -> None:
    """The other voice is the same prompts played a third faster, as of a smaller head."""
    import soundfile
    import soxr

    if reason := materials.missing("asterisk-en"):
        pytest.skip(reason)
    clips = materials.folder("asterisk-en") / "clips"
    waves = [
        soundfile.read(clips / f"{name}.flac", dtype="float32")[0]
        for name in ("ss-noservice", "conf-waitforleader", "vm-invalidpassword", "dir-instr")
    ]
    own = torch.stack([embed(model, torch.from_numpy(wave)) for wave in waves])
    other = torch.stack([embed(model, torch.from_numpy(soxr.resample(wave, 4, 3))) for wave in waves])
    same = (own @ own.T)[~torch.eye(len(own), dtype=torch.bool)]
    assert same.min() > 0.75
    assert (own @ other.T).max() < same.min()


def test_it_is_whole_and_safe(model: Any, place: Path) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_423_616
    check_folder(place)
    assert "Apache License" in (place / "LICENSE").read_text(encoding="utf-8")


def test_the_weights_of_the_loss_are_left_out_and_others_refused(model: Any) -> None:
    state = {**model.state_dict(), "similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    again = convert(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    with pytest.raises(DamagedMaterial, match="other weights than known"):
        convert({**state, "more": torch.ones(1)})
