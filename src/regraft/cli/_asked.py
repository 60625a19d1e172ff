"""The recipe that a command line asks for: a file, or a table and a task, and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.recipe import Recipe


def recipe_of(
    words: list[str], *, data: str | None, task: str | None, model: str | None, name: str | None = None
) -> Recipe:
    """Words with ``=`` are overrides; the other one, if any, is the recipe file.

    Raises:
        RecipeError: there are two files, or neither a file nor --data and --task.
    """
    from regraft.errors import RecipeError
    from regraft.recipe import make_recipe, read_recipe

    files = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    named = {"data.train": data, "task.name": task, "model.name": model, "name": name}
    overrides += [f"{key}={_quoted(value)}" for key, value in named.items() if value is not None]
    if len(files) > 1:
        raise RecipeError(
            f"two recipes are named: {files[0]} and {files[1]}", fix="name one; options are key.sub=value"
        )
    if files:
        return read_recipe(Path(files[0]), overrides)
    raw: dict[str, Any] = {}
    if data is None and not any(override.startswith("data") for override in overrides):
        raise RecipeError(
            "nothing to tune on",
            fix="name a recipe file, or a table and a task: --data reviews.csv --task text-classification",
        )
    return make_recipe(raw, overrides, origin="the command line")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
