"""Every strategy of the house on one recipe, each in a process of its own, and the one to choose within a budget."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

from regraft.errors import Interrupted, RegraftError
from regraft.forecasting.extrapolation import Forecast, PhaseForecast, forecast
from regraft.preparation import Prepared, prepare
from regraft.recipe import Recipe, StrategyOptions, make_recipe
from regraft.strategies import strategy_class, strategy_names
from regraft.training import Poll, stoppable

_WAIT = 0.2  # seconds between looks at whether we are to stop


@dataclass(frozen=True)
class Refused:
    """A strategy that cannot be taken, and why."""

    strategy: str
    options: dict[str, Any]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def compare(
    prepared: Prepared, *, reading: float | None = None, poll: Poll = lambda: None
) -> Iterator[Forecast | Refused]:
    """A forecast for the recipe as it is, and for every other strategy with its defaults.

    Each is made in a fresh process, as a run is, so that what one leaves in memory is not counted for the next.

    Args:
        reading: seconds that starting and reading data and model took, to be counted in.
        poll: called while waiting; may raise to stop.
    """
    for recipe in variants(prepared):
        yield _read(_rehearsed(recipe, reading, poll), recipe)


def variants(prepared: Prepared) -> Iterator[Recipe]:
    """The recipe as it is, and with every other strategy; ``top-layers`` with one, two and half of the blocks."""
    recipe, depth = prepared.recipe, len(prepared.pretrained.anatomy.blocks)
    yield recipe
    asked = (recipe.strategy.name, recipe.strategy.own().get("n"))
    patterns = {"freeze": recipe.strategy.freeze, "train": recipe.strategy.train}
    for name in strategy_names():
        if strategy_class(StrategyOptions(name=name)).chooses:
            continue
        numbers = sorted({n for n in (1, 2, depth // 2) if 1 <= n <= depth}) if name == "top-layers" else [None]
        for n in numbers:
            if (name, n) != asked:
                options = {"name": name, **patterns, **({} if n is None else {"n": n})}
                yield make_recipe({**recipe.model_dump(mode="json"), "strategy": options})


def choose(
    forecasts: Sequence[Forecast], *, seconds: float | None = None, memory: float | None = None
) -> Forecast | None:
    """Of those within the budget the one that trains most; of equals the quickest. None if none is within it.

    Args:
        memory: in bytes.
    """
    within = [each for each in forecasts if _excess(each, seconds, memory) <= 1]
    return max(within, key=lambda each: (each.trainable, -each.seconds), default=None)


def nearest(forecasts: Sequence[Forecast], *, seconds: float | None = None, memory: float | None = None) -> Forecast:
    """The one that exceeds the budget by the smallest factor."""
    return min(forecasts, key=lambda each: (_excess(each, seconds, memory), each.seconds))


def _excess(found: Forecast, seconds: float | None, memory: float | None) -> float:
    pairs = ((found.seconds, seconds), (found.memory, memory))
    return max((needed / max(allowed, 1e-9) for needed, allowed in pairs if allowed is not None), default=0.0)


def _rehearsed(recipe: Recipe, reading: float | None, poll: Poll) -> dict[str, Any]:
    """What a process of its own says of a recipe."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, recipe.model_dump(mode="json"), reading))
    process.start()
    there.close()
    try:
        while not here.poll(_WAIT):
            poll()
        told: dict[str, Any] = here.recv()
    except EOFError:
        told = {"reason": "its rehearsal was killed: most likely memory"}
    finally:
        process.terminate()
        process.join()
    return told


def _tell(pipe: Connection, recipe: dict[str, Any], reading: float | None) -> None:
    """In a process of its own: send a forecast, or why there is none."""
    os.setpgid(0, 0)  # what is typed at the terminal reaches the parent alone, which then asks us
    with stoppable() as stop:
        try:
            pipe.send(forecast(prepare(make_recipe(recipe), poll=stop), reading=reading, poll=stop).to_json())
        except Interrupted as stopped:
            sys.exit(stopped.exit_code)
        except RegraftError as error:
            pipe.send({"reason": error.problem})


def _read(told: dict[str, Any], recipe: Recipe) -> Forecast | Refused:
    if "reason" in told:
        return Refused(recipe.strategy.name, recipe.strategy.model_dump(exclude={"name"}), told["reason"])
    return Forecast(**{**told, "phases": [PhaseForecast(**phase) for phase in told["phases"]]})
