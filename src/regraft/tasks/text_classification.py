"""text-classification: which class a text, or a pair of texts, belongs to; or which labels it carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from regraft.data.example import Example
from regraft.errors import RecipeError
from regraft.tasks._classes import ClassTargets, LossName, Weights
from regraft.tasks._contract import Answers, Task
from regraft.tasks._names import listed, named_examples, template, usual_templates
from regraft.tasks._text import TextInputs
from regraft.tasks._text_views import TextTask

Templates = Annotated[
    tuple[Annotated[str, AfterValidator(template)], ...],
    BeforeValidator(listed),
    Field(strict=False),
]


@dataclass(frozen=True)
class TextClassification(TextTask):
    """One label a text, or several.

    Options:
        max_length: a text is read up to so many tokens.
        loss: auto is cross-entropy for one label and binary cross-entropy for several.
        class_weights: balanced makes rare classes count as much as frequent ones.
        label_smoothing: the share of the target that is spread over all classes.
        focal_gamma: with loss focal, how little the easy examples count.
        templates: sentences with {} for the name of a class, such as "This sentence is {}."; each, with each name, is
            one more training row (of rarer classes there are fewer), so that what the model knows of the names counts:
            the idea of zero-shot classification (Yin et al., 2019, https://arxiv.org/abs/1909.00161). true for eight
            usual ones, false for none, null for none but where the strategy is auto, which sees whether the names fit
            the rows.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline_tag: ClassVar[str] = "text-classification"
    primary: ClassVar[str] = "accuracy"

    max_length: Annotated[int, Field(ge=4)] = 256
    loss: LossName = "auto"
    class_weights: Weights = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    templates: Templates | bool | None = None

    @property
    def inputs(self) -> TextInputs:
        return TextInputs(self.max_length)

    @property
    def targets(self) -> ClassTargets:
        return ClassTargets(self.loss, self.class_weights, self.label_smoothing, self.focal_gamma)

    def stated(self, answers: Answers, examples: Sequence[Example]) -> list[Example]:
        if not self.templates:
            return []
        templates = self.templates if isinstance(self.templates, tuple) else usual_templates(answers.names)
        paired = _paired(examples)
        if answers.kind != "classes" or paired:
            why = "texts come in pairs here" if paired else "rows carry several labels"
            raise RecipeError(
                f"task.templates say in one text what one class is called, and {why}", fix="leave task.templates out"
            )
        rows = Counter(example.target for example in examples)
        return named_examples({name: rows[name] / max(rows.values()) for name in answers.names}, templates)

    def by_name(self, answers: Answers, examples: Sequence[Example]) -> Task | None:
        if self.templates is not None or answers.kind != "classes" or _paired(examples):
            return None
        return replace(self, templates=True)


def _paired(examples: Sequence[Example]) -> bool:
    return any("text_pair" in example.inputs for example in examples)
