"""The learning rate range test: the rate rises step by step, and where the loss falls and where it climbs is seen.

Smith, Cyclical Learning Rates for Training Neural Networks, 2017, https://arxiv.org/abs/1506.01186; the two rates that
are read off the curve are those of Howard and Gugger, fastai, 2020, https://arxiv.org/abs/2002.04688.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft import extensions
from regraft.errors import NotFiniteError, RecipeError
from regraft.fingerprint import draw
from regraft.preparation import Prepared, prepare
from regraft.recipe import Recipe, StrategyOptions
from regraft.strategies import Phase, Strategy, make_strategy, phases
from regraft.training import Poll, Rows, stoppable
from regraft.tuning import alone, make_loop

STEPS = 100
_LOWEST, _HIGHEST = 1e-6, 1.0
_MEMORY = 0.9  # of the moving average
_DIVERGED = 4.0  # times the smallest loss
_FIRST = 4  # the first quarter of the steps shows what the loss is before anything is learned
_REACH = 5  # steps to each side between which a slope is taken
_SURE, _LITTLE = 3.0, 0.02  # spreads of the noise, and share of the loss, below which a change says nothing


@dataclass(frozen=True)
class Reading:
    """What a curve tells.

    ``smoothed``: the moving average of the losses. ``steepest``: the rate at which it falls fastest. ``tenth``: a tenth
    of the rate at which it is lowest. Both are None where it does not fall by more than chance. ``diverged``: whether
    it ended above 4 times its smallest value.
    """

    smoothed: tuple[float, ...]
    steepest: float | None
    tenth: float | None
    diverged: bool


@dataclass(frozen=True)
class RateOption:
    """An option of the strategy that says a rate: as the recipe has it, by default, and as the test suggests.

    ``default`` is None where the strategy leaves it to others; ``source`` is what its documentation says of it.
    """

    name: str
    asked: float
    default: float | None
    suggested: float | None
    source: str


@dataclass(frozen=True)
class RateFinding:
    """A range test and what follows from it.

    ``rates`` are those of the first of ``options``, one a step; the others rise in proportion. ``losses`` are the means
    of the steps' batches. ``phase`` of ``phases``, counted from 1, is the one that was tried; ``untried`` are the
    options that say rates of later phases only.
    """

    strategy: str
    phase: int
    phases: int
    rows: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    reading: Reading
    options: tuple[RateOption, ...]
    untried: tuple[str, ...]
    stored: bool = field(compare=False)
    seconds: float = field(compare=False)

    @property
    def suggested(self) -> float | None:
        """The rate to begin with; None where none could be found."""
        return self.options[0].suggested

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def find_rate(recipe: Recipe, *, steps: int = STEPS) -> RateFinding:
    """Try rising rates on the training rows, on a model of its own, which is thrown away.

    The first phase that takes steps is tried, as the recipe asks for it but for schedule and warmup: the rates of all
    its groups rise together from step to step, by the same factor. Frozen parts come from the store where the recipe
    keeps one. The same recipe gives the same finding; no other row is looked at. Later phases are not tried: what they
    learn at depends on where the first one ends.

    Args:
        steps: how many are taken, if the loss does not diverge before.

    Raises:
        RecipeError: the strategy takes no steps, or the recipe does not fit.
        DataError, ResourceError, RefusedError: as tuning does.
        Interrupted: a signal came.
    """
    with alone(), stoppable() as stop:
        begun = time.monotonic()
        prepared = prepare(recipe, poll=stop)
        index = _first_with_steps(prepared)
        strategy = make_strategy(prepared.recipe.strategy)
        plain = make_strategy(StrategyOptions(name=prepared.recipe.strategy.name))
        names = _rates_of(prepared, strategy, index)
        rates = np.geomspace(_LOWEST, _HIGHEST, steps)
        small = _cut(prepared, index, steps)
        losses, stored = _climbed(small, rates / getattr(strategy, names[0]), stop)
    reading = read_off(rates[: len(losses)], losses)
    return RateFinding(
        strategy=prepared.recipe.strategy.name,
        phase=index + 1,
        phases=len(prepared.phases),
        rows=len(small.rows.examples),
        rates=tuple(rates[: len(losses)].tolist()),
        losses=tuple(losses),
        reading=reading,
        options=tuple(_advised(strategy, plain, names, _chosen(reading))),
        untried=tuple(_untried(prepared, strategy, index, names)),
        stored=stored,
        seconds=round(time.monotonic() - begun, 3),
    )


def read_off(rates: Sequence[float] | NDArray[np.float64], losses: Sequence[float]) -> Reading:
    """What rising rates and the losses at them tell; the average is corrected for its beginning, as Adam's are."""
    smoothed = _smoothed(losses)
    diverged = bool(smoothed[-1] > _DIVERGED * smoothed.min())
    told = tuple(smoothed.tolist())
    first = max(2, len(losses) // _FIRST)
    level, noise = float(np.mean(losses[:first])), float(np.std(losses[:first], ddof=1))
    much = max(_SURE * noise * ((1 - _MEMORY) / (1 + _MEMORY)) ** 0.5, _LITTLE * abs(level))
    lowest = _lowest(smoothed, first, much)
    if not smoothed[lowest] < level - much:
        return Reading(told, None, None, diverged)
    places = np.arange(_REACH, max(_REACH, lowest - _REACH) + 1)
    slopes = smoothed[places + _REACH] - smoothed[places - _REACH]
    return Reading(told, float(rates[int(places[slopes.argmin()])]), float(rates[lowest]) / 10, diverged)


def _lowest(smoothed: NDArray[np.float64], first: int, much: float) -> int:
    """Where the loss is lowest before it climbs by much: what it does at rates beyond is luck."""
    after = smoothed[first:]
    climbed = after > np.minimum.accumulate(after) + much
    until = int(climbed.argmax()) if climbed.any() else len(after)
    return first + int(after[: max(1, until)].argmin()) if len(after) else 0


def _smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    average, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = _MEMORY * average + (1 - _MEMORY) * loss
        found.append(average / (1 - _MEMORY**count))
    return np.asarray(found, dtype=np.float64)


def _chosen(reading: Reading) -> float | None:
    """The lower of the two, to two digits."""
    if reading.steepest is None or reading.tenth is None:
        return None
    return float(f"{min(reading.steepest, reading.tenth):.1e}")


def _first_with_steps(prepared: Prepared) -> int:
    for index, phase in enumerate(prepared.phases):
        if not phase.fitted:
            return index
    raise RecipeError(
        f"strategy {prepared.recipe.strategy.name} takes no steps, so there is no rate to find",
        fix="tune as it is, or take a strategy that learns in steps, such as linear-probe",
    )


def _rates_of(prepared: Prepared, strategy: Strategy, index: int) -> list[str]:
    """The options that say the rates of a phase; the strategy's main one first."""
    moving = _moving(prepared, strategy, index)
    if not moving:
        raise RecipeError(
            f"strategy {prepared.recipe.strategy.name} has no option for the rate of its phase {index + 1}",
            fix="an option that says a rate is called learning_rate, or ends so",
        )
    return sorted(moving, key=lambda name: name != "learning_rate")


def _untried(prepared: Prepared, strategy: Strategy, tried: int, names: Sequence[str]) -> list[str]:
    """The options that say rates of later phases, but for those of the phase that is tried."""
    later = [name for index in range(tried + 1, len(prepared.phases)) for name in _moving(prepared, strategy, index)]
    return [name for name in dict.fromkeys(later) if name not in names]


def _moving(prepared: Prepared, strategy: Strategy, index: int) -> list[str]:
    """The options that say rates and that a phase changes with."""
    asked = _phase_of(prepared, strategy, index)
    given = [each.name for each in fields(strategy) if each.name.endswith("learning_rate")]  # type: ignore[arg-type]
    known = [name for name in given if getattr(strategy, name) is not None]
    return [
        name
        for name in known
        if _phase_of(prepared, replace(strategy, **{name: 2 * getattr(strategy, name)}), index) != asked  # type: ignore[type-var]
    ]


def _phase_of(prepared: Prepared, strategy: Strategy, index: int) -> Phase:
    asked = prepared.recipe
    epochs = asked.training.epochs
    assert epochs is not None, "prepare spells it out"
    anatomy = prepared.pretrained.anatomy
    return phases(strategy, anatomy, epochs=epochs, freeze=asked.strategy.freeze, train=asked.strategy.train)[index]


def _cut(prepared: Prepared, index: int, steps: int) -> Prepared:
    """One phase on as many rows as that many steps can read, drawn by the seed."""
    recipe, rows = prepared.recipe, prepared.rows
    training = recipe.training.model_copy(update={"on_not_finite": "error"})
    order = sorted(range(len(rows.examples)), key=lambda place: draw("range test", recipe.seed, rows.ids[place]))
    few: Rows = rows.some(sorted(order[: steps * training.batch_size]))
    epochs = -(-steps // -(-len(few.examples) // training.batch_size))
    return replace(
        prepared,
        recipe=recipe.model_copy(update={"training": training}),
        phases=[replace(prepared.phases[index], epochs=epochs)],
        rows=few,
    )


def _climbed(prepared: Prepared, factors: NDArray[np.float64], stop: Poll) -> tuple[list[float], bool]:
    """The loss of each step, up to where it diverges; and whether rows were stored."""
    losses: list[float] = []
    stored = False
    loop = make_loop(prepared, None, factor=lambda done, _: float(factors[done]), stop=stop)
    with closing(loop.events()) as events:  # type: ignore[type-var]
        try:
            for event in events:
                if event.name == "execution":
                    stored = bool(event.values["stored"])
                if event.name == "step":
                    losses.append(float(event.values["loss"]))
                if len(losses) == len(factors) or _gone(losses, len(factors)):
                    break
        except NotFiniteError:
            if len(losses) < len(factors) // _FIRST:
                raise  # the data are ill, not the rate
    return losses, stored


def _gone(losses: Sequence[float], steps: int) -> bool:
    smoothed = _smoothed(losses)
    return len(losses) > steps // _FIRST and bool(smoothed[-1] > _DIVERGED * smoothed.min())


def _advised(
    strategy: Strategy, plain: Strategy, names: Sequence[str], suggested: float | None
) -> Iterator[RateOption]:
    """Each option with the same factor between what is asked and what is suggested; ``plain`` has the defaults."""
    told = extensions.descriptions(type(strategy))
    for option in names:
        asked = float(getattr(strategy, option))
        scaled = None if suggested is None else float(f"{asked * suggested / getattr(strategy, names[0]):.1e}")
        yield RateOption(option, asked, getattr(plain, option), scaled, told.get(option, ""))
