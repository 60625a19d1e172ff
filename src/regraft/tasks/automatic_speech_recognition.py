"""automatic-speech-recognition: what is said in a recording, written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from regraft.data.example import Example
from regraft.errors import RecipeError
from regraft.pretrained.glimpse import Glimpse
from regraft.tasks._contract import Answers, Encoded, Task
from regraft.tasks._ctc import CtcTargets, SpelledInputs, spelled
from regraft.tasks._sounds import SoundInputs, SoundTask, cut_at_pauses
from regraft.tasks._writing import IGNORED, TextTargets, Writing, WritingTask, shifted

_SYNONYMS = ("transcription", "transcript", "sentence", "target", "label", "words", "文本", "转写", "文字")
_SPACED = {"whisper"}  # whose transcripts begin with a space
_WRITTEN, _SPELLED = "AutoModelForSpeechSeq2Seq", "AutoModelForCTC"


@dataclass(frozen=True)
class AutomaticSpeechRecognition(SoundTask, WritingTask):
    """A text for a sound.

    Options:
        decoder: attention writes token by token (Whisper), ctc spells along the sound; auto goes by the model.
        max_seconds: longer recordings are not learned from; null for what the model hears at once, or else 30.
        language: of models that know many, as a code such as en.
        max_new_tokens: the most that is written of a piece.
        beams: how many transcripts are followed side by side; 1 takes the likeliest token each time.
    """

    pipeline_tag: ClassVar[str] = "automatic-speech-recognition"
    primary: ClassVar[str] = "wer"
    default_model: ClassVar[str] = "whisper-tiny.en"

    decoder: Literal["auto", "attention", "ctc"] = "auto"
    max_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    language: str | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=10_000)] = 128
    beams: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        return _SPELLED if self.spells else _WRITTEN

    @property
    def spells(self) -> bool:
        """Whether it spells along the sound, and does not write."""
        return self.decoder == "ctc"

    @property
    def inputs(self) -> SoundInputs:
        return SpelledInputs(self.max_seconds) if self.spells else SoundInputs(self.max_seconds)

    @property
    def targets(self) -> TextTargets:
        kind = CtcTargets if self.spells else TextTargets
        return kind("transcripts", name="text", synonyms=_SYNONYMS)

    @property
    def writing(self) -> Writing:
        return Writing(self.max_new_tokens, self.beams)

    def settled(
        self,
        header: Callable[[], Sequence[str]],
        named: Mapping[str, str],
        model: Glimpse,
    ) -> Task:
        heard = super().settled(header, named, model)
        if self.decoder != "auto":
            return heard
        return replace(heard, decoder="attention" if model.has_head(_WRITTEN) else "ctc")  # type: ignore[type-var]

    def rows(
        self, examples: Sequence[Example], answers: Answers, processor: Any, config: Any
    ) -> tuple[list[Encoded], list[Any]]:
        encoded, values = super().rows(examples, answers, processor, config)
        if self.language is not None and not self.spells:
            self._set_language(processor.tokenizer)
        made = [
            {**row, **self._told(text, processor.tokenizer, config)} for row, text in zip(encoded, values, strict=True)
        ]
        if self.spells:
            made = [{**row, "labels": [row["frames"], *row["labels"]]} for row in made]
        return made, values

    def _set_language(self, tokenizer: Any) -> None:
        """Let transcripts begin with the language.

        Raises:
            RecipeError: the model does not know it, or is told none.
        """
        if not hasattr(tokenizer, "set_prefix_tokens"):
            raise RecipeError(
                f"task.language = {self.language!r}: this model is told no language", fix="leave task.language out"
            )
        try:
            tokenizer.set_prefix_tokens(language=self.language, task="transcribe")
            _ = tokenizer.prefix_tokens
        except ValueError as error:
            raise RecipeError(
                f"task.language = {self.language!r}: {str(error)[:200]}", fix="name it by its code, such as en"
            ) from None

    def prove(self, model: Any, encoded: Sequence[Encoded], answers: Answers, processor: Any) -> None:
        """See that a model that is told a language hears more than one, before anything is spent."""
        super().prove(model, encoded, answers, processor)
        several = getattr(getattr(model, "generation_config", None), "is_multilingual", True)
        if self.language is not None and not self.spells and several is False:
            raise RecipeError(
                f"task.language = {self.language!r}: this model hears English only", fix="leave task.language out"
            )

    def _told(self, text: str, tokenizer: Any, config: Any) -> dict[str, list[int]]:
        """What is to be said, and what the decoder reads while it learns to; how every transcript begins is given."""
        if self.spells:
            return {"labels": spelled(text, tokenizer)}
        space = " " if config.model_type in _SPACED else ""
        tokens = tokenizer(space + text)["input_ids"]
        tokens = tokens[1:] if tokens[:1] == [config.decoder_start_token_id] else tokens
        marks = {*tokenizer.all_special_ids} - {tokenizer.eos_token_id}
        labels = [IGNORED if token in marks else token for token in tokens]
        return {"labels": labels, "decoder_input_ids": shifted(tokens, config)}

    def pieces(self, inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A recording that is too long, cut at its pauses."""
        sound, longest = inputs["audio"], self.inputs.longest
        if sound.seconds <= longest:
            return [inputs]
        return [{**inputs, "audio": part} for part in cut_at_pauses(sound, longest)]

    def joined(self, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"prediction": " ".join(answer["prediction"] for answer in answers if answer["prediction"])}

    def looks(self, encoded: Sequence[Encoded]) -> bool:
        return self.spells or super().looks(encoded)

    def write(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> Tensor | None:
        return None if self.spells else super().write(model, encoded, processor)

    def asked(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.spells:
            raise RecipeError(
                "a text that is spelled along the sound does not come in pieces", fix="leave --stream out"
            )
        heard = [{name: row[name] for name in ("sound", "ear")} for row in encoded]
        inputs = self.inputs.collate(heard, processor)
        more = {} if self.language is None else {"language": self.language, "task": "transcribe"}
        return {name: value.to(model.device) for name, value in inputs.items()}, more
