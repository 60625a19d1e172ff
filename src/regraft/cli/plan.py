"""regraft plan"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli._options import Data, Model, Task, Words

if TYPE_CHECKING:
    from regraft.preparation import Prepared


def command(
    words: Words = None,
    data: Data = None,
    task: Task = None,
    model: Model = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run nothing: no forecast of time and memory.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Forecast every strategy, side by side.")] = False,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Of all strategies, choose within this time.")] = None,
    memory: Annotated[float | None, typer.Option(min=0.0, help="Of all strategies, choose within so many GB.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what would train and, from real batches on a copy of the model, what it would take. Nothing stays."""
    from regraft.cli._asked import recipe_of
    from regraft.cli._show import plan_lines
    from regraft.errors import RecipeError
    from regraft.planning.usage import process_seconds
    from regraft.preparation import prepare
    from regraft.training import stoppable

    compared = compare or minutes is not None or memory is not None
    if quick and compared:
        raise RecipeError("--quick runs nothing, so nothing can be compared", fix="leave --quick out")
    prepared = prepare(recipe_of(words or [], data=data, task=task, model=model))
    reading = process_seconds() or None
    if compared:
        with stoppable() as stop:
            told = _compared(prepared, reading, minutes, memory, stop)
        print(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(_comparison_lines(told)))
        return
    if not quick:
        from regraft.forecasting import foresee

        with stoppable() as stop:
            prepared = foresee(prepared, always=True, reading=reading, poll=stop)
    plan = prepared.plan.to_json()
    print(json.dumps(plan, ensure_ascii=False) if as_json else "\n".join(plan_lines(plan)))


def _compared(
    prepared: Prepared, reading: float | None, minutes: float | None, memory: float | None, stop: Callable[[], None]
) -> dict[str, Any]:
    """Every forecast, every strategy that cannot be taken, and which one fits the budget."""
    from regraft.forecasting import Forecast, choose, compare, nearest

    found = []
    for each in compare(prepared, reading=reading, poll=stop):
        print(f"rehearsed {_name(each.to_json())}", file=sys.stderr, flush=True)
        found.append(each)
    forecasts = [each for each in found if isinstance(each, Forecast)]
    told: dict[str, Any] = {
        "forecasts": [each.to_json() for each in forecasts],
        "refused": [each.to_json() for each in found if not isinstance(each, Forecast)],
        "rule": "of those within the budget the one that trains most; of equals the quickest",
        "chosen": None,
        "nearest": None,
    }
    seconds, most = (None if minutes is None else minutes * 60), (None if memory is None else memory * 1e9)
    if forecasts and (seconds is not None or most is not None):
        chosen = choose(forecasts, seconds=seconds, memory=most)
        told["chosen"] = _position(forecasts, chosen)
        told["nearest"] = None if chosen else _position(forecasts, nearest(forecasts, seconds=seconds, memory=most))
    told["budget"] = {"minutes": minutes, "memory_gb": memory}
    return told


def _position(forecasts: list[Any], one: Any) -> int | None:
    return next((index for index, each in enumerate(forecasts) if each is one), None)


def _comparison_lines(told: dict[str, Any]) -> Iterator[str]:
    from regraft.cli._show import comparison_table

    yield from comparison_table(told["forecasts"])
    yield from (f"{_name(each)}: not possible: {each['reason']}" for each in told["refused"])
    budget = told["budget"]
    if budget["minutes"] is None and budget["memory_gb"] is None:
        return
    minutes = budget["minutes"]
    limits = [] if minutes is None else [f"{minutes:g} minute{'' if minutes == 1 else 's'}"]
    limits += [f"{budget['memory_gb']:g} GB"] if budget["memory_gb"] is not None else []
    within = " and ".join(limits)
    if told["chosen"] is not None:
        yield f"\nwithin {within}: {_name(told['forecasts'][told['chosen']])} ({told['rule']})"
    elif told["nearest"] is not None:
        yield f"\nwithin {within}: none fits; the nearest is {_name(told['forecasts'][told['nearest']])}"
    else:
        yield f"\nwithin {within}: none is possible at all"


def _name(told: dict[str, Any]) -> str:
    from regraft.cli._show import strategy_title

    return strategy_title(told)
