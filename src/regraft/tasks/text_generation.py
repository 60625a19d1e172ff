"""text-generation: a language model that goes on with a text, completes a prompt, or answers in a conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from regraft.data.example import Column, Example
from regraft.errors import DataError, RecipeError
from regraft.pretrained.glimpse import Glimpse
from regraft.tasks._contract import Answers, Batch, Encoded, Kind
from regraft.tasks._language import COLUMNS, Format, LanguageInputs, LanguageTargets, packed
from regraft.tasks._text_views import TextTask, meaning_kept
from regraft.tasks._writing import Writing, WritingTask

_KINDS: dict[str, Kind] = {"text": "passages", "completion": "completions", "chat": "completions"}

_ROUNDING = 1e-4  # what a loss may differ by where only rounding does


@dataclass(frozen=True)
class TextGeneration(TextTask, WritingTask):
    """A language model of the GPT kind.

    Options:
        format: what is learned: whole texts, completions, or what the assistant says; auto goes by the columns.
        max_length: so many tokens of an example are read.
        max_new_tokens: the most that is written.
        packing: several short texts in one row of a batch, none of which sees another.
        temperature: 0 takes the likeliest token each time; above, answers of predict are drawn.
        top_p: draws from the likeliest tokens that together have this share.
    """

    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    pipeline_tag: ClassVar[str] = "text-generation"
    primary: ClassVar[str] = "perplexity"
    default_model: ClassVar[str] = "smollm2-135m"

    format: Literal["auto", "text", "completion", "chat"] = "auto"
    max_length: Annotated[int, Field(ge=4)] = 512
    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] = 64
    packing: bool = False
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def chosen(self) -> Format:
        """The format; text where nothing is known yet."""
        return "text" if self.format == "auto" else self.format

    @property
    def inputs(self) -> LanguageInputs:
        return LanguageInputs(self.max_length, self.chosen)

    @property
    def targets(self) -> LanguageTargets:
        return LanguageTargets(
            _KINDS[self.chosen], name="completion", synonyms=COLUMNS["completion"], format=self.chosen
        )

    @property
    def writing(self) -> Writing:
        return Writing(self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    def columns(self, *, label_separator: str = "|") -> tuple[Column, ...]:
        whole = super().columns(label_separator=label_separator)
        return whole if self.chosen == "completion" else self.inputs.columns()

    def settled(
        self,
        header: Callable[[], Sequence[str]],
        named: Mapping[str, str],
        model: Glimpse,  # noqa: ARG002
    ) -> TextGeneration:
        if self.format != "auto":
            return self
        names = header()
        known = {name.strip().casefold() for name in names}
        there = {name for name, others in COLUMNS.items() if name in named or known & {name, *others}}
        if "messages" in there:
            return replace(self, format="chat")
        if {"prompt", "completion"} <= there:
            return replace(self, format="completion")
        if "text" in there or len(names) == 1:
            return replace(self, format="text")
        raise DataError(
            f"the columns {', '.join(names)} do not tell what is to be learned",
            fix="name them text, or prompt and completion, or messages; or say which is which: "
            "task.format=text data.columns.text=…",
        )

    def augmentation_of(self, options: Any) -> Any:
        """Prompts, and what a user says, may be varied as long as they say the same; of a text all is written.

        Raises:
            RecipeError: what is to be written would change, or what it depends on would go.
        """
        if options.off:
            return options
        if self.chosen == "text":
            raise RecipeError(
                "augmentation: of a text all is learned to be written, and misspelt words would be too",
                fix="leave augmentation out; prompts and conversations have it",
            )
        if self.chosen == "chat" and options.reworded:
            raise RecipeError(
                "augmentation: a conversation has no other wordings", fix="leave paraphrases and back_translation out"
            )
        return meaning_kept(super().augmentation_of(options))

    def rows(
        self, examples: Sequence[Example], answers: Answers, processor: Any, config: Any
    ) -> tuple[list[Encoded], list[Any]]:
        inputs, targets = [example.inputs for example in examples], [example.target for example in examples]
        encoded = self.inputs.learned(inputs, targets, processor, config)
        return encoded, [self.targets.value(example, answers) for example in examples]

    def batch(
        self,
        encoded: Sequence[Encoded],
        values: Sequence[Any],
        answers: Answers,
        processor: Any,
        *,
        size: int | None = None,
        blank: bool = False,
    ) -> Batch:
        if not self.packing or len(encoded) < 2:
            return super().batch(encoded, values, answers, processor, size=size, blank=blank)
        inputs, target = packed(encoded, processor, size=max(self.max_length, size or 0))
        return Batch(inputs, target, self.units(target))

    def prove(self, model: Any, encoded: Sequence[Encoded], answers: Answers, processor: Any) -> None:
        """Whether texts that are packed together do not see each other, as some families do not tell them apart."""
        if not self.packing or len(encoded) < 2:
            return
        loss = self.targets.loss(answers, []).function
        with torch.no_grad():
            alone, together = (
                [self.batch(rows, [""] * len(rows), answers, processor) for rows in parts]
                for parts in ([[row] for row in encoded], [encoded])
            )
            apart, packed = (
                sum(
                    float(loss(model(**_on(model, each.inputs)), each.target.to(model.device)).sum())
                    for each in batches
                )
                for batches in (alone, together)
            )
        if abs(apart - packed) > _ROUNDING * abs(apart):
            raise RecipeError(
                f"{model.config.model_type} does not keep packed texts apart: a loss of {packed:.5g}, not {apart:.5g}",
                fix="leave task.packing out",
            )

    def write(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> Tensor | None:
        if self.chosen == "text" and self.looks(encoded):
            return None  # a text that is known has no answer that could be compared with it
        return super().write(model, encoded, processor)

    def asked(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        room = getattr(model.config, "max_position_embeddings", None) or 1 << 20
        inputs = self.inputs.prompts(encoded, processor, room=max(1, room - min(self.max_new_tokens, room // 2)))
        return {name: value.to(model.device) for name, value in inputs.items()}, {}


def _on(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs where the model is."""
    return {name: value.to(model.device) for name, value in inputs.items()}
