"""Who speaks: an encoder of voices as a model of transformers, what the weights of ``materials resemblyzer`` open as.

Wan et al., Generalized End-to-End Loss for Speaker Verification, 2018, https://arxiv.org/abs/1710.10467. The
spectrogram is that of Resemblyzer, which trained the weights: https://github.com/resemble-ai/Resemblyzer (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.audio_utils import mel_filter_bank
from transformers.utils.generic import ModelOutput


class SpeakerEncoderConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """What the model is made of, and what it hears.

    ``sampling_rate`` is in Hz, ``fft_size`` and ``hop_length`` in samples, ``window_frames`` in frames of the
    spectrogram, ``level`` the mean loudness that a wave is brought to, in dB of full scale.
    """

    model_type = "ge2e_speaker"

    sampling_rate: int = 16_000
    fft_size: int = 400
    hop_length: int = 160
    num_mel_bins: int = 40
    window_frames: int = 160
    level: float = -30.0
    hidden_size: int = 256
    num_hidden_layers: int = 3
    embedding_size: int = 256
    initializer_range: float = 0.02


@dataclass
class SpeakerOutput(ModelOutput):
    """``embeddings``: [batch, embedding_size], of length 1 and with no negative number."""

    embeddings: Tensor | None = None


class SpeakerEncoder(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Three LSTM layers, whose last state becomes the embedding."""

    config_class = SpeakerEncoderConfig
    config: SpeakerEncoderConfig
    main_input_name = "input_features"

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(config.num_mel_bins, config.hidden_size, config.num_hidden_layers, batch_first=True)
        self.linear = nn.Linear(config.hidden_size, config.embedding_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_features: Tensor) -> SpeakerOutput:
        """See ``SpeakerOutput``.

        Args:
            input_features: [batch, frames, num_mel_bins], as ``mel_spectrogram`` gives them.
        """
        _, (hidden, _) = self.lstm(input_features)
        return SpeakerOutput(embeddings=F.normalize(F.relu(self.linear(hidden[-1])), dim=-1))

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        if isinstance(module, nn.LSTM | nn.Linear):
            for name, parameter in module.named_parameters(recurse=False):
                if "bias" in name:
                    init.zeros_(parameter)
                else:
                    init.normal_(parameter, std=self.config.initializer_range)


@torch.no_grad()
def embed(model: SpeakerEncoder, waveform: Tensor) -> Tensor:
    """The voice of a recording: the mean over windows of 1.6 s that overlap by half, brought to length 1.

    The dot product of two says how alike they are. On 60 telephone prompts of 2.5 to 7.5 s by five voices, in as many
    languages, the weights of ``materials resemblyzer`` give 0.83 for one voice and 0.64 for two; at 0.75 as many pairs
    of one voice are missed as pairs of two are mistaken, 8 %.

    Args:
        waveform: [samples] of the model's sampling rate, mono, from -1 to 1. What is shorter than a window is taken
            as it is; what is left over at the end is not heard.

    Returns:
        [embedding_size], on the model's device.
    """
    config = model.config
    waves = levelled(waveform.to(model.device, torch.float32), config.level)
    frames = mel_spectrogram(waves, config)
    length = min(config.window_frames, len(frames))
    windows = frames.unfold(0, length, max(config.window_frames // 2, 1)).transpose(1, 2)
    found = model(windows).embeddings
    return F.normalize(found.mean(0), dim=-1)


def levelled(waveform: Tensor, level: float) -> Tensor:
    """The wave with a mean power of ``level`` dB of full scale; silence stays silence."""
    power = 10 * torch.log10(waveform.square().mean() + 1e-9)
    return waveform * 10 ** ((level - power) / 20)


def mel_spectrogram(waveform: Tensor, config: SpeakerEncoderConfig) -> Tensor:
    """[frames, num_mel_bins]: the power in bands of Slaney's mel scale, one frame a hop, the first around sample 0."""
    window = torch.hann_window(config.fft_size, device=waveform.device)
    spectrum = torch.stft(
        waveform,
        config.fft_size,
        config.hop_length,
        window=window,
        pad_mode="constant",
        return_complex=True,
    )
    bands = _bands(config.fft_size, config.num_mel_bins, config.sampling_rate).to(waveform.device)
    return spectrum.abs().square().T @ bands


@lru_cache(maxsize=4)
def _bands(fft_size: int, count: int, rate: int) -> Tensor:
    """[fft_size // 2 + 1, count]: how much each frequency adds to each band; bands of equal area."""
    filters = mel_filter_bank(
        num_frequency_bins=fft_size // 2 + 1,
        num_mel_filters=count,
        min_frequency=0.0,
        max_frequency=rate / 2,
        sampling_rate=rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float()


def register() -> None:
    """Make the classes known to transformers' AutoConfig and AutoModel."""
    AutoConfig.register(SpeakerEncoderConfig.model_type, SpeakerEncoderConfig, exist_ok=True)
    AutoModel.register(SpeakerEncoderConfig, SpeakerEncoder, exist_ok=True)
