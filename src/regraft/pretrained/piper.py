"""A voice of Piper as a model of transformers: what the weights of ``materials joe`` open as.

Kim et al., Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech (VITS), 2021,
https://arxiv.org/abs/2106.06103. Piper (https://github.com/OHF-Voice/piper1-gpl) generates the wave with the small
HiFi-GAN of Kong et al., 2020, https://arxiv.org/abs/2010.05646, which transformers' VITS has not. A published voice
holds what speaking takes and no more: no posterior encoder, no discriminators, no half of the duration predictor that
learns. Weight norms are folded into the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from transformers import AutoConfig, AutoModel, AutoModelForTextToWaveform, VitsConfig, VitsModel

_SLOPE = 0.1  # of the leaky ReLUs but the last, which has torch's usual one, as in HiFi-GAN


class PiperVitsConfig(VitsConfig):  # type: ignore[no-untyped-call]
    """What the model is made of, by default Piper's medium quality, and what its numbers mean.

    ``phoneme_id_map`` gives the ids of each phoneme, and of ``^``, ``_`` and ``$``, which begin, separate and end a
    text; ``espeak_voice`` is the voice of espeak-ng that makes phonemes of a text.
    """

    model_type = "piper_vits"

    vocab_size: int = 256
    layerdrop: float | int = 0.0
    upsample_initial_channel: int = 256
    upsample_rates: list[int] | tuple[int, ...] = (8, 8, 4)
    upsample_kernel_sizes: list[int] | tuple[int, ...] = (16, 16, 8)
    resblock_kernel_sizes: list[int] | tuple[int, ...] = (3, 5, 7)
    resblock_dilation_sizes: list[Any] | tuple[Any, ...] = ((1, 2), (2, 6), (3, 12))
    sampling_rate: int = 22_050
    phoneme_id_map: dict[str, list[int]] | None = None
    espeak_voice: str = "en-us"


class PiperVitsModel(VitsModel):  # type: ignore[no-untyped-call]
    """VITS with Piper's generator, of one speaker: phoneme ids in, ``waveform`` [batch, samples] out."""

    config_class = PiperVitsConfig
    config: PiperVitsConfig
    decoder: Any
    posterior_encoder: Any

    def __init__(self, config: PiperVitsConfig) -> None:
        super().__init__(config)
        self.decoder = PiperGenerator(config)
        self.posterior_encoder = None
        _keep_what_speaks(self.duration_predictor)
        for layer in self.flow.modules():
            if is_parametrized(layer):
                remove_parametrizations(layer, "weight")
        self.post_init()  # type: ignore[no-untyped-call]


class PiperGenerator(nn.Module):
    """HiFi-GAN with residual blocks of the second kind: latents [batch, flow_size, frames] in, waves in -1 to 1 out."""

    def __init__(self, config: PiperVitsConfig) -> None:
        super().__init__()
        channels = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.flow_size, channels, 7, padding=3)
        self.upsampler = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            padding = (kernel - rate) // 2
            self.upsampler.append(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=padding))
            channels //= 2
            self.resblocks.append(
                nn.ModuleList(
                    ResidualBlock(channels, size, dilations)
                    for size, dilations in zip(
                        config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                    )
                )
            )
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)

    def forward(self, spectrogram: Tensor, global_conditioning: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """[batch, 1, samples]. The names of the arguments are transformers'; there is one speaker, so no condition."""
        hidden = self.conv_pre(spectrogram)
        for upsample, blocks in zip(self.upsampler, self.resblocks, strict=True):
            hidden = upsample(F.leaky_relu(hidden, _SLOPE))
            assert isinstance(blocks, nn.ModuleList)
            hidden = torch.stack([block(hidden) for block in blocks]).mean(0)
        return torch.tanh(self.conv_post(F.leaky_relu(hidden)))


class ResidualBlock(nn.Module):
    """Convolutions of growing dilation, each added to what came in."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
            for dilation in dilations
        )

    def forward(self, hidden: Tensor) -> Tensor:
        for conv in self.convs:
            hidden = hidden + conv(F.leaky_relu(hidden, _SLOPE))
        return hidden


def phoneme_ids(phonemes: str, config: PiperVitsConfig) -> list[int]:
    """The ids that the model reads, of phonemes as ``regraft.data.phonemes`` gives them.

    As Piper does it: ``_`` after each phoneme and after the beginning; what the voice does not know is left out.
    """
    known = config.phoneme_id_map or {}
    separator = known["_"]
    ids = [*known["^"], *separator]
    for phoneme in phonemes:
        if phoneme in known:
            ids += [*known[phoneme], *separator]
    return ids + known["$"]


def register() -> None:
    """Make the classes known to transformers' AutoConfig, AutoModel and AutoModelForTextToWaveform."""
    AutoConfig.register(PiperVitsConfig.model_type, PiperVitsConfig, exist_ok=True)
    AutoModel.register(PiperVitsConfig, PiperVitsModel, exist_ok=True)
    AutoModelForTextToWaveform.register(PiperVitsConfig, PiperVitsModel, exist_ok=True)


def _keep_what_speaks(predictor: nn.Module) -> None:
    """Drop the half of the duration predictor that only learning uses, and the flow that speaking leaves out."""
    for name in [name for name, _ in predictor.named_children() if name.startswith("post_")]:
        delattr(predictor, name)
    flows = predictor.flows
    assert isinstance(flows, nn.ModuleList)
    flows[1] = nn.Identity()
