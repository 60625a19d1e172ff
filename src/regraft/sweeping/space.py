"""What a sweep may vary: the ``sweep:`` part of a recipe file, and the recipe that a point of its space asks for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from regraft.errors import RecipeError
from regraft.fingerprint import canonical
from regraft.recipe import (
    Recipe,
    Section,
    StrategyOptions,
    known_keys,
    make_recipe,
    parse_yaml,
    to_yaml,
    unknown_key,
)
from regraft.strategies import Strategy, make_strategy
from regraft.tasks import make_task

Point = dict[str, Any]  # dotted keys of a recipe and their values

TRIALS = 12  # where no number is asked for
_MOST_POINTS = 10_000
_REHEARSED = 500
_VARIED = ("model", "strategy", "training", "task")
_FIXED = {"task.name", "model.revision", "training.checkpoint", "training.workers"}
_WHOLE = {"task", "training"}  # sections of which single options are varied, never all at once


class RangeOptions(Section):
    """Numbers from ``low`` to ``high``; whole ones where both ends are whole."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="Equal chances for equal ratios, as befits learning rates.")
    relative: bool = Field(False, description="low and high are factors of what the recipe or the strategy has itself.")
    steps: int | None = Field(None, ge=2, le=1000, description="How many values a grid takes of it.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        if (self.log or self.relative) and self.low <= 0:
            raise ValueError("with log or relative, low must be above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not self.relative

    def values(self) -> list[int | float]:
        """The values of a grid, evenly apart (with ``log``, by equal ratios)."""
        count = self.steps or 2
        shares = [place / (count - 1) for place in range(count)]
        if self.log:
            found = [self.low * (self.high / self.low) ** share for share in shares]
        else:
            found = [self.low + (self.high - self.low) * share for share in shares]
        return list(dict.fromkeys(round(value) if self.whole else float(f"{value:.6g}") for value in found))


class SweepOptions(Section):
    """How a sweep searches, and in what."""

    trials: int | None = Field(None, ge=1, le=_MOST_POINTS, description="How many; null for 12, or all of a grid.")
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe", description="tpe looks where it was good before (Bergstra et al., 2011); random and grid do not look."
    )
    finalists: int = Field(2, ge=1, description="How many of the best configurations are run again with other seeds.")
    seeds: int = Field(3, ge=2, le=100, description="How many seeds each of these is run with.")
    space: dict[str, RangeOptions | list[Any]] = Field(
        default_factory=dict, description="Keys of the recipe, each with a list of values or a range."
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        for key, values in self.space.items():
            if isinstance(values, list) and not values:
                raise ValueError(f"{key} has no values")
            if self.sampler == "grid" and isinstance(values, RangeOptions) and values.steps is None:
                raise ValueError(f"a grid needs steps for the range of {key}, for example steps: 3")
        if self.sampler == "grid" and self.trials is not None:
            raise ValueError("a grid tries all its points: leave trials out, or choose sampler: random")
        return self


# Reading and writing


def read_sweep(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, SweepOptions]:
    """Read a recipe file with or without ``sweep:``, and apply overrides, ``sweep.trials=4`` among them.

    Raises:
        RecipeError: the file is missing, is not YAML, or asks for something unknown.
    """
    try:
        raw = parse_yaml(Path(path).read_text(encoding="utf-8-sig"), origin=str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"{path}: {reason}", fix="name a recipe file; `regraft init` writes one") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} holds no keys", fix="a recipe needs at least task: and data:")
    ours = {word for word in overrides if word.split("=", 1)[0].strip().split(".")[0] == "sweep"}
    options = make_options(raw.pop("sweep", None) or {}, [word for word in overrides if word in ours], origin=str(path))
    return make_recipe(raw, [word for word in overrides if word not in ours], origin=str(path)), options


def make_options(raw: Any, overrides: Sequence[str] = (), *, origin: str = "the recipe") -> SweepOptions:
    """The ``sweep:`` part from plain values.

    Raises:
        RecipeError: a key is unknown or a value does not fit.
    """
    if not isinstance(raw, Mapping):
        raise RecipeError(f"{origin}: sweep = {raw!r}", fix="give it keys, for example sweep: {trials: 12}")
    values = {str(key): value for key, value in raw.items()}
    for override in overrides:
        _apply(values, override)
    try:
        return SweepOptions.model_validate(values)
    except ValidationError as error:
        raise _explained(error, origin) from None


def sweep_yaml(recipe: Recipe, options: SweepOptions, *, header: str) -> str:
    """Recipe and sweep in one file, with every option spelled out; ``read_sweep`` gives both back."""
    import yaml

    text = yaml.safe_dump({"sweep": json.loads(options.model_dump_json())}, sort_keys=False, allow_unicode=True)
    return to_yaml(recipe, header=header) + text


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")[1:]
    if not equals or not all(path) or not path:
        raise RecipeError(f"{override!r} is not an option", fix="write sweep.key=value, for example sweep.trials=20")
    value = parse_yaml(text, origin=override) if text.strip() else None
    if path[0] != "space" or len(path) == 1:
        values[".".join(path)] = value
        return
    values["space"] = {**(values.get("space") or {}), ".".join(path[1:]): value}


def _explained(error: ValidationError, origin: str) -> RecipeError:
    """The problem with what was given: an unknown key first, and of a range or list what was meant."""
    kind = "RangeOptions" if any(isinstance(each["input"], Mapping) for each in error.errors()) else "list["
    problems = sorted(
        error.errors(include_url=False),
        key=lambda each: (each["type"] != "extra_forbidden", not any(kind in str(part) for part in each["loc"])),
    )
    first = problems[0]
    named = [str(part) for part in first["loc"] if "RangeOptions" not in str(part) and "list[" not in str(part)]
    key = ".".join(["sweep", *named])
    if first["type"] == "extra_forbidden":
        known = SweepOptions.model_fields if len(named) == 1 else RangeOptions.model_fields
        return unknown_key(key, [f"{key.rpartition('.')[0]}.{name}" for name in known], origin)
    message = first["msg"].removeprefix("Value error, ")
    return RecipeError(f"{origin}: {key}", fix=message[0].lower() + message[1:])


# The space


def default_space(depth: int) -> dict[str, RangeOptions | list[Any]]:
    """What is varied where nothing is named: how much is tuned, and the learning rate around the strategy's own.

    Args:
        depth: how many blocks the model has.
    """
    return {
        "strategy.name": ["linear-probe", "top-layers", "full"],
        "strategy.n": [n for n in (1, 2, 4) if n <= max(1, depth - 1)],
        "strategy.learning_rate": RangeOptions(low=0.2, high=5.0, log=True, relative=True),
    }


def check_space(options: SweepOptions, recipe: Recipe) -> None:
    """See that every key is one that a sweep may vary, and that recipes can be made of the ends of every range.

    Raises:
        RecipeError: naming the key, and the nearest that exists.
    """
    _require_named(recipe.strategy)
    known = list(_known(options, recipe))
    for key in options.space:
        root = key.split(".", 1)[0]
        if _is_fixed(key) or (root not in _VARIED and key in known_keys()):
            raise RecipeError(
                f"sweep.space: {key} is not to be varied: trials are compared on the same rows, by the same metric",
                fix="vary options of model, strategy, training or task",
            )
        if key not in known:
            raise unknown_key(key, known, "sweep.space")
    for point in points_at_the_ends(options.space, recipe):
        made = recipe_at(recipe, point)
        _require_named(made.strategy)
        make_task(made.task)


def _require_named(options: StrategyOptions) -> None:
    if make_strategy(options).chooses:
        raise RecipeError(
            f"strategy {options.name} chooses one itself, and a sweep compares those that are named",
            fix="name one, and others in the space: strategy.name: [contrastive, full]",
        )


def points_at_the_ends(space: Mapping[str, RangeOptions | list[Any]], recipe: Recipe) -> Iterator[Point]:
    """Points with every listed value and both ends of every range, to be tried for whether they fit: 500 at most."""
    ends = {
        key: [values.low, values.high] if isinstance(values, RangeOptions) else values for key, values in space.items()
    }
    return (resolved(space, recipe, chosen) for chosen in islice(_combined(ends), _REHEARSED))


def grid(options: SweepOptions, recipe: Recipe) -> list[Point]:
    """All points of a grid, each once.

    Raises:
        RecipeError: there are too many.
    """
    values = {key: each.values() if isinstance(each, RangeOptions) else each for key, each in options.space.items()}
    count = math.prod(len(each) for each in values.values())
    if count > _MOST_POINTS:
        raise RecipeError(f"the grid has {count:,} points", fix="choose sampler: random, and say how many trials")
    points = [resolved(options.space, recipe, chosen) for chosen in _combined(values)]
    return list({canonical(point): point for point in points}.values())


def _combined(values: Mapping[str, Sequence[Any]]) -> Iterator[Point]:
    return (dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))


def resolved(space: Mapping[str, RangeOptions | list[Any]], recipe: Recipe, chosen: Mapping[str, Any]) -> Point:
    """The point that was chosen: relative values made absolute, and what does not apply to its strategy left out."""
    base = strategy_at(recipe, chosen)
    point: Point = {}
    for key, value in chosen.items():
        if not applies(key, base):
            continue
        ranged = space.get(key)
        relative = isinstance(ranged, RangeOptions) and ranged.relative
        point[key] = float(f"{value * _own(key, recipe, base):.6g}") if relative else value
    return point


def applies(key: str, strategy: StrategyOptions) -> bool:
    """Whether an option means anything with a strategy; those of other rooms always do."""
    room, _, name = key.partition(".")
    return room != "strategy" or name in {"", "name", "freeze", "train"} or name in _options_of(_plain(strategy))


def strategy_at(recipe: Recipe, chosen: Mapping[str, Any]) -> StrategyOptions:
    """The strategy of a point, with what the recipe says of it where it is the recipe's own.

    Raises:
        RecipeError: it is none.
    """
    named = chosen.get("strategy", {})
    values = dict(named) if isinstance(named, Mapping) else {"name": named}
    name = chosen.get("strategy.name", values.get("name", recipe.strategy.name))
    own = recipe.strategy.own() if name == recipe.strategy.name else {}
    kept = {"freeze": recipe.strategy.freeze, "train": recipe.strategy.train}
    try:
        return StrategyOptions.model_validate({**kept, **own, **values, "name": name})
    except ValidationError as error:
        raise RecipeError(
            f"sweep.space.strategy: {named or name!r} is not a strategy: {error.errors()[0]['msg'].lower()}",
            fix="name strategies: strategy.name: [linear-probe, top-layers]",
        ) from None


def recipe_at(recipe: Recipe, point: Mapping[str, Any]) -> Recipe:
    """The recipe that a point asks for.

    Raises:
        RecipeError: a value does not fit.
    """
    values = recipe.model_dump(mode="json")
    values["strategy"] = strategy_at(recipe, point).model_dump(mode="json")
    for key, value in point.items():
        if key in {"strategy", "strategy.name"}:
            continue
        *above, last = key.split(".")
        here = values
        for part in above:
            here = here[part]
        if not above and key == "model":
            values["model"].update(value if isinstance(value, Mapping) else {"name": value})
        else:
            here[last] = value
    return make_recipe(values, origin="sweep.space")


def _own(key: str, recipe: Recipe, strategy: StrategyOptions) -> float:
    """What an option is if nobody varies it.

    Raises:
        RecipeError: it is not a number.
    """
    room, _, name = key.partition(".")
    if room == "strategy":
        found: Any = getattr(make_strategy(strategy), name)
    elif room == "task":
        found = getattr(make_task(recipe.task), name)
    else:
        found = recipe
        for part in key.split("."):
            found = getattr(found, part)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise RecipeError(f"sweep.space.{key}: relative to {found!r}", fix="give low and high themselves")
    return float(found)


def _plain(options: StrategyOptions) -> Strategy:
    """The strategy without options: only what it is called."""
    return make_strategy(StrategyOptions(name=options.name))


def _known(options: SweepOptions, recipe: Recipe) -> Iterator[str]:
    """What may be varied: the recipe's keys, and those of its task and of the strategies in play."""
    yield from (
        key for key in known_keys() if key.split(".", 1)[0] in _VARIED and key not in _WHOLE and not _is_fixed(key)
    )
    yield from (f"task.{name}" for name in _options_of(make_task(recipe.task)))
    keys = ("strategy", "strategy.name")
    named = [strategy_at(recipe, {key: value}) for key in keys for value in _listed(options.space, key)]
    for strategy in [recipe.strategy, *named]:
        yield from (f"strategy.{name}" for name in _options_of(_plain(strategy)))


def _options_of(made: Any) -> list[str]:
    """The options of a task or strategy."""
    return [field.name for field in fields(made)]


def _is_fixed(key: str) -> bool:
    return any(key == fixed or key.startswith(f"{fixed}.") for fixed in _FIXED)


def _listed(space: Mapping[str, RangeOptions | list[Any]], key: str) -> list[Any]:
    found = space.get(key, [])
    return found if isinstance(found, list) else []
