"""What can be told of a model before it is opened: its settings, whether it has a head for a task, how it hears."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regraft.recipe import ModelOptions


@dataclass(frozen=True)
class Glimpse:
    """A model that a recipe names. Each look reads a small file, and raises what ``load`` would raise."""

    options: ModelOptions

    @cached_property
    def folder(self) -> Path:
        """Where it lies."""
        from regraft.pretrained.folder import model_folder

        return model_folder(self.options)

    @cached_property
    def settings(self) -> Any:
        """Its config."""
        from regraft.pretrained.opening import settings_of

        return settings_of(self.folder, "AutoModel")

    @cached_property
    def feature_extractor(self) -> Any:
        """What turns sounds into what it reads."""
        from regraft.pretrained.hearing import feature_extractor_of

        return feature_extractor_of(self.folder)

    def has_head(self, auto_class: str) -> bool:
        """Whether it has the head of a transformers class, and is to use it."""
        from regraft.pretrained.choice import own_class

        return self.options.head in ("auto", "own") and own_class(auto_class, self.settings) is not None
