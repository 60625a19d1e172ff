"""Images of another size than the model was made for, for families that have to be told."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

_WORD = "interpolate_pos_encoding"


def allow_any_size(model: nn.Module) -> None:
    """Let a model's learned positions be interpolated whenever an image is not of the size in its config.

    Vision transformers refuse such images unless they are asked to at every call. Others stay as they are.
    """
    for module in model.modules():
        known = inspect.signature(module.forward).parameters
        if "pixel_values" in known and _WORD in known and hasattr(module, "config"):
            module.register_forward_pre_hook(_ask, with_kwargs=True)


def _ask(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    image = named.get("pixel_values", given[0] if given else None)
    size: Any = getattr(module.config, "image_size", None)
    made_for = (size, size) if isinstance(size, int) else tuple(size or ())
    if not isinstance(image, Tensor) or tuple(image.shape[-2:]) == made_for or named.get(_WORD) or len(given) > 1:
        return None
    return given, {**named, _WORD: True}
