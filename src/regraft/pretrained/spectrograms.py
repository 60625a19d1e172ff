"""Speech as spectrograms, frame by frame: what is learned from, what is wrong with each, and waves out of them.

The losses are those of Ao et al., SpeechT5, 2022, https://arxiv.org/abs/2110.07205.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PAST = -100.0  # what stands behind the end of a spectrogram
_STOPPING = 5.0  # how much more the one frame that ends a text counts than those that do not
_ROUNDS = 32  # of Griffin and Lim's method
_MOMENTUM = 0.99  # how much of the last step is gone on with


def spectrogram_losses(output: Mapping[str, Tensor], target: Tensor) -> Tensor:
    """fp32 [batch, frames]: what is wrong with each frame, 0 behind the end.

    The distance of both spectrograms, the surprise at where it ends, and the guided attention of the example.

    Args:
        target: [batch, frames, mels], ``PAST`` behind the end.
    """
    inside = target[:, :, 0] != PAST
    true = torch.where(inside.unsqueeze(2), target, 0)
    off = sum((output[name].float() - true).abs().mean(2) for name in ("before", "after"))
    ends = F.pad(~inside[:, 1:], (0, 1), value=True).float()
    weight = torch.tensor(_STOPPING, device=target.device)
    stop = F.binary_cross_entropy_with_logits(output["stop"].float(), ends, pos_weight=weight, reduction="none")
    return torch.where(inside, off + stop + output["astray"].float().unsqueeze(1), 0)


def before_each(frames: Tensor, reduction: int) -> Tensor:
    """[steps, mels]: what the decoder reads before each step, of true frames [steps * reduction, mels]."""
    last = frames[reduction - 1 :: reduction]
    return torch.cat([torch.zeros_like(last[:1]), last[:-1]])


def frames_of(samples: np.ndarray[Any, Any], extractor: Any, reduction: int) -> Tensor:
    """[frames, mels]: the log-mel spectrogram of a sound; as many frames as make whole steps, one step at least."""
    found = torch.from_numpy(extractor(audio_target=samples, sampling_rate=extractor.sampling_rate).input_values[0])
    whole = len(found) // reduction * reduction
    return found[:whole] if whole else F.pad(found, (0, 0, 0, reduction - len(found)))


def griffin_lim(frames: Tensor, extractor: Any) -> Tensor:
    """[samples]: a wave with this log-mel spectrogram [frames, mels]; for a voice that comes without a vocoder.

    Griffin and Lim, Signal estimation from modified short-time Fourier transform, 1984; with the quicker steps of
    Perraudin, Balazs and Søndergaard, 2013. It sounds hollow beside a vocoder that was trained.
    """
    bands = torch.from_numpy(np.linalg.pinv(extractor.mel_filters)).to(frames)
    size, hop, window = extractor.n_fft, extractor.sample_stride, torch.from_numpy(extractor.window).to(frames)
    padded = F.pad(window, ((size - len(window)) // 2, size - len(window) - (size - len(window)) // 2))
    wanted = ((10**frames) @ bands).clamp_min(0).T
    phase = torch.ones_like(wanted, dtype=torch.complex64)
    former = torch.zeros_like(phase)
    for _ in range(_ROUNDS):
        wave = torch.istft(wanted * phase, size, hop, window=padded)
        found = torch.stft(wave, size, hop, window=padded, pad_mode="constant", return_complex=True)
        found = found[:, : wanted.shape[1]]
        found = F.pad(found, (0, wanted.shape[1] - found.shape[1]))
        ahead = found + _MOMENTUM * (found - former)
        phase, former = ahead / ahead.abs().clamp_min(1e-8), found
    return torch.istft(wanted * phase, size, hop, window=padded)
