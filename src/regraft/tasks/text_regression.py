"""text-regression: a number, or several, from a text or a pair of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from regraft.tasks._numbers import NumberTargets
from regraft.tasks._text import TextInputs
from regraft.tasks._text_views import TextTask


@dataclass(frozen=True)
class TextRegression(TextTask):
    """A number from a text.

    Options:
        max_length: a text is read up to so many tokens.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline_tag: ClassVar[str] = "text-classification"
    primary: ClassVar[str] = "r2"

    max_length: Annotated[int, Field(ge=4)] = 256

    @property
    def inputs(self) -> TextInputs:
        return TextInputs(self.max_length)

    @property
    def targets(self) -> NumberTargets:
        return NumberTargets()
