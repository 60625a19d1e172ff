"""A recipe to start from, and the schema of all recipes. Both come from the recipe's own model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from regraft import extensions
from regraft.errors import RecipeError
from regraft.recipe import Recipe, StrategyOptions, TaskOptions, make_recipe
from regraft.run import write_text
from regraft.strategies import Strategy, make_strategy, strategy_names
from regraft.tasks import Task, make_task, task_names


def write_starter(file: Path, *, data: str, task: str) -> Path:
    """Write a commented recipe.

    Raises:
        RecipeError: the file exists, or there is no such task.
    """
    if file.exists():
        raise RecipeError(f"{file} exists already", fix="name another file")
    made = make_task(TaskOptions(name=task))
    recipe = make_recipe({"task": task, "data": data, "model": made.default_model})
    own = {"task": _commented(made), "strategy": _commented(make_strategy(recipe.strategy))}
    if made.augmentation is not None:
        own["augmentation"] = _commented(made.augmentation())
    lines = [
        f"# Tune with: regraft tune {file}    See what would happen: regraft plan {file}",
        f"# Tasks: {', '.join(task_names())}. Strategies: {', '.join(strategy_names())}.",
        *_lines(Recipe, recipe.model_dump(mode="json"), "", own),
        *_other_strategies(recipe.strategy.name),
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
        schemas = {name: extensions.schema(extensions.find(room, name, kind)) for name in names}
        options["properties"].update(_of_all(schemas))
    whole["$defs"]["AugmentationOptions"]["properties"] = _ways_to_vary()
    for field, section in (
        ("augmentation", "AugmentationOptions"),
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


def _ways_to_vary() -> dict[str, Any]:
    """What each option of the augmentation may be: it may mean something to several tasks, and not the same."""
    found: dict[str, list[Any]] = {}
    for name in extensions.names("tasks"):
        of_task = extensions.find("tasks", name, Task).augmentation  # type: ignore[type-abstract]
        for key, value in ({} if of_task is None else extensions.schema(of_task)["properties"]).items():
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return {key: ways[0] if len(ways) == 1 else {"anyOf": ways} for key, ways in found.items()}


def _of_all(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The options of several tasks or strategies. Where they share one, each says what it is there, and its default."""
    shared: dict[str, dict[str, dict[str, Any]]] = {}
    for owner, schema in schemas.items():
        for key, value in schema.get("properties", {}).items():
            shared.setdefault(key, {})[owner] = value
    return {key: _joined(owners) for key, owners in shared.items()}


def _joined(owners: dict[str, dict[str, Any]]) -> dict[str, Any]:
    first, *others = owners.values()
    if all(other == first for other in others):
        return first
    told = [f"{owner} ({_plain(each.get('default'))}): {each.get('description', '')}" for owner, each in owners.items()]
    same = all(other.get("default") == first.get("default") for other in others)
    kept = {key: value for key, value in first.items() if same or key != "default"}
    return kept | {"description": "\n".join(told)}


def _options(made: Any) -> dict[str, Any]:
    return {field.name: getattr(made, field.name) for field in fields(made)}


def _commented(made: Any) -> list[str]:
    """The options of a task or strategy, each with what the docstring says of it."""
    told = extensions.descriptions(type(made))
    return [
        f"{name}: {_plain(value)}" + (f"  # {told[name]}" if name in told else "")
        for name, value in _options(made).items()
    ]


def _other_strategies(chosen: str) -> Iterator[str]:
    for name in strategy_names():
        if name != chosen:
            yield f"# strategy: {_plain({'name': name, **_options(make_strategy(StrategyOptions(name=name)))})}"


def _lines(section: type[BaseModel], values: dict[str, Any], indent: str, own: dict[str, list[str]]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        value = values[name]
        told = ". ".join(part.rstrip(".") for part in (field.description, _choices(field.annotation)) if part)
        comment = f"  # {told}." if told else ""
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if not inner.model_fields and name not in own:
                continue  # the task has no options there
            yield f"{indent}{name}:"
            yield from _lines(inner, value, indent + "  ", {})
            yield from (f"{indent}  {line}" for line in own.get(name, []))
        elif name == "name" and value is None:
            yield f"# {indent}name: my-run{comment}"
        else:
            yield f"{indent}{name}: {_plain(value)}{comment}"


def _choices(kind: Any) -> str:
    """What a key may be, where it is one of a few words."""
    words = [word for word in get_args(kind) if isinstance(word, str)] if get_origin(kind) is Literal else []
    return f"One of: {', '.join(words)}" if words else ""


def _plain(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("\n...\n").strip()
    )
