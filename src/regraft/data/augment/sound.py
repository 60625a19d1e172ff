"""Augmentation of sounds: pure functions of samples or features, the options and a key.

Sums are taken by numpy, in the same order whatever the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from regraft.data.augment.options import NO_NOISE, SoundAugmentation
from regraft.fingerprint import draw, uniform

__all__ = ["SoundAugmentation", "augment", "gain", "noise", "shift", "spec_augment", "speed"]

Key = tuple[int | str, ...]
Samples = NDArray[np.float32]

_LOWEST = 20.0  # Hz; pink noise is flat below what is heard, or most of it would be there


def augment(samples: Samples, rate: int, options: SoundAugmentation, *, key: Key) -> Samples:
    """One augmented view of a sound: float32 [n] to float32 [m], of another length only where ``speed`` is asked for.

    It is played faster or slower, moved in time, overlaid with noise that fills the silence too, then amplified. How
    loud the noise is depends on the sound as it was given.

    Args:
        key: (seed, number of the view, content), which all that is random is drawn from.
    """
    whole = options.settled
    level = _root_mean_square(samples)
    samples = speed(samples, _between(key, "speed", whole.speed), rate)
    if whole.shift:
        samples = shift(samples, round(_between(key, "shift", (-whole.shift, whole.shift)) * rate))
    ratio = _between(key, "noise", whole.noise)
    if ratio < NO_NOISE:
        pink = draw(*key, "noise colour") % 2 == 1
        deviation = level / _amplitude(ratio)
        samples = noise(samples, deviation, rate, pink=pink, seed=draw(*key, "noise values"))
    return gain(samples, _between(key, "gain", whole.gain))


def speed(samples: Samples, factor: float, rate: int) -> Samples:
    """Played ``factor`` times as fast: shorter and higher (Ko et al. 2015, Audio Augmentation for Speech Recognition).

    1 changes nothing. The factor is rounded so that ``rate`` becomes a whole number of Hz.
    """
    old = round(rate * factor)
    if old == rate:
        return samples
    import soxr

    played: Samples = soxr.resample(samples, old, rate, quality="HQ")
    return played if len(played) else samples


def shift(samples: Samples, places: int) -> Samples:
    """Later by ``places`` samples, earlier where that is below 0: silence moves in, and what moves out is gone.

    At most half of the sound moves out.
    """
    places = max(-(len(samples) // 2), min(len(samples) // 2, places))
    moved = np.zeros_like(samples)
    kept = len(samples) - abs(places)
    moved[max(0, places) :][:kept] = samples[max(0, -places) :][:kept]
    return moved


def noise(samples: Samples, deviation: float, rate: int, *, pink: bool, seed: int) -> Samples:
    """Add Gaussian noise of this standard deviation: white, or pink, whose power falls with the frequency."""
    length = len(samples)
    generator = np.random.default_rng(seed)
    if pink:
        longer = next_fast_len(length, real=True)
        spectrum = np.fft.rfft(generator.standard_normal(longer))
        spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(longer, 1 / rate), _LOWEST))
        drawn = np.fft.irfft(spectrum, longer)[:length]
        drawn /= _root_mean_square(drawn) or 1.0
    else:
        drawn = generator.standard_normal(length)
    return (samples + drawn * deviation).astype(np.float32)


def gain(samples: Samples, decibels: float) -> Samples:
    """Louder by so many dB; 0 changes nothing. What goes beyond full scale is not cut."""
    return samples * np.float32(_amplitude(decibels))


def spec_augment(
    features: Tensor, options: SoundAugmentation, *, key: Key, time: int = 0, frames: int | None = None
) -> Tensor:
    """Hide bands of frequencies and stretches of time (Park et al. 2019, SpecAugment, arXiv 1904.08779).

    Hidden is what has the mean of all features, which is 0 where they are normalised as in the paper. Widths are
    shares, so that they mean the same whatever the model's bands and frames; time is not warped.

    Args:
        features: log-mel or the like, [frames, bands], or [bands, frames] with ``time=1``.
        key: (seed, number of the view, content), which all that is random is drawn from.
        frames: how many hold sound; what follows is padding and stays as it is.
    """
    whole = options.settled
    hidden = features.clone()
    heard = hidden.narrow(time, 0, hidden.shape[time] if frames is None else frames)
    if not heard.numel():
        return hidden
    mean = float(heard.numpy().mean(dtype=np.float64))
    for name, axis, number, share in (
        ("frequency mask", 1 - time, whole.frequency_masks, whole.frequency_width),
        ("time mask", time, whole.time_masks, whole.time_width),
    ):
        size = heard.shape[axis]
        for turn in range(number or 0):
            width = draw(*key, name, turn, "width") % (round(share * size) + 1)
            start = draw(*key, name, turn, "start") % (size - width + 1)
            heard.narrow(axis, start, width).fill_(mean)
    return hidden


def _amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _root_mean_square(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean())) if len(values) else 0.0


def _between(key: Key, name: str, ends: tuple[float, float] | None) -> float:
    assert ends is not None  # as settled options are
    return ends[0] + (ends[1] - ends[0]) * uniform(*key, name)
