"""Libraries that some model folders need, and that break easily: whether they are there, and whether they work."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError
from regraft.pretrained.folder import first_line

_TIMM = {"timm_backbone", "timm_wrapper"}


def fault_of(name: str) -> tuple[str, str] | None:
    """What is wrong with a library that is installed and does not work, and what to do; None if nothing is.

    A build of torchvision for another torch makes transformers raise whatever it likes, wherever it likes.
    """
    if importlib.util.find_spec(name) is None:
        return None
    try:
        importlib.import_module(name)
    except Exception as error:  # a binary that does not match raises many kinds
        return (
            f"the installed {name} does not work: {first_line(error)}",
            f"`pip uninstall {name}` (regraft does without), or install the build for the installed torch",
        )
    return None


def require_timm(settings: Any, folder: Path) -> None:
    """See that timm is there and works, if a model's settings ask for it.

    Args:
        settings: the values of its config.

    Raises:
        RecipeError: it is not, or does not.
    """
    if not _TIMM & set(_families(settings)):
        return
    for name in ("torchvision", "timm"):
        if importlib.util.find_spec(name) is None:
            raise RecipeError(
                f"model {folder} is made of parts of timm, and {name} is not installed",
                fix="`pip install timm torchvision`, in the build for the installed torch, or name another model",
            )
        fault = fault_of(name)
        if fault is not None:
            raise RecipeError(
                f"model {folder} is made of parts of timm: {fault[0]}",
                fix=f"install the build of {name} for the installed torch, or name another model",
            )


def _families(value: Any) -> Iterator[str]:
    """Every ``model_type`` in a config, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("model_type"), str):
            yield value["model_type"]
        for item in value.values():
            yield from _families(item)
