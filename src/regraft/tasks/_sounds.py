"""Inputs that are sounds: read by whoever needs them, at the rate of the model, varied in training.

Of an example only the reference is held. What a model reads of it (samples, or a spectrogram) is made when a batch is,
and not at all where the model does not look (``blank``).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft.data.augment.options import SoundAugmentation
from regraft.data.example import BadRow, Column, Example
from regraft.errors import RecipeError
from regraft.fingerprint import digest
from regraft.pretrained.glimpse import Glimpse
from regraft.tasks._contract import Answers, Encoded, Inputs, Plain, Task
from regraft.tasks._text import parse_text
from regraft.tasks._views import View, Views
from regraft.tasks._writing import decoder_inputs

SYNONYMS = ("file_name", "filename", "file", "path", "audio_path", "audio_file", "sound", "wav", "clip", "recording",
             "音频", "录音", "语音", "文件名", "路径")  # fmt: skip
_TICK = 0.02  # seconds; what counts as one unit of ``training.max_tokens``, for models of speech have so many states
USUAL_SECONDS = 30.0  # of the longest sound that is learned from, where the model can hear any
_CLIPPED = 0.001  # the share of samples from which a sound counts as clipped
_SHOWN_SECONDS = 8

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Ear:
    """How a model hears: found by letting its feature extractor listen.

    ``kind``: "window" where every sound becomes as long as the model's window (Whisper, AST), "samples" where it reads
    the samples themselves, "frames" where it reads a spectrogram of any length. ``alike``: whether sounds of unequal
    length must not be computed together, since padding would change them (group norm). ``axis`` is where time runs in
    what it reads of one sound. ``settings`` is the digest of what decides the numbers.
    """

    rate: int
    kind: Literal["window", "samples", "frames"]
    name: str
    window: float  # seconds
    shape: tuple[int, ...]
    axis: int
    alike: bool
    settings: str

    @property
    def tick(self) -> int:
        """Samples of one unit of length."""
        return round(self.rate * _TICK)


@dataclass(frozen=True)
class SoundInputs(Inputs):
    """A sound.

    Args:
        max_seconds: a longer one is not learned from.
    """

    wanted: ClassVar[str] = "the path of a sound, or (samples, rate)"
    alone: ClassVar[bool] = True

    max_seconds: float | None = None

    @property
    def longest(self) -> float:
        """Seconds of the longest sound that is read."""
        return self.max_seconds or USUAL_SECONDS

    def is_one(self, value: Any) -> bool:
        return isinstance(value, str | Path | tuple) or hasattr(value, "samples")

    def given(self, column: Column, value: Any) -> Any:
        from regraft.data.sounds import loose_sound

        if isinstance(value, str | Path):
            assert column.opens is not None
            return column.opens(Path(column.parse(str(value))).expanduser())
        return value if hasattr(value, "samples") else loose_sound(value)

    def columns(self) -> tuple[Column, ...]:
        from regraft.data.sounds import open_sound

        return (Column("audio", "input", parse_text, SYNONYMS, opens=open_sound),)

    def unfit(self, examples: Sequence[Example]) -> list[BadRow]:
        """Those that are too long to be learned from."""
        return [
            BadRow(
                example.file,
                example.row,
                "audio",
                f"lasts {example.inputs['audio'].seconds:.1f} s; at most {self.longest:g} are read (task.max_seconds)",
            )
            for example in examples
            if example.inputs["audio"].seconds > self.longest
        ]

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        ear = ear_of(processor.feature_extractor, config)
        if ear.kind == "window" and self.longest > ear.window:
            raise RecipeError(
                f"task.max_seconds = {self.longest:g}, and the model hears {ear.window:g} s at a time",
                fix=f"set task.max_seconds={ear.window:g}; longer sounds are cut into pieces when they are predicted",
            )
        return [{"sound": values["audio"], "ear": ear} for values in inputs]

    def length(self, encoded: Encoded) -> int:
        """Its seconds in units of 20 ms, and the tokens that a decoder reads of the truth.

        Where all sounds are as long as the window these tell which go together, so that little is padded.
        """
        ear: Ear = encoded["ear"]
        seconds = ear.window if ear.kind == "window" else encoded["sound"].seconds
        return max(1, -int(-seconds // _TICK)) + len(encoded.get("decoder_input_ids", ()))

    def alike(self, encoded: Sequence[Encoded]) -> bool:
        return bool(encoded) and encoded[0]["ear"].alike

    def limit(self, processor: Any, config: Any) -> int:
        """The most that is read; 0 where lengths are not to be rounded, for padding would change what is said."""
        ear = ear_of(processor.feature_extractor, config)
        if ear.alike:
            return 0
        return round((ear.window if ear.kind == "window" else self.longest) / _TICK)

    def remarks(self, encoded: Sequence[Encoded], processor: Any, config: Any) -> list[str]:  # noqa: ARG002
        if not encoded:
            return []
        ear: Ear = encoded[0]["ear"]
        sounds = [row["sound"] for row in encoded]
        told = [f"{sum(sound.seconds for sound in sounds) / 60:.1f} minutes of sound, read at {ear.rate:,} Hz"]
        low = sum(getattr(sound, "rate", ear.rate) < ear.rate for sound in sounds)
        if low:
            told.append(
                f"{low} of {len(sounds)} sounds have fewer samples a second than that: their heights are missing"
            )
        clipped = sum(sound.clipped > _CLIPPED for sound in sounds)
        if clipped:
            told.append(f"{clipped} of {len(sounds)} sounds are clipped: they were recorded too loud")
        if ear.alike:
            told.append("the model normalises over time, so that only sounds of equal length are computed together")
        return told

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """What the model reads: [n, …], padded to the longest or to ``size`` units; a mask where it takes one."""
        ear: Ear = encoded[0]["ear"]
        heard = [self._heard(row, processor) for row in encoded]
        if ear.kind == "window":
            return {ear.name: torch.stack(heard), **decoder_inputs(encoded, 0)}
        longest = max(each.shape[ear.axis] for each in heard)
        if size is not None and ear.kind == "samples" and not ear.alike:
            longest = max(longest, size * ear.tick)
        found = {ear.name: torch.stack([_padded(each, longest, ear.axis) for each in heard])}
        if not ear.alike:
            lengths = torch.tensor([each.shape[ear.axis] for each in heard])
            found["attention_mask"] = (torch.arange(longest) < lengths.unsqueeze(1)).long()
        return found | decoder_inputs(encoded, 0)

    def key(self, encoded: Encoded) -> bytes:
        """Of the sound, how it is heard and varied; not of what is said in it."""
        view: View | None = encoded.get("view")
        how = None if view is None else [*view.key(""), replace(view.options, views=None).__dict__]
        return bytes.fromhex(digest([encoded["sound"].content, encoded["ear"].settings, how]))[:16]

    def blank(self, encoded: Sequence[Encoded], processor: Any) -> dict[str, Tensor] | None:  # noqa: ARG002
        """Silence that takes no memory, where every sound becomes equally long."""
        ear: Ear = encoded[0]["ear"]
        if ear.kind != "window":
            return None
        return {ear.name: torch.zeros(()).expand(len(encoded), *ear.shape), **decoder_inputs(encoded, 0)}

    def samples(self, row: Encoded) -> Samples:
        """What is heard of an example in the view that it stands for, float32 [n]."""
        ear, view = row["ear"], row.get("view")
        found: Samples = row["sound"].samples(ear.rate)
        if view is not None:
            from regraft.data.augment.sound import augment

            found = augment(found, ear.rate, view.options, key=view.key(row["sound"].content))
        if not ear.alike:
            return found
        whole = self.length(row) * ear.tick  # so that sounds of as many units are as long to the sample
        return np.pad(found, (0, max(0, whole - len(found))))[:whole]

    def _heard(self, row: Encoded, processor: Any) -> Tensor:
        """What the model reads of one example, with parts of it hidden where its view says so."""
        ear, view, samples = row["ear"], row.get("view"), self.samples(row)
        found = listened(processor.feature_extractor, samples, ear.rate)[ear.name]
        if view is None or ear.kind == "samples":
            return found
        from regraft.data.augment.sound import spec_augment

        frames = found.shape[ear.axis]
        if ear.kind == "window":
            frames = min(frames, -int(-len(samples) * frames // round(ear.window * ear.rate)))
        return spec_augment(found, view.options, key=view.key(row["sound"].content), time=ear.axis, frames=frames)


def ear_of(extractor: Any, config: Any) -> Ear:
    """How a model hears, by letting its feature extractor listen to two sounds."""
    rate = int(extractor.sampling_rate)
    short, long = (listened(extractor, np.zeros(seconds * rate, np.float32), rate) for seconds in (1, 2))
    name = next(iter(short))
    shape, other = tuple(short[name].shape), tuple(long[name].shape)
    settings = digest(
        [extractor.to_dict(), type(extractor).__qualname__, *map(version, ("soundfile", "soxr", "numpy"))]
    )
    group = getattr(config, "feat_extract_norm", None) == "group"
    if shape == other:
        seconds = float(getattr(extractor, "chunk_length", None) or _window(extractor))
        return Ear(rate, "window", name, seconds, shape, _time_axis(extractor, shape), False, settings)
    axis = next(place for place, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b)
    kind: Literal["samples", "frames"] = "samples" if len(shape) == 1 else "frames"
    alike = kind == "samples" and (group or not getattr(extractor, "return_attention_mask", True))
    return Ear(rate, kind, name, 0.0, shape, axis, alike, settings)


def _window(extractor: Any) -> float:
    """Seconds of the window of an extractor that does not say: AST counts frames of 10 ms."""
    return float(getattr(extractor, "max_length", 1024)) / 100


def _time_axis(extractor: Any, shape: tuple[int, ...]) -> int:
    """Where time runs in a spectrogram of fixed size: not where there are as many numbers as bands."""
    bands = getattr(extractor, "feature_size", None)
    bands = getattr(extractor, "num_mel_bins", bands) if bands not in shape else bands
    return 1 if shape[0] == bands else 0


def listened(extractor: Any, samples: Samples, rate: int) -> dict[str, Tensor]:
    """What a feature extractor makes of one sound, what the model reads first."""
    with torch.autocast("cpu", enabled=False):  # a spectrogram is no part of the model
        found = extractor(samples, sampling_rate=rate, return_tensors="pt")
    name = extractor.model_input_names[0]
    return {name: found[name][0]}


def _padded(heard: Tensor, size: int, axis: int) -> Tensor:
    missing = size - heard.shape[axis]
    if missing <= 0:
        return heard
    shape = [missing if place == axis else length for place, length in enumerate(heard.shape)]
    return torch.cat([heard, heard.new_zeros(shape)], dim=axis)


class SoundTask(Task):
    """What the tasks on sounds share: varied views, and sounds that are too long."""

    looks_first: ClassVar[bool] = True  # heads differ in what of the backbone they use
    augmentation: ClassVar[type[Any] | None] = SoundAugmentation

    max_seconds: float | None

    @property
    def inputs(self) -> SoundInputs:
        raise NotImplementedError

    def settled(
        self,
        header: Callable[[], Sequence[str]],  # noqa: ARG002
        named: Mapping[str, str],  # noqa: ARG002
        model: Glimpse,
    ) -> Task:
        """The task with the longest sound that the model hears."""
        if self.max_seconds is not None:
            return self
        ear = ear_of(model.feature_extractor, model.settings)
        window = ear.window if ear.kind == "window" else USUAL_SECONDS
        return replace(self, max_seconds=window)  # type: ignore[type-var]

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:
        return [*self.inputs.unfit(examples), *super().unfit(examples, answers)]

    def pieces(self, inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        sound, longest = inputs["audio"], self.inputs.longest
        if sound.seconds > longest:
            raise RecipeError(
                f"a sound lasts {sound.seconds:.1f} s; the model was tuned on at most {longest:g}",
                fix="cut it into pieces, or tune with a larger task.max_seconds",
            )
        return [inputs]

    def views(self, plain: Plain, options: Any, *, seed: int, number: int) -> Sequence[Encoded]:
        return Views(plain.encoded, fitting(options.settled, plain.encoded[0]["ear"]), seed, number)

    def sheet(self, rows: Sequence[Encoded], answers: Answers, processor: Any, *, columns: int) -> bytes:  # noqa: ARG002
        return spectrograms(rows, self.inputs, columns=columns)


def fitting(options: SoundAugmentation, ear: Ear) -> SoundAugmentation:
    """The options without what a model could not bear.

    Raises:
        RecipeError: it was asked for by name.
    """
    if ear.alike and options.settled.speed not in (None, (1.0, 1.0)):
        if options.speed is not None:
            raise RecipeError(
                "augmentation.speed changes lengths, and this model computes only sounds of equal length together",
                fix="leave augmentation.speed out",
            )
        return replace(options, speed=(1.0, 1.0))
    return options


def spectrograms(rows: Sequence[Encoded], inputs: SoundInputs, *, columns: int) -> bytes:
    """What training will hear of some examples in their views, as pictures of frequencies over time: a PNG file."""
    from matplotlib.figure import Figure

    count = -(-len(rows) // columns)
    figure = Figure(figsize=(2.4 * columns, 1.3 * count), dpi=80, layout="constrained")
    for place, row in enumerate(rows, start=1):
        axes = figure.add_subplot(count, columns, place)
        rate = row["ear"].rate
        samples = inputs.samples(row)[: _SHOWN_SECONDS * rate]
        axes.specgram(samples + 1e-6, NFFT=512, noverlap=256, Fs=rate, vmin=-120, cmap="magma")
        axes.set_axis_off()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def cut_at_pauses(sound: Any, longest: float) -> list[Any]:
    """A sound in parts of at most so many seconds, cut where it is quietest in the last third of each."""
    from regraft.data.sounds import LooseSound

    rate = int(sound.rate)
    samples = sound.samples(rate)
    most, parts = int(longest * rate), []
    while len(samples) > most:
        place = most * 2 // 3 + _quietest(samples[most * 2 // 3 : most], rate)
        parts.append(samples[:place])
        samples = samples[place:]
    return [
        LooseSound(part, rate, 1, float(np.abs(part).max(initial=0.0)), 0.0) for part in [*parts, samples] if len(part)
    ]


def _quietest(samples: Samples, rate: int) -> int:
    """The middle of the quietest fifth of a second."""
    width = max(1, min(len(samples), rate // 5))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    return int(np.argmin(energy[width:] - energy[:-width])) + width // 2
