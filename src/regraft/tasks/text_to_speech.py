"""text-to-speech: a text, spoken in the voice of the recordings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regraft.data.example import BadRow, Example
from regraft.errors import DataError, RecipeError
from regraft.fingerprint import draw
from regraft.pretrained.glimpse import Glimpse
from regraft.pretrained.speaking import OF_SPECTROGRAMS, OF_WAVES, VOICES, vocoder_of
from regraft.pretrained.spectrograms import PAST, griffin_lim, spectrogram_losses
from regraft.tasks._contract import Answers, Encoded, Loss, Output, Task
from regraft.tasks._listening import NOBODY, Listeners
from regraft.tasks._speech import SpokenInputs, SpokenTargets, sentences, spectrogram_of, whole_numbers

_LISTED = 10  # rows in a message
_OF_SPECTROGRAMS = ("vocoder",)
_OF_WAVES = ("segment", "posterior_layers", "discriminators", "mel_weight", "kl_weight", "duration_weight")
_PAUSE = 0.2  # seconds between the parts of a long text


@dataclass(frozen=True)
class TextToSpeech(Task):
    """Speech for a text.

    Options:
        says: what the model gives, waves (VITS) or spectrograms (SpeechT5); auto goes by the model.
        max_seconds: longer recordings are not learned from, and longer speech is cut.
        listener: who writes down what is spoken, a model of speech recognition; none for nobody.
        speaker: who tells how alike the voices are, a model such as resemblyzer; none for nobody.
        vocoder: a folder or hub id of what makes waves of spectrograms; null for the method of Griffin and Lim.
        segment: of waves, frames of each example that are decoded at a step: more is dearer.
        posterior_layers: of a VITS without a posterior encoder, how deep the new one is; null for the config's.
        discriminators: of waves, the width of discriminators that learn to tell them from recordings; 0 for none.
        mel_weight: of waves, how much the distance of spectrograms counts.
        kl_weight: of waves, how much it counts how far what is heard is from what the text says.
        duration_weight: of waves, how much the lengths of sounds count.
    """

    pipeline_tag: ClassVar[str] = "text-to-speech"
    default_model: ClassVar[str] = "joe"
    looks_first: ClassVar[bool] = True
    proof_rows: ClassVar[int] = 16  # what is spoken takes long

    says: Literal["auto", "waves", "spectrograms"] = "auto"
    max_seconds: Annotated[float, Field(gt=0, le=60)] = 30.0
    listener: str = "whisper-tiny.en"
    speaker: str = "resemblyzer"
    vocoder: str | None = None
    segment: Annotated[int, Field(ge=4, le=1000)] = 32
    posterior_layers: Annotated[int, Field(ge=1, le=64)] | None = None
    discriminators: Annotated[int, Field(ge=0, le=64)] = 0
    mel_weight: Annotated[float, Field(ge=0)] = 45.0
    kl_weight: Annotated[float, Field(ge=0)] = 1.0
    duration_weight: Annotated[float, Field(ge=0)] = 1.0

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        return OF_SPECTROGRAMS if self._spectrograms else OF_WAVES

    @property
    def primary(self) -> str:  # type: ignore[override]
        """What can be known of a voice, given who listens."""
        if self.speaker != NOBODY:
            return "likeness"
        return "mcd" if self.listener == NOBODY else "wer"

    @property
    def unmeasured(self) -> frozenset[str]:
        heard = {"wer", "cer"} if self.listener == NOBODY else set()
        return frozenset(heard | ({"similarity", "likeness"} if self.speaker == NOBODY else set()))

    @property
    def _spectrograms(self) -> bool:
        return self.says == "spectrograms"

    @property
    def listeners(self) -> Listeners:
        """Who judges."""
        return Listeners(self.listener, self.speaker)

    @property
    def inputs(self) -> SpokenInputs:
        return SpokenInputs(voices=self._spectrograms)

    @property
    def targets(self) -> SpokenTargets:
        if self._spectrograms:
            return SpokenTargets(self._of_frames, self.listeners, {})
        learning = {
            "segment": self.segment,
            "posterior_layers": self.posterior_layers,
            "discriminator_channels": self.discriminators,
        }
        return SpokenTargets(self._of_waves, self.listeners, learning)

    @property
    def _of_frames(self) -> Loss:
        return Loss("distance of spectrograms", "the spectrogram is spoken, frame after frame", spectrogram_losses)

    @property
    def _of_waves(self) -> Loss:
        weights = {"mel": self.mel_weight, "kl": self.kl_weight, "duration": self.duration_weight}

        def all_of_vits(output: Output, target: Tensor) -> Tensor:  # noqa: ARG001  (what is true is in the output)
            from regraft.pretrained.vits import vits_loss

            return vits_loss(output, **weights)

        told = ", ".join(f"{weight:g} {name}" for name, weight in weights.items())
        against = ", and discriminators" if self.discriminators else ""
        return Loss(f"VITS ({told}{against})", "the wave is spoken whole, as VITS learns it", all_of_vits)

    def settled(
        self,
        header: Callable[[], Sequence[str]],  # noqa: ARG002
        named: Mapping[str, str],  # noqa: ARG002
        model: Glimpse,
    ) -> Task:
        """The task, told what its model says."""
        if self.says != "auto":
            return self
        spectrograms = model.settings.model_type in VOICES[OF_SPECTROGRAMS]
        return replace(self, says="spectrograms" if spectrograms else "waves")

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:  # noqa: ARG002
        return [
            BadRow(
                example.file,
                example.row,
                "audio",
                f"lasts {example.target.seconds:.1f} s; at most {self.max_seconds:g} are learned (task.max_seconds)",
            )
            for example in examples
            if example.target.seconds > self.max_seconds
        ]

    def rows(
        self, examples: Sequence[Example], answers: Answers, processor: Any, config: Any
    ) -> tuple[list[Encoded], list[Any]]:
        encoded, values = super().rows(examples, answers, processor, config)
        faults = [self.inputs.fault(row, processor, config) for row in encoded]
        told = zip(examples, faults, strict=True)
        bad = [BadRow(example.file, example.row, None, reason) for example, reason in told if reason]
        if bad:
            listed = "\n".join(f"  {row}" for row in bad[:_LISTED])
            raise DataError(
                f"{len(bad)} rows cannot be learned by this voice:\n{listed}", fix="correct them, or take them out"
            )
        if self._spectrograms:
            how: Encoded = {"reduction": int(config.reduction_factor), "extractor": processor.extractor}
        else:
            how = {"hop": math.prod(config.upsample_rates)}  # samples of a frame
        return [{**row, **how, "sound": value.sound} for row, value in zip(encoded, values, strict=True)], values

    def looks(self, encoded: Sequence[Encoded]) -> bool:
        return all("sound" in row for row in encoded)

    def target(self, encoded: Sequence[Encoded], values: Sequence[Any], answers: Answers) -> Tensor:  # noqa: ARG002
        """Of spectrograms the true frames [n, longest, mels]; of waves, which the model is given, the places [n]."""
        if not self._spectrograms:
            return torch.zeros(len(encoded))
        frames = [spectrogram_of(row) for row in encoded]
        return pad_sequence(frames, batch_first=True, padding_value=PAST)

    def units(self, target: Tensor) -> int:
        """Examples; of spectrograms, frames."""
        return len(target) if target.ndim == 1 else max(1, int((target[:, :, 0] != PAST).sum()))

    def prove(self, model: Any, encoded: Sequence[Encoded], answers: Answers, processor: Any) -> None:  # noqa: ARG002
        """See that who judges is here, and that the options are of this kind of voice, before anything is spent."""
        foreign = _OF_WAVES if self._spectrograms else _OF_SPECTROGRAMS
        asked = [name for name in foreign if getattr(self, name) != getattr(type(self), name)]
        if asked:
            raise RecipeError(
                f"task.{asked[0]} is for voices that say {'waves' if self._spectrograms else 'spectrograms'}, and this "
                f"one says {self.says}",
                fix=f"leave task.{asked[0]} out",
            )
        if not self._spectrograms and not any((self.mel_weight, self.kl_weight, self.duration_weight)):
            raise RecipeError(
                "all weights of the loss are 0: nothing would be learned", fix="leave task.mel_weight out"
            )
        self.listeners.require()
        if self.vocoder is not None:
            vocoder_of(self.vocoder, processor.extractor.num_mel_bins, processor.rate)

    def write(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> Tensor | None:
        """What is spoken: int16 [batch, most samples]. Each by itself, its chance drawn from its text."""
        devices, waves = [device_of(model)] if device_of(model).type == "cuda" else [], []
        for row in encoded:
            with torch.random.fork_rng(devices=devices), torch.no_grad():
                torch.manual_seed(draw("speech", row["input_ids"]) % (1 << 63))
                waves.append(self._speak(model, row, processor))
        return whole_numbers(waves, int(self.max_seconds * processor.rate))

    def _speak(self, model: Any, row: Encoded, processor: Any) -> Tensor:
        """float [samples]"""
        asked = {name: value.to(device_of(model)) for name, value in self.inputs.asked([row], processor).items()}
        if not self._spectrograms:
            spoken: Tensor = model.backbone(**asked).waveform[0]
            return spoken
        frames = model.generate_speech(
            asked["input_ids"], asked["speaker_embeddings"], attention_mask=asked["attention_mask"]
        ).float()
        if self.vocoder is None:
            return griffin_lim(frames.cpu(), processor.extractor)
        made: Tensor = vocoder_of(self.vocoder, processor.extractor.num_mel_bins, processor.rate)(frames.cpu())
        return made

    def pieces(self, inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A long text, sentence by sentence."""
        return [{**inputs, "text": part} for part in sentences(inputs["text"])]

    def joined(self, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        rate = answers[0]["rate"]
        pause = np.zeros(int(_PAUSE * rate), np.float32)
        parts = [part for answer in answers for part in (pause, answer["prediction"])][1:]
        wave = np.concatenate(parts)
        return {"prediction": wave, "rate": rate, "seconds": round(len(wave) / rate, 3)}


def device_of(model: Any) -> torch.device:
    """Where a model computes."""
    found: torch.device = next(model.parameters()).device
    return found
