"""An encoder beside a decoder computes equal inputs once: for the likelihood of the truth, and for what is written."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from regraft.frozen.patch import forwards

_FORM = "return_dict"  # says how an output is wrapped, not what it is


@contextmanager
def encoding_once(model: nn.Module) -> Iterator[None]:
    """While this lasts, the encoder gives again what it gave for equal inputs. A model without one runs as ever.

    For passes without gradients, in eval mode.
    """
    encoder = model.get_encoder() if _has_both(model) else None  # type: ignore[operator]
    if encoder is None:
        yield
        return
    own, seen = encoder.forward, list[tuple[dict[str, Any], Any]]()
    signature = inspect.signature(own)

    def forward(*args: Any, **kwargs: Any) -> Any:
        asked = _told(signature.bind(*args, **kwargs), kwargs)
        for before, output in seen:
            if _equal(asked, before):
                return output
        output = own(*args, **kwargs)
        if isinstance(output, Mapping):
            seen.append((asked, output))
        return output

    with forwards({encoder: forward}):
        yield


def _has_both(model: nn.Module) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False)) and hasattr(model, "get_encoder")


def _told(bound: inspect.BoundArguments, named: Mapping[str, Any]) -> dict[str, Any]:
    """What an encoder was called with, by name; without what says nothing."""
    told = {name: value for name, value in bound.arguments.items() if not isinstance(value, Mapping)} | dict(named)
    return {name: value for name, value in told.items() if value is not None and value is not False and name != _FORM}


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.shape == other.shape and torch.equal(one, other))
    return one is other or (type(one) is type(other) and bool(one == other))
