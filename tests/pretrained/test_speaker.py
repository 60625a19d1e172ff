"""The encoder of voices: its spectrogram, its windows, save and reload."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from regraft.pretrained.folder import quiet
from regraft.pretrained.speaker import (
    SpeakerEncoder,
    SpeakerEncoderConfig,
    embed,
    levelled,
    mel_spectrogram,
    register,
)


@pytest.fixture
def model() -> SpeakerEncoder:
    torch.manual_seed(0)
    config = SpeakerEncoderConfig(hidden_size=8, num_hidden_layers=2, embedding_size=6, initializer_range=0.5)
    return SpeakerEncoder(config).eval()


def tone(hertz: float, seconds: float) -> Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hertz * torch.arange(int(16_000 * seconds)) / 16_000)


def test_the_spectrogram_is_that_of_librosa() -> None:
    """Numbers of librosa 0.11.0: ``melspectrogram(y=y, sr=16000, n_fft=400, hop_length=160, n_mels=40)``."""
    found = mel_spectrogram(tone(440, 0.1), SpeakerEncoderConfig())
    assert found.shape == (11, 40)
    known = {(0, 5): 0.537031651, (5, 4): 0.217569828, (5, 5): 1.643108368, (5, 6): 0.178192198}
    for (frame, band), value in known.items():
        assert float(found[frame, band]) == pytest.approx(value, rel=1e-4)


def test_an_embedding_has_length_one_and_nothing_negative(model: SpeakerEncoder) -> None:
    found = model(input_features=torch.rand(3, 20, 40)).embeddings
    assert found.shape == (3, 6)
    assert (found >= 0).all()
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))


def test_loudness_makes_no_difference(model: SpeakerEncoder) -> None:
    wave = tone(300, 2.0)
    torch.testing.assert_close(embed(model, 0.1 * wave), embed(model, wave), rtol=1e-4, atol=1e-5)
    assert 20 * torch.log10(levelled(wave, -30.0).square().mean().sqrt()) == pytest.approx(-30, abs=0.01)


def test_a_recording_is_the_mean_of_windows_that_overlap_by_half(model: SpeakerEncoder) -> None:
    wave = torch.cat([tone(200, 1.5), tone(900, 1.5)])
    frames = mel_spectrogram(levelled(wave, -30.0), model.config)
    windows = torch.stack([frames[start : start + 160] for start in (0, 80)])  # 301 frames: a third would end at 320
    mean = model(windows).embeddings.mean(0)
    torch.testing.assert_close(embed(model, wave), mean / mean.norm())


@pytest.mark.parametrize("seconds", [0.01, 0.5, 1.59])
def test_what_is_shorter_than_a_window_is_embedded_too(model: SpeakerEncoder, seconds: float) -> None:
    assert embed(model, tone(300, seconds)).norm() == pytest.approx(1)


def test_silence_gives_numbers(model: SpeakerEncoder) -> None:
    assert embed(model, torch.zeros(16_000)).isfinite().all()


def test_saved_and_opened_again_it_answers_the_same(model: SpeakerEncoder, tmp_path: Path) -> None:
    from transformers import AutoModel

    register()
    register()  # twice does no harm
    with quiet():
        model.save_pretrained(tmp_path)
        again = AutoModel.from_pretrained(tmp_path, trust_remote_code=False).eval()
    assert isinstance(again, SpeakerEncoder)
    wave = tone(250, 2.0)
    assert torch.equal(embed(again, wave), embed(model, wave))


def test_every_weight_learns(model: SpeakerEncoder) -> None:
    model.train()(torch.rand(2, 20, 40)).embeddings[:, :3].sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
