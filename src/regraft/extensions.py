"""Tasks and strategies are found by the name of their file, or by an entry point of another package."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from regraft.errors import RecipeError
from regraft.recipe import nearest, unknown_key

T = TypeVar("T")


def names(room: str) -> list[str]:
    """What can be named: the files of ``regraft/<room>`` without an underscore, and entry points ``regraft.<room>``."""
    folder = Path(__file__).parent / room
    files = [module.name.replace("_", "-") for module in pkgutil.iter_modules([str(folder)]) if module.name[0] != "_"]
    return sorted({*files, *(point.name for point in _points(room, tuple(sys.path)))})


def find(room: str, name: str, kind: type[T]) -> type[T]:
    """The class of that name.

    Raises:
        RecipeError: there is none; the message names the nearest.
    """
    known = names(room)
    if name not in known:
        guess = nearest(name, known)
        raise RecipeError(
            f"{room} has no {name!r}",
            fix=f"did you mean {guess!r}?" if guess else f"there are: {', '.join(known)}",
        )
    for point in _points(room, tuple(sys.path)):
        if point.name == name:
            found: type[T] = point.load()
            return found
    module = importlib.import_module(f"regraft.{room}.{name.replace('-', '_')}")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
    )


@cache
def _points(room: str, path: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:  # noqa: ARG001
    """The entry points of a room. To find them a file of every installed package is read, so once for each ``path``."""
    return tuple(importlib.metadata.entry_points(group=f"regraft.{room}"))


def build(section: str, made_of: type[T], options: Mapping[str, Any]) -> T:
    """Make a task or strategy from the options a recipe gives it.

    Raises:
        RecipeError: an option is unknown or its value does not fit.
    """
    assert dataclasses.is_dataclass(made_of)
    known = [f"{section}.{field.name}" for field in dataclasses.fields(made_of)]
    for key in options:
        if f"{section}.{key}" not in known:
            raise unknown_key(f"{section}.{key}", known, "the recipe")
    types = get_type_hints(made_of, include_extras=True)  # with the bounds in Annotated
    return made_of(**{key: _checked(f"{section}.{key}", types[key], value) for key, value in options.items()})


def schema(made_of: type[Any]) -> dict[str, Any]:
    """The JSON schema of the options, each with what is said of it."""
    found, told = TypeAdapter(made_of).json_schema(), descriptions(made_of)
    for name, option in found.get("properties", {}).items():
        if name in told:
            option["description"] = told[name]
    return found


def descriptions(made_of: type[Any]) -> dict[str, str]:
    """What the docstring says of each option, below ``Options:``; what is indented deeper goes on."""
    told: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(made_of) or "").partition("Options:")[2].splitlines():
        if begun := re.match(r" {4}(\w+): (.+)", line):
            name, told[begun[1]] = begun[1], begun[2]
        elif name and line.startswith(" " * 8):
            told[name] += f" {line.strip()}"
    return told


def _checked(key: str, kind: Any, value: Any) -> Any:
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(f"the recipe: {key} = {value!r}", fix=message[0].lower() + message[1:]) from None
