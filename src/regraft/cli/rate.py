"""regraft rate"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli._options import Data, Model, Task, Words

if TYPE_CHECKING:
    from regraft.range_test import RateFinding, RateOption

_SHOWN = 12  # points of the curve


def command(
    words: Words = None,
    data: Data = None,
    task: Task = None,
    model: Model = None,
    steps: Annotated[int, typer.Option(min=30, max=1000, help="Take so many steps.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the finding as JSON.")] = False,
) -> None:
    """Find a learning rate: it rises over a few steps on a copy of the model, and the loss tells. Nothing stays."""
    from regraft.cli._asked import recipe_of
    from regraft.range_test import find_rate

    found = find_rate(recipe_of(words or [], data=data, task=task, model=model), steps=steps)
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(_lines(found)))


def _lines(found: RateFinding) -> Iterator[str]:
    """The curve, what follows from it, and beside what that stands."""
    from regraft.cli._show import columns, counted

    yield from columns([["rate", "loss", ""], *_points(found)])
    yield ""
    yield from _verdict(found)
    yield from (line for option in found.options for line in _beside(option))
    if found.untried:
        later = f"A later phase begins where phase {found.phase} ends, which this test does not reach."
        yield f"Not tried: {', '.join(found.untried)}. {later}"
    of = "" if found.phases == 1 else f" of phase {found.phase} of {found.phases}"
    rows = "stored rows" if found.stored else "rows computed each time"
    yield (
        f"{counted(len(found.rates), 'step')}{of} on {counted(found.rows, 'training row')} ({rows}), "
        f"{found.seconds:.1f} s. One pass of one seed: a sweep over rates tells more."
    )


def _points(found: RateFinding) -> Iterator[list[str]]:
    """Some of the curve, evenly, and what was read off it."""
    reading, last = found.reading, len(found.rates) - 1
    places = {round(share * last / (_SHOWN - 1)) for share in range(_SHOWN)}
    marks = {}
    if reading.steepest is not None:
        marks[found.rates.index(reading.steepest)] = "falls fastest"
    if reading.tenth is not None:
        lowest = min(range(last + 1), key=lambda place: abs(found.rates[place] - 10 * (reading.tenth or 0)))
        marks[lowest] = f"lowest; a tenth of it is {reading.tenth:.1e}"
    if reading.diverged:
        marks[last] = "diverged"
    for place in sorted(places | marks.keys()):
        yield [f"{found.rates[place]:.1e}", f"{reading.smoothed[place]:.4f}", marks.get(place, "")]


def _verdict(found: RateFinding) -> Iterator[str]:
    if found.suggested is None:
        yield "At no rate did the loss fall by more than chance: the steps are too few, or there is nothing to learn."
        yield f"Try --steps {3 * len(found.rates)}, or keep the default."
        return
    yield "Write into the recipe:"
    yield "strategy:"
    yield f"  name: {found.strategy}"
    yield from (f"  {option.name}: {option.suggested:g}" for option in found.options)
    yield ""


def _beside(option: RateOption) -> Iterator[str]:
    """The default and its source; and what the recipe says, where that is something else."""
    source = f" ({option.source.rstrip('.')})" if option.source else ""
    default = "open" if option.default is None else _against(option.suggested, option.default)
    yield f"{option.name} by default: {default}{source}"
    if option.asked != option.default:
        yield f"{option.name} here: {_against(option.suggested, option.asked)}"


def _against(suggested: float | None, other: float) -> str:
    """A rate, and how it compares with the suggested one."""
    if suggested is None:
        return f"{other:g}"
    times = max(suggested / other, other / suggested)
    how = "the same" if times < 1.05 else f"{times:.2g} times {'lower' if suggested > other else 'higher'}"
    return f"{other:g}, {how}"
