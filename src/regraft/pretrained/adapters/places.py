"""Where the tokens of a text are, once there is something before it that was not given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from regraft.errors import RecipeError


def placed(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a module is called with, by name."""
    if not args:
        return dict(kwargs)
    bound = inspect.signature(module.forward).bind_partial(*args)
    return {**bound.arguments, **kwargs}


def require_alone(given: Mapping[str, Any]) -> None:
    """See that a row holds one text.

    Raises:
        RecipeError: several are packed in it, and only the first would have something before it.
    """
    positions = given.get("position_ids")
    if given.get("attention_mask") is None and positions is not None and bool((positions[:, 1:] == 0).any()):
        raise RecipeError(
            "virtual tokens stand before one text, and several are packed into a row", fix="leave task.packing out"
        )


def with_positions(config: Any, more: int) -> Any:
    """A config with so many more positions for texts, or fewer; one that counts none stays as it is.

    Raises:
        RecipeError: none are left.
    """
    known = getattr(config, "max_position_embeddings", None)
    if not isinstance(known, int) or known <= 0:
        return config
    if known + more < 1:
        raise RecipeError(
            f"strategy.tokens = {-more} leaves no room for a text: the model has {known} places", fix="take fewer"
        )
    config.max_position_embeddings = known + more
    return config


def lengthened(
    given: Mapping[str, Any], before: int, places: int, *, goes_on: bool, kept: bool = True
) -> dict[str, Any]:
    """The mask and the positions of inputs [batch, places] that have so many places before them.

    Padding may stand between these and the text, so positions are counted past it.

    Args:
        goes_on: whether what is before has been read, and is no part of what is read now.
        kept: whether what is before is itself among what is read now, if it has not been read.
    """
    mask, positions, found = given.get("attention_mask"), given.get("position_ids"), {}
    if mask is not None and positions is None and not goes_on and not bool(mask[:, 0].all()):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -places:]
    if mask is not None and (goes_on or mask.shape[1] == places):  # else whoever called has done it
        found["attention_mask"] = torch.cat([mask.new_ones(len(mask), before), mask], dim=1)
    if positions is not None:
        first = torch.arange(before, device=positions.device).expand(len(positions), -1)
        later = positions + before
        found["position_ids"] = later if goes_on or not kept else torch.cat([first.to(later), later], dim=1)
    return found
