"""A recipe to start from, and the schema of all recipes. Both come from the recipe's own model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from regraft import extensions
from regraft.errors import RecipeError
from regraft.recipe import Recipe, TaskOptions, make_recipe
from regraft.run import write_text
from regraft.strategies import Strategy, strategy_names
from regraft.tasks import Task, make_task, task_names


def write_starter(file: Path, *, data: str, task: str) -> Path:
    """Write a commented recipe.

    Raises:
        RecipeError: the file exists, or there is no such task.
    """
    if file.exists():
        raise RecipeError(f"{file} exists already", fix="name another file")
    make_task(TaskOptions(name=task))
    recipe = make_recipe({"task": task, "data": data})
    lines = [
        f"# Tune with: regraft tune {file}    See what would happen: regraft plan {file}",
        f"# Tasks: {', '.join(task_names())}. Strategies: {', '.join(strategy_names())}.",
        *_lines(Recipe, recipe.model_dump(mode="json"), ""),
    ]
    write_text(file, "\n".join(lines) + "\n")
    return file


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of recipes, with the options of every task and strategy."""
    whole = Recipe.model_json_schema()
    for section, room, kind in (("TaskOptions", "tasks", Task), ("StrategyOptions", "strategies", Strategy)):
        names = extensions.names(room)
        options = whole["$defs"][section]
        options["properties"]["name"]["enum"] = names
        for name in names:
            found = extensions.schema(extensions.find(room, name, kind))
            for key, value in found.get("properties", {}).items():
                options["properties"].setdefault(key, value)
    for field, section in (
        ("task", "TaskOptions"),
        ("strategy", "StrategyOptions"),
        ("model", "ModelOptions"),
        ("data", "DataOptions"),
    ):
        description = whole["properties"][field].get("description", "")
        whole["properties"][field] = {
            "anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{section}"}],
            "description": description,
        }
    return whole


def _lines(section: type[BaseModel], values: dict[str, Any], indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        value = values[name]
        comment = f"  # {field.description}" if field.description else ""
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(inner, value, indent + "  ")
        elif name == "name" and value is None:
            yield f"# {indent}name: my-run{comment}"
        else:
            yield f"{indent}{name}: {_plain(value)}{comment}"


def _plain(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("\n...\n").strip()
    )
