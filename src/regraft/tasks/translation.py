"""translation: a text in another language, or in another form: any task that turns a text into a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from regraft.data.example import Column, Example
from regraft.errors import RecipeError
from regraft.tasks._contract import Answers, Encoded
from regraft.tasks._text import TextInputs, parse_text
from regraft.tasks._text_views import TextTask, meaning_kept
from regraft.tasks._writing import TextTargets, Writing, WritingTask, decoder_inputs, read_of, shifted

_SOURCE = ("text", "source_text", "src", "sentence", "input", "original", "原文", "源文", "文本")
_TARGET = ("translation", "target_text", "translated", "output", "tgt", "译文", "翻译")


@dataclass(frozen=True)
class Translation(TextTask, WritingTask):
    """A text for a text.

    Options:
        max_length: of the text that is read, and of the one that is written, so many tokens count.
        source_language: the code of the language, for models that know many (mBART, M2M100, NLLB).
        target_language: likewise.
        prefix: what T5 and its kin are told before each text, such as "translate English to German: ".
        beams: how many translations are followed side by side; 1 takes the likeliest token each time.
        label_smoothing: the share of the target that is spread over all tokens.
    """

    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    pipeline_tag: ClassVar[str] = "translation"
    primary: ClassVar[str] = "chrf"
    default_model: ClassVar[str] = "bergamot-en-pt"

    max_length: Annotated[int, Field(ge=4)] = 128
    source_language: str | None = None
    target_language: str | None = None
    prefix: str = ""
    beams: Annotated[int, Field(ge=1, le=64)] = 1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def inputs(self) -> SourceInputs:
        return SourceInputs(self.max_length, self.source_language, self.target_language, self.prefix)

    @property
    def targets(self) -> TextTargets:
        return TextTargets("translations", "target", _TARGET, self.label_smoothing)

    @property
    def writing(self) -> Writing:
        return Writing(self.max_length, self.beams)

    def rows(
        self, examples: Sequence[Example], answers: Answers, processor: Any, config: Any
    ) -> tuple[list[Encoded], list[Any]]:
        encoded, values = super().rows(examples, answers, processor, config)
        limit = self.inputs.limit(processor, config)
        labels = processor(text_target=values, truncation=True, max_length=limit)["input_ids"] if values else []
        return [
            {**row, "labels": of_one, "decoder_input_ids": shifted(of_one, config)}
            for row, of_one in zip(encoded, labels, strict=True)
        ], values

    def augmentation_of(self, options: Any) -> Any:
        """What is read may be varied as long as it says the same.

        Raises:
            RecipeError: words would go that are to be translated.
        """
        return meaning_kept(super().augmentation_of(options))

    def asked(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        inputs = self.inputs.collate([read_of(row) for row in encoded], processor)
        more = {} if self.target_language is None else {"forced_bos_token_id": code(processor, self.target_language)}
        return {name: value.to(model.device) for name, value in inputs.items()}, more


@dataclass(frozen=True)
class SourceInputs(TextInputs):
    """A text to be translated."""

    max_length: int = 128
    source_language: str | None = None
    target_language: str | None = None
    prefix: str = ""

    def columns(self) -> tuple[Column, ...]:
        return (Column("source", "input", parse_text, _SOURCE),)

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        for attribute, language in (("src_lang", self.source_language), ("tgt_lang", self.target_language)):
            if language is not None:
                code(processor, language)
                setattr(processor, attribute, language)
        texts = [{"text": self.prefix + values["source"]} for values in inputs]
        read = super().encode(texts, processor, config)
        return [read_of(row) for row in read]

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """input_ids and attention_mask [n, size]; where the truth is known, decoder_input_ids [n, longest]."""
        found = super().collate([read_of(row) for row in encoded], processor, size=size)
        return found | decoder_inputs(encoded, processor.pad_token_id)

    def key(self, encoded: Encoded) -> bytes:
        """Of what the encoder reads: what is written from it is not in it."""
        return super().key(read_of(encoded))


def code(processor: Any, language: str) -> int:
    """The token of a language.

    Raises:
        RecipeError: the model knows no such language.
    """
    token = processor.convert_tokens_to_ids(getattr(processor, "lang_code_to_token", {}).get(language, language))
    if token is None or token == processor.unk_token_id:
        known = ", ".join(list(getattr(processor, "lang_code_to_token", processor.all_special_tokens))[:12])
        raise RecipeError(f"the model has no language {language!r}", fix=f"it has for example: {known}")
    return int(token)
