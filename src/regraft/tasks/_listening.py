"""What a listener makes of speech: which words it hears, whose voice it is, and how far it is from the recording.

Words are heard by a model of speech recognition, voices told apart by an encoder of speakers (Wan et al., 2018,
https://arxiv.org/abs/1710.10467). The distance is the mel-cepstral distortion (Kubichek, Mel-cepstral distance measure
for objective speech quality assessment, 1993, https://doi.org/10.1109/PACRIM.1993.407206), the two sounds being laid
against each other by dynamic time warping (Sakoe and Chiba, 1978).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct

from regraft import pretrained
from regraft.data.sounds import LooseSound
from regraft.device import choose_device
from regraft.errors import RecipeError
from regraft.pretrained import Glimpse
from regraft.recipe import ModelOptions
from regraft.tasks._writing import tidy

NOBODY = "none"
_RATE = 16_000  # Hz, of what is compared
_BANDS, _CEPSTRA = 80, 13  # of a spectrum, and how many numbers its shape is told by; loudness is not among them
_QUIETEST = 1e-7  # of the greatest power of a sound, below which a band counts as silent
_TOGETHER = 8  # sounds that are written down at a time

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """What is to be spoken: a text, its recording, and the voice if several are told apart."""

    text: str
    sound: Any
    voice: tuple[float, ...] = ()


@dataclass(frozen=True)
class Listeners:
    """Who judges speech.

    Args:
        words: the model that writes down what it hears, or "none".
        voices: the model that tells voices apart, or "none".
    """

    words: str
    voices: str

    def require(self) -> None:
        """See that they are here and are what they are to be.

        Raises:
            RecipeError, ResourceError: one is not.
        """
        if self.words != NOBODY:
            _writer(self.words)
        if self.voices != NOBODY:
            _knower(self.voices)

    def judge(self, wanted: Sequence[Utterance], spoken: Sequence[LooseSound]) -> NDArray[Any]:
        """Objects [n, 5], a row for each: what was heard (None if nobody listened), nan and 0, for no likelihood of
        tokens is known, the distance in dB, and the likeness to the wanted voice from 0 to 1 (nan if nobody knows).
        """
        found = np.empty((len(wanted), 5), dtype=object)
        found[:, 1], found[:, 2] = float("nan"), 0
        found[:, 0] = self.heard(spoken)
        for place, (one, said) in enumerate(zip(wanted, spoken, strict=True)):
            found[place, 3] = distortion(said.samples(_RATE), one.sound.samples(_RATE))
        found[:, 4] = self._alike(wanted, spoken)
        return found

    def heard(self, spoken: Sequence[LooseSound]) -> list[str | None]:
        """The words of each sound; None where nobody listens."""
        return [None] * len(spoken) if self.words == NOBODY else transcripts(spoken, self.words)

    def _alike(self, wanted: Sequence[Utterance], spoken: Sequence[LooseSound]) -> list[float]:
        """How alike each voice is to the mean of the recordings that are to sound like it."""
        if self.voices == NOBODY:
            return [float("nan")] * len(spoken)
        true = [voice_of(one.sound, self.voices) for one in wanted]
        means = {
            who: _unit(np.mean([of for of, one in zip(true, wanted, strict=True) if one.voice == who], axis=0))
            for who in {one.voice for one in wanted}
        }
        return [float(voice_of(said, self.voices) @ means[one.voice]) for one, said in zip(wanted, spoken, strict=True)]


def transcripts(sounds: Sequence[LooseSound], name: str) -> list[str | None]:
    """What a model of speech recognition writes down of each sound, piece by piece where it is long."""
    task, opened = _writer(name)
    pieces = [task.pieces({"audio": sound}) for sound in sounds]
    encoded = task.inputs.encode([part for of_one in pieces for part in of_one], opened.processor, opened.config)
    order = sorted(range(len(encoded)), key=lambda place: encoded[place]["sound"].seconds)
    texts = [""] * len(encoded)
    for start in range(0, len(order), _TOGETHER):
        places = order[start : start + _TOGETHER]
        written = task.write(opened.model, [encoded[place] for place in places], opened.processor)
        assert written is not None
        for place, tokens in zip(places, written.tolist(), strict=True):
            texts[place] = tidy(opened.processor, [token for token in tokens if token >= 0])
    parts = iter(texts)
    return [" ".join(text for _ in of_one if (text := next(parts))) for of_one in pieces]


def voice_of(sound: Any, name: str) -> NDArray[np.float64]:
    """The embedding of a voice, of length 1."""
    from regraft.pretrained.speaker import embed

    model = _knower(name)
    wave = torch.from_numpy(sound.samples(model.config.sampling_rate))
    return np.asarray(embed(model, wave).double().cpu().numpy())


def distortion(spoken: Samples, true: Samples) -> float:
    """The mel-cepstral distortion of two sounds at 16 kHz, in dB: the mean along the way that brings them closest.

    Of each frame of 10 ms the shape of 80 mel bands is told by 13 cepstra; how loud it is does not count.
    """
    one, other = (_cepstra(samples) for samples in (spoken, true))
    scale = 20 / np.log(10) / np.sqrt(_BANDS)
    apart = np.sqrt(np.maximum(0, (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T)) * scale
    return warped(apart)


def warped(apart: NDArray[np.float64]) -> float:
    """The mean cost along the cheapest way from the first to the last cell of [n, m], each step one on in either or
    both."""
    rows, columns = apart.shape
    cost = np.full((rows + 1, columns + 1), np.inf)
    steps = np.zeros((rows + 1, columns + 1))
    cost[0, 0] = 0
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = np.stack([cost[i, j], cost[i, j + 1], cost[i + 1, j]])
        taken = before.argmin(0)
        cost[i + 1, j + 1] = before.min(0) + apart[i, j]
        steps[i + 1, j + 1] = 1 + np.choose(taken, [steps[i, j], steps[i, j + 1], steps[i + 1, j]])
    return float(cost[-1, -1] / steps[-1, -1])


def _cepstra(samples: Samples) -> NDArray[np.float64]:
    """[frames, 13]: the shape of the logarithm of the amplitudes in mel bands."""
    from regraft.pretrained.speaker import SpeakerEncoderConfig, mel_spectrogram

    power = mel_spectrogram(torch.from_numpy(samples), SpeakerEncoderConfig(num_mel_bins=_BANDS, sampling_rate=_RATE))
    floor = max(float(power.max()) * _QUIETEST, 1e-30)
    amplitudes = 0.5 * np.log(np.maximum(power.double().numpy(), floor))
    return np.asarray(dct(amplitudes, norm="ortho", axis=1)[:, 1 : 1 + _CEPSTRA])


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


@lru_cache(maxsize=2)
def _writer(name: str) -> tuple[Any, Any]:
    """A task of speech recognition, and its model, ready to listen."""
    from regraft.tasks.automatic_speech_recognition import AutomaticSpeechRecognition

    options = ModelOptions(name=name)
    task: Any = AutomaticSpeechRecognition().settled(list, {}, Glimpse(options))
    if task.spells:
        raise RecipeError(
            f"task.listener = {name!r} spells along the sound", fix="name a model that writes, such as whisper-tiny.en"
        )
    opened = pretrained.load(options, task.auto_class, {}, seed=0)
    opened.model.to(choose_device("fp32").device)
    return task, opened


@lru_cache(maxsize=2)
def _knower(name: str) -> Any:
    """A model that tells voices apart."""
    from regraft.pretrained.folder import model_folder
    from regraft.pretrained.opening import open_folder

    folder = model_folder(ModelOptions(name=name))
    model, missing = open_folder(folder, "AutoModel", {}, None)
    if model.config.model_type != "ge2e_speaker" or missing:
        raise RecipeError(
            f"task.speaker = {name!r} ({model.config.model_type}) does not tell voices apart",
            fix="name resemblyzer, or none",
        )
    return model.eval().to(choose_device("fp32").device)
