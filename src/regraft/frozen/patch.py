"""Let modules compute otherwise for a while: their attributes, parameters, hooks and places in the tree stay theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Forward = Callable[..., Any]


class Stopped(Exception):
    """Raised by a replacement: a pass went as far as it had to. ``given`` and ``named`` are what it was called with."""

    def __init__(self, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        super().__init__()
        self.given, self.named = given, named


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """A model without dropout and whatever else is for training, for as long as this lasts."""
    awake = [module for module in model.modules() if module.training]
    try:
        for module in awake:
            module.training = False
        forget_biases(model)
        yield
    finally:
        for module in awake:
            module.training = True
        forget_biases(model)


def forget_biases(model: nn.Module) -> None:
    """Let nothing that was computed at rest be used after weights have moved: LeViT keeps its attention biases."""
    for module in model.modules():
        if "attention_bias_cache" in module.__dict__:
            module.__dict__["attention_bias_cache"] = {}


@contextmanager
def statistics_at_rest(model: nn.Module) -> Iterator[None]:
    """Batch norms that train take what they have gathered so far and gather nothing, for as long as this lasts."""
    gathering = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    for norm in gathering:
        norm.eval()
    try:
        yield
    finally:
        for norm in gathering:
            norm.train()


@contextmanager
def forwards(replacements: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Each module calls its replacement instead of its own ``forward``, for as long as this lasts."""
    former = {module: module.__dict__.get("forward") for module in replacements}
    try:
        for module, forward in replacements.items():
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, own in former.items():
            if own is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own
