"""Speech that is made: texts are read as tokens, recordings are what is to be said, and listeners judge.

Of an example the text's tokens and a reference to the recording are held; spectrograms are made when a batch is. What
is kept of what a model says is the wave itself, in whole numbers of 16 bits.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regraft.data.example import BadRow, Column, Example
from regraft.data.phonemes import phonemes
from regraft.data.sounds import LooseSound, open_sound
from regraft.fingerprint import encoded_id
from regraft.pretrained.spectrograms import before_each, frames_of
from regraft.tasks._contract import Answers, Encoded, Inputs, Loss, Output, Targets
from regraft.tasks._listening import Listeners, Utterance
from regraft.tasks._sounds import SYNONYMS as _SOUNDS
from regraft.tasks._text import SYNONYMS as _TEXTS
from regraft.tasks._text import parse_text
from regraft.tasks._writing import READ, padded

NOTHING = -(1 << 15)  # what stands behind the end of a wave of 16 bits
_LOUDEST = (1 << 15) - 1
_MOST_TOKENS = 4096
_LARGEST = float(np.finfo(np.float32).max)
_TRANSCRIPTS = ("transcription", "transcript", "normalized_text", "words", "转写", "文字")
# Where a long text is taken apart: behind what ends a sentence.
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|(?<=[。！？；])\s*|\n+")
_LONGEST = 300  # characters that are read at once, where a sentence ends before


@dataclass(frozen=True)
class SpokenInputs(Inputs):
    """A text that is to be spoken, and where there are several voices, whose is to be heard.

    Args:
        voices: whether a voice is told by a vector.
    """

    wanted: ClassVar[str] = "a text"
    alone: ClassVar[bool] = True  # the blocks of a VITS hold convolutions

    voices: bool = False

    def columns(self) -> tuple[Column, ...]:
        text = Column("text", "input", parse_text, (*_TEXTS, *_TRANSCRIPTS))
        voice = Column("speaker", "input", _vector, ("speaker_embedding", "speaker_embeddings"), required=False)
        return (text, voice) if self.voices else (text,)

    def trouble(self, inputs: Mapping[str, Any], processor: Any, config: Any) -> str | None:
        return self.fault(self.encode([inputs], processor, config)[0], processor, config)

    def fault(self, encoded: Encoded, processor: Any, config: Any) -> str | None:
        """What is wrong with an encoded example; None where it can be said."""
        tokens, limit = encoded["input_ids"], self.limit(processor, config)
        width = int(config.speaker_embedding_dim) if self.voices else 0
        if self.voices and len(encoded["speaker"]) != width:
            return f"'speaker' is a vector of {len(encoded['speaker']):,} numbers, and the model takes {width:,}"
        if not processor.says(tokens):
            return "'text' has nothing in it that this voice can say"
        return f"'text' has {len(tokens):,} tokens, and the voice reads {limit:,}" if len(tokens) > limit else None

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        texts = [values["text"] for values in inputs]
        tokens = processor.tokens(phonemes(texts, processor.phonemes) if processor.phonemes else texts)
        made: list[Encoded] = [{"input_ids": of_one, "attention_mask": [1] * len(of_one)} for of_one in tokens]
        if not self.voices:
            return made
        width = int(config.speaker_embedding_dim)
        return [
            {**row, "speaker": values.get("speaker") or (1.0,) * width}  # one that stands for all
            for row, values in zip(made, inputs, strict=True)
        ]

    def length(self, encoded: Encoded) -> int:
        return len(encoded["input_ids"])

    def limit(self, processor: Any, config: Any) -> int:  # noqa: ARG002
        """How many tokens the model can read."""
        return int(getattr(config, "max_text_positions", None) or _MOST_TOKENS)

    def remarks(self, encoded: Sequence[Encoded], processor: Any, config: Any) -> list[str]:  # noqa: ARG002
        sounds = [row["sound"] for row in encoded if "sound" in row]
        if not sounds:
            return []
        minutes = sum(sound.seconds for sound in sounds) / 60
        least = [len(row["input_ids"]) * row.get("hop", 0) / processor.rate for row in encoded]
        short = sum(sound.seconds < seconds for sound, seconds in zip(sounds, least, strict=True))
        told = [f"{minutes:.1f} minutes of speech, learned at {processor.rate:,} Hz"]
        low = sum(getattr(sound, "rate", processor.rate) < processor.rate for sound in sounds)
        if low:
            told.append(f"{low} of {len(sounds)} recordings have fewer samples a second: what is above is not learned")
        if short:
            told.append(f"{short} recordings are too short for their texts: silence is put behind them")
        if self.voices and len({row["speaker"] for row in encoded}) == 1:
            told.append("all recordings count as of one voice (there is no column 'speaker', or one value in it)")
        return told

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """What is read, ``asked``, and where the recordings are known, what is learned from.

        Of waves ``waveform`` [n, samples] and ``frames`` [n]; of spectrograms what the decoder reads before each step,
        ``decoder_input_values`` [n, steps, mels] and ``decoder_attention_mask`` [n, steps].
        """
        found = self.asked(encoded, processor, size=size)
        if not all("sound" in row for row in encoded):
            return found
        if not self.voices:
            waveform, frames = waves_of(encoded, processor.rate, encoded[0]["hop"])
            return found | {"waveform": waveform, "frames": frames}
        before = [before_each(spectrogram_of(row), row["reduction"]) for row in encoded]
        steps = torch.tensor([len(each) for each in before])
        return found | {
            "decoder_input_values": pad_sequence(before, batch_first=True),
            "decoder_attention_mask": (torch.arange(int(steps.max())) < steps.unsqueeze(1)).long(),
        }

    def asked(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """input_ids and attention_mask [n, size]; where voices are told apart, speaker_embeddings [n, width]."""
        ids = padded([row["input_ids"] for row in encoded], processor.pad, size=size or 0)
        mask = padded([row["attention_mask"] for row in encoded], 0, size=size or 0)
        if not self.voices:
            return {"input_ids": ids, "attention_mask": mask}
        voices = torch.tensor([row["speaker"] for row in encoded], dtype=torch.float32)
        return {"input_ids": ids, "attention_mask": mask, "speaker_embeddings": voices}

    def key(self, encoded: Encoded) -> bytes:
        """Of what the encoder reads."""
        return encoded_id({name: encoded[name] for name in READ})


@dataclass(frozen=True)
class SpokenTargets(Targets):
    """A recording of the text.

    Args:
        loss_of: the loss of the family, and its settings for the model.
        listeners: who judges what is spoken.
        settings: what the model is opened with.
    """

    loss_of: Loss
    listeners: Listeners
    settings: Mapping[str, Any]

    def column(self, *, label_separator: str) -> Column:  # noqa: ARG002
        return Column("audio", "target", parse_text, _SOUNDS, opens=open_sound)

    def learn(self, examples: Sequence[Example]) -> Answers:  # noqa: ARG002
        return Answers("speech", ())

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:  # noqa: ARG002
        return []

    def value(self, example: Example, answers: Answers) -> Utterance:  # noqa: ARG002
        return Utterance(example.inputs["text"], example.target, tuple(example.inputs.get("speaker") or ()))

    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        """Seconds of the recordings."""
        lengths = [sound.seconds for sound in targets]
        if not lengths:
            return {}
        return {"min": min(lengths), "mean": round(float(np.mean(lengths)), 2), "max": max(lengths)}

    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:
        raise NotImplementedError("what a batch is to say is made from its encoded examples")

    def model_config(self, answers: Answers) -> dict[str, Any]:  # noqa: ARG002
        return dict(self.settings)

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:  # noqa: ARG002
        return self.loss_of

    def said(self, output: Output, answers: Answers, encoded: Sequence[Encoded]) -> Tensor:  # noqa: ARG002
        """int16 [batch, 0]: of what it says while it learns nothing is kept; the wave comes behind."""
        return torch.empty(len(encoded), 0, dtype=torch.int16)

    def told(self, said: NDArray[Any], answers: Answers, processor: Any) -> NDArray[Any]:  # noqa: ARG002
        """Objects [n, 1]: each a LooseSound."""
        told = np.empty((len(said), 1), dtype=object)
        for place, row in enumerate(said):
            told[place, 0] = _sound_of(row, processor.rate)
        return told

    def judged(self, values: Sequence[Any], said: NDArray[Any], answers: Answers) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: ARG002
        target = np.array([one.text for one in values], dtype=np.dtypes.StringDType())
        return target, self.listeners.judge(values, [row[0] for row in said])

    def answer(
        self,
        scores: NDArray[Any],
        answers: Answers,  # noqa: ARG002
        inputs: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        sound: LooseSound = scores[0]
        return {"prediction": sound.values, "rate": sound.rate, "seconds": round(sound.seconds, 3)}


def whole_numbers(waves: Sequence[Tensor], most: int) -> Tensor:
    """int16 [n, most]: waves from -1 to 1, ``NOTHING`` behind their ends; longer ones are cut."""
    found = torch.full((len(waves), most), NOTHING, dtype=torch.int16)
    for place, wave in enumerate(waves):
        kept = wave.float().cpu()[:most]
        found[place, : len(kept)] = (kept.clamp(-1, 1) * _LOUDEST).round().to(torch.int16)
    return found


def sentences(text: str) -> list[str]:
    """A text in parts that are read one by one: as few sentences each as make up to 300 characters.

    A sentence that is longer by itself is taken apart between words.
    """
    parts: list[str] = []
    found = (part.strip() for part in _SENTENCE.split(text))
    for sentence in (piece for part in found if part for piece in textwrap.wrap(part, _LONGEST)):
        if parts and len(parts[-1]) + len(sentence) < _LONGEST:
            parts[-1] += f" {sentence}"
        else:
            parts.append(sentence)
    return parts or [text]


def waves_of(encoded: Sequence[Encoded], rate: int, hop: int) -> tuple[Tensor, Tensor]:
    """The recordings of a batch: float32 [n, frames * hop], silent behind their ends, and the frames [n] of each.

    There are at least as many frames as tokens, for each token takes one.
    """
    found = [torch.from_numpy(row["sound"].samples(rate)) for row in encoded]
    least = [len(row["input_ids"]) for row in encoded]
    frames = torch.tensor([max(-(-len(wave) // hop), few) for wave, few in zip(found, least, strict=True)])
    most = int(frames.max()) * hop
    return torch.stack([F.pad(wave, (0, most - len(wave))) for wave in found]), frames


def spectrogram_of(row: Encoded) -> Tensor:
    """The recording of an example as the spectrogram [frames, mels] that is learned from."""
    extractor = row["extractor"]
    return frames_of(row["sound"].samples(extractor.sampling_rate), extractor, row["reduction"])


def _sound_of(row: NDArray[np.int16], rate: int) -> LooseSound:
    ends = np.flatnonzero(row == NOTHING)
    kept = row[: ends[0]] if len(ends) else row
    values = (kept / np.float32(_LOUDEST)).astype(np.float32)
    return LooseSound(values, rate, 1, float(np.abs(values).max(initial=0.0)), 0.0)


def _vector(cell: Any) -> tuple[float, ...]:
    """A voice as a list of numbers, or as the JSON of one."""
    import json

    try:
        numbers = json.loads(cell) if isinstance(cell, str) else cell
        found = tuple(float(number) for number in numbers)
    except (ValueError, TypeError, RecursionError):
        raise ValueError("is no list of numbers; a voice is told by a vector such as [0.1, -0.2, …]") from None
    if not all(abs(number) <= _LARGEST for number in found) or not any(found):
        raise ValueError("is no voice: a vector of finite numbers that are not all 0 is needed")
    return found
