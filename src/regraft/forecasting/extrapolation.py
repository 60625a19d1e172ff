"""From a rehearsal to the whole run.

A step is as long as its tokens say, and what is done once is done once. A shape that is computed for the first time
costs more, in seconds and in memory, for kernels are made for it; so shapes are counted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft import evaluation
from regraft.assessment import compose_scores
from regraft.forecasting.rehearsal import Rehearsal, aside_bytes, checkpoint_bytes, rehearse, seconds_of
from regraft.forecasting.sample import (
    Sample,
    Shape,
    choose_sample,
    filled_tokens,
    rough_seconds,
    scored_tokens,
    steps_of,
)
from regraft.frozen import list_stores, store_root
from regraft.planning.usage import PARTS, parts
from regraft.preparation import Prepared
from regraft.recipe import CacheOptions
from regraft.training import Poll

_CACHED = 80  # shapes: oneDNN keeps 1,024 kernels, and a shape takes about 13 of them
_RESAMPLED = 1_000_000  # resampled rows up to which scoring is timed in full
_LONG = 60.0  # seconds
_SHARE = 0.1  # of a run, that a forecast of it may take


@dataclass(frozen=True)
class PhaseForecast:
    """What a phase will take.

    ``blocks`` of ``depth`` are frozen from the bottom, ``above`` names what ends them. ``bytes`` are those of its rows
    in the store, ``seconds`` those of filling it, of an epoch and of the whole phase.
    """

    epochs: int
    blocks: int
    depth: int
    above: str
    from_rows: bool
    stored: bool
    reason: str
    bytes: int
    filling: float
    epoch: float
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a run will take, if it is not stopped early.

    ``parts`` are seconds by part, as ``planning.usage`` names them, and ``reading`` where that is known; ``memory`` is
    the peak of the process, or of the tensors on a GPU, in bytes; ``disk`` bytes by what they are of; ``spent`` the
    seconds that the forecast took.
    """

    strategy: str
    options: dict[str, Any]
    trainable: int
    total: int
    phases: list[PhaseForecast]
    parts: dict[str, float]
    seconds: float
    memory: int
    disk: dict[str, int]
    spent: float
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for ``plan.json`` and the command line."""
        return asdict(self)


@dataclass(frozen=True)
class _Basis:
    """What a forecast rests on."""

    prepared: Prepared
    sample: Sample
    seen: Rehearsal
    steps: list[list[int]]  # tokens of each step, by epoch
    few_steps: list[list[int]]
    shapes: set[Shape]
    few_shapes: set[Shape]


def forecast(
    prepared: Prepared, *, reading: float | None = None, sample: Sample | None = None, poll: Poll = lambda: None
) -> Forecast:
    """Measure what a prepared run will take. Its model, its random numbers, stores and folders stay as they are.

    Not for two threads at a time: for its duration stores are elsewhere.

    Args:
        reading: seconds that starting and reading data and model took, to be counted in.
        sample: the rows to measure on; None to choose them.
        poll: called before each pass; may raise to stop.

    Raises:
        Interrupted: by ``poll``.
        RegraftError: what would stop the run itself within its first steps.
    """
    begun = time.perf_counter()
    sample = sample or choose_sample(prepared)
    declined = [_declined(prepared.recipe.cache, prepared.rows.reads(phase.epochs)) for phase in prepared.phases]
    seen = rehearse(prepared, sample, store=None in declined, poll=poll)
    room = _no_room(prepared, max(_store_bytes(prepared, seen)))
    if room is not None and None in declined:
        declined = [why or room for why in declined]
        seen = rehearse(prepared, sample, store=False, poll=poll)
    steps, shapes = steps_of(prepared, sum(phase.epochs for phase in prepared.phases))
    few_steps, few_shapes = steps_of(seen.small, sum(phase.epochs for phase in seen.small.phases))
    basis = _Basis(prepared, sample, seen, steps, few_steps, shapes, few_shapes)
    found = _extrapolated(basis, declined, reading)
    return replace(found, spent=round(time.perf_counter() - begun, 2))


def foresee(
    prepared: Prepared, *, always: bool = False, reading: float | None = None, poll: Poll = lambda: None
) -> Prepared:
    """The same with a forecast in its plan, if the run looks as if it took over a minute, and ten times the forecast.

    That is told by tokens and parameters alone, roughly; a short run is not worth the seconds that a forecast takes.

    Args:
        always: however short it looks.
        reading: as in ``forecast``.
        poll: likewise.
    """
    epochs = sum(phase.epochs for phase in prepared.phases)
    if not always and rough_seconds(prepared, epochs * sum(prepared.rows.lengths)) < _LONG:
        return prepared
    sample = choose_sample(prepared)
    if not always and _costly(prepared, sample):
        return prepared
    told = forecast(prepared, reading=reading, sample=sample, poll=poll).to_json()
    return replace(prepared, plan=replace(prepared.plan, forecast=told))


def _costly(prepared: Prepared, sample: Sample) -> bool:
    """Whether a forecast takes more than a tenth of what the run takes, in rows that are computed."""
    splits, phases = prepared.splits, prepared.phases
    epochs, rehearsed = sum(phase.epochs for phase in phases), len(phases) * sample.epochs
    # the test rows are scored before and after, and twice to prove what was saved
    few = rehearsed * len(sample.train) + (rehearsed + 1) * len(sample.validation) + 4 * len(sample.test)
    proved = 2 * min(prepared.task.proof_rows, len(splits.test))
    whole = epochs * len(splits.train) + (epochs + 1) * len(splits.validation) + 2 * len(splits.test) + proved
    return few > _SHARE * whole


def _extrapolated(basis: _Basis, declined: Sequence[str | None], reading: float | None) -> Forecast:
    prepared, seen = basis.prepared, basis.seen
    taken = [_phase(basis, index) for index in range(len(prepared.phases))]
    told = [_told(basis, index, declined[index], seconds) for index, seconds in enumerate(taken)]
    totals = {part: sum(seconds.get(part, 0.0) for seconds in taken) for part in PARTS}
    totals["evaluation"] = _evaluation(basis)
    if reading is not None:
        totals = {"reading": reading, **totals}
    options, parameters = prepared.recipe.training, prepared.plan.parameters
    epochs = sum(phase.epochs for phase in prepared.phases)
    early = f"at most: training.early_stopping={options.early_stopping} may end it sooner"
    return Forecast(
        strategy=prepared.recipe.strategy.name,
        options=prepared.recipe.strategy.model_dump(exclude={"name"}),
        trainable=parameters["trainable"],
        total=parameters["total"],
        phases=told,
        parts={part: round(seconds, 3) for part, seconds in totals.items()},
        seconds=round(sum(totals.values()), 3),
        memory=_memory(basis),
        disk={
            "store": max(phase.bytes for phase in told),
            "checkpoints": checkpoint_bytes(prepared) * min(options.checkpoint.keep + 1, epochs)
            + aside_bytes(prepared),
            "model": seen.model_bytes,
        },
        spent=0.0,
        notes=[early] if options.early_stopping else [],
    )


# Seconds


def _phase(basis: _Basis, index: int) -> dict[str, float]:
    """Seconds of a phase by part, but for what comes after training."""
    prepared, seen, sample = basis.prepared, basis.seen, basis.sample
    epochs = prepared.phases[index].epochs
    measured: dict[str, list[float]] = {part: [] for part in PARTS}
    for part, seconds in parts((each.name, each.seconds) for each in seen.phases[index]):
        measured[part].append(seconds)
    lengths, size = sample.validation_rows.lengths, prepared.recipe.evaluation.batch_size
    looks = [seconds * _ratio(lengths, sample.validation, size) for seconds in measured["validation"]]
    return {
        "preparing": sum(measured["preparing"]),
        "filling": _filling(basis, index, sum(measured["filling"])),
        "training": _training(basis, index, measured["training"]),
        "validation": looks[0] + looks[-1] * (epochs - 1) if looks else 0.0,
        "saving": float(np.mean(measured["saving"])) * (epochs + _within(prepared, epochs)),
    }


def _training(basis: _Basis, index: int, gaps: Sequence[float]) -> float:
    """Seconds of all steps: each by its tokens, and what new shapes cost beyond that; or of a fit, by the tokens."""
    if basis.prepared.phases[index].fitted:
        every, rehearsed = (sum(each.rows.lengths) for each in (basis.prepared, basis.seen.small))
        return sum(gaps) * every / rehearsed
    before = sum(phase.epochs for phase in basis.prepared.phases[:index])
    own = basis.steps[before : before + basis.prepared.phases[index].epochs]
    few_before = sum(phase.epochs for phase in basis.seen.small.phases[:index])
    few = basis.few_steps[few_before : few_before + basis.seen.small.phases[index].epochs]
    tokens, first = [step for epoch in few for step in epoch], len(few[0])
    warm = slice(first if len(few) > 1 else 0, None)
    line = _line(tokens[warm], gaps[warm])
    surplus = [seconds - line(step) for step, seconds in zip(tokens[:first], gaps[:first], strict=True)]
    usual = max(0.0, float(np.median(surplus[1:] or [0.0])))
    new = max(0, len(basis.shapes) - len(basis.few_shapes)) * usual if len(few) > 1 else 0.0
    return sum(line(step) for epoch in own for step in epoch) + max(0.0, sum(surplus)) + new


def _line(tokens: Sequence[int], seconds: Sequence[float]) -> Callable[[int], float]:
    """Seconds of a step as a line over its tokens: never falling, never negative."""
    slope, base = np.polyfit(tokens, seconds, 1) if len(set(tokens)) > 1 else (0.0, float(np.mean(seconds)))
    if slope < 0:
        slope, base = 0.0, float(np.mean(seconds))
    elif base < 0:
        slope, base = float(np.dot(tokens, seconds) / np.dot(tokens, tokens)), 0.0
    return lambda count: float(base + slope * count)


def _filling(basis: _Basis, index: int, cold: float) -> float:
    """Seconds for filling the store with all rows that it lacks."""
    seconds, tokens = basis.seen.filling[index]
    if tokens == 0:
        return 0.0
    every, few = (filled_tokens(basis.prepared, each.rows.lengths) for each in (basis.prepared, basis.seen.small))
    pace = seconds / tokens * basis.prepared.rows.number_of_views
    return (pace * every + max(0.0, cold - pace * few)) * (1 - _share_there(basis))


def _evaluation(basis: _Basis) -> float:
    """Seconds after training: both sides and the baselines are scored, the model is saved and opened again."""
    prepared, sample, seen = basis.prepared, basis.sample, basis.seen
    size = prepared.recipe.evaluation.batch_size
    every, few = sample.test_rows.lengths, [sample.test_rows.lengths[place] for place in sample.test]
    if not seen.decision(0)["stored"] or prepared.rows.views:  # else the store has what the probe reads
        every, few = [*every, *prepared.rows.lengths], [*few, *seen.small.rows.lengths]
    larger = {
        "validation rows": _ratio(sample.validation_rows.lengths, sample.validation, size),
        "test rows": _ratio(sample.test_rows.lengths, sample.test, size),
        "baselines": filled_tokens(prepared, every) / filled_tokens(prepared, few),
    }
    total = _scoring(basis)
    for each in seen.rest:
        doing = "validation rows" if each.name in ("average", "interpolation") else str(each.values.get("doing"))
        what = next((word for word in larger if word in doing), None)
        once = min(each.seconds, seen.opening) if what == "baselines" else 0.0  # the untouched model is opened for them
        total += once + (each.seconds - once) * larger.get(what or "", 1.0)
    return total


def _scoring(basis: _Basis) -> float:
    """Seconds that intervals over all test rows take beyond those over the sample."""
    values, places = basis.sample.test_rows.values, basis.sample.test
    recipe = basis.prepared.recipe
    asked = recipe.evaluation.resamples
    resamples = int(np.clip(_RESAMPLED // len(values), 100, asked))
    fewer = recipe.evaluation.model_copy(update={"resamples": resamples})
    quick = replace(basis.prepared, recipe=recipe.model_copy(update={"evaluation": fewer}))
    if len(places) == len(values):
        return 0.0
    few = _composing(quick, [values[place] for place in places])
    return max(0.0, _composing(quick, values) - few) * asked / resamples


def _composing(prepared: Prepared, values: Sequence[Any]) -> float:
    """Seconds for the scores of rows, whatever the model says of them."""
    kind = prepared.answers.kind
    said = _anything(prepared, values)
    if kind == "speech":  # listening is part of what was rehearsed
        target: NDArray[Any] = np.array([value.text for value in values], dtype=np.dtypes.StringDType())
    else:
        target, said = prepared.task.targets.judged(values, said, prepared.answers)
    sides = {"test": evaluation.Outputs(target, said), "validation": evaluation.Outputs(target[:0], said[:0])}
    baselines = {"linear_probe": evaluation.probabilities(said, kind)} if prepared.recipe.evaluation.baselines else {}
    return seconds_of(lambda: compose_scores(prepared, sides, baselines))


def _anything(prepared: Prepared, values: Sequence[Any]) -> NDArray[Any]:
    """Outputs of the right shape for some rows."""
    count, width, chance = len(values), prepared.answers.width, np.random.default_rng(0)
    if prepared.answers.kind == "masks":
        return np.zeros((count, 8, 8), dtype=np.uint8)
    if prepared.answers.kind == "boxes":
        boxes = chance.random((count, 100, 6), dtype=np.float32)
        boxes[..., 2:4] += boxes[..., :2]
        boxes[..., 5] = chance.integers(width, size=(count, 100))
        return boxes
    if prepared.answers.kind in (*evaluation.TEXTS, "speech"):
        said = np.empty((count, 5), dtype=object)
        said[:] = ["some words of an answer, as many as are usual", 20.0, 10, 6.0, 0.7]
        return said if prepared.answers.kind == "speech" else said[:, :3]
    return prepared.answers.in_units(chance.normal(size=(count, width)).astype(np.float32))


def _ratio(lengths: Sequence[int], places: Sequence[int], batch_size: int) -> float:
    """How much more there is to compute for all rows of a side than for some."""
    if not places:
        return 1.0
    few = [lengths[place] for place in places]
    return scored_tokens(lengths, batch_size) / max(1, scored_tokens(few, batch_size))


def _within(prepared: Prepared, epochs: int) -> int:
    """Checkpoints within epochs, not at their ends."""
    every = prepared.recipe.training.checkpoint.every
    steps = -(-len(prepared.rows.examples) // prepared.recipe.training.batch_size)
    return epochs * ((steps - 1) // every) if every else 0


# Bytes


def _memory(basis: _Basis) -> int:
    """The peak of the rehearsal, what further shapes keep, and the rows of the store, which are mapped when read."""
    seen = basis.seen
    further = min(len(basis.shapes), _CACHED) - min(len(basis.few_shapes), _CACHED)
    few = [int(seen.decision(index)["bytes"]) for index in range(len(seen.phases))]
    mapped = [size - small for size, small in zip(_store_bytes(basis.prepared, seen), few, strict=True)]
    return seen.memory + int(max(0, further) * _growth(basis)) + max(0, *mapped)


def _growth(basis: _Basis) -> float:
    """Bytes that a new shape keeps from then on: those of its kernels.

    Seen at steps of the first epoch that are smaller than one before them, so that what they hold for a while is there;
    a fit takes none.
    """
    held = [each.resident for each in basis.seen.phases[0] if each.name == "step"]
    tokens = basis.few_steps[0]
    more = [held[at] - held[at - 1] for at in range(1, min(len(held), len(tokens))) if tokens[at] <= max(tokens[:at])]
    return max(0.0, float(np.mean(more))) if more else 0.0


def _store_bytes(prepared: Prepared, seen: Rehearsal) -> list[int]:
    """Bytes of all rows, of each phase that keeps them."""
    return [_of_all(prepared, seen, seen.decision(index)) for index in range(len(seen.phases))]


def _of_all(prepared: Prepared, seen: Rehearsal, told: dict[str, Any]) -> int:
    every, few = prepared.rows.lengths, seen.small.rows.lengths
    scale = sum(every) / max(1, sum(few)) if told["tap"]["reading"] == "all" else len(every) / len(few)
    return int(told["bytes"] * scale) if told["stored"] else 0


def _share_there(basis: _Basis) -> float:
    """The share of the rows that stores hold already, from earlier runs."""
    there = {store["store"]: store["bytes"] for store in list_stores(store_root())}
    scale = sum(basis.prepared.rows.lengths) / max(1, sum(basis.seen.small.rows.lengths))
    shares = [there.get(name, 0) / max(1.0, size * scale) for name, size in basis.seen.stores.items()]
    return min(1.0, *shares) if shares else 0.0


# Whether to store


def _declined(options: CacheOptions, reads: int) -> str | None:
    """Why the rows of a phase are not kept, as ``Execution`` decides it."""
    if options.store == "never":
        return "cache.store=never"
    return "each row would be read once" if options.store == "auto" and reads < 2 else None


def _no_room(prepared: Prepared, wanted: int) -> str | None:
    """Why rows of so many bytes cannot be kept; other stores would be removed for them."""
    most = prepared.recipe.cache.max_gb * 1e9
    root = store_root().absolute()
    disk = shutil.disk_usage(next(path for path in (root, *root.parents) if path.is_dir()))
    free = disk.free - 0.05 * disk.total + sum(store["bytes"] for store in list_stores(root))
    if wanted > most:
        return f"it needs {wanted / 1e9:.2f} GB and cache.max_gb allows {most / 1e9:g} GB in all"
    if wanted > free:
        return f"it needs {wanted / 1e9:.2f} GB and the disk has room for {max(0, free) / 1e9:.2f} GB"
    return None


def _told(basis: _Basis, index: int, declined: str | None, seconds: dict[str, float]) -> PhaseForecast:
    told, epochs = basis.seen.decision(index), basis.prepared.phases[index].epochs
    reason = str(told["reason"])
    if told["from_rows"] and declined:
        reason = f"{reason.partition(';')[0]}; not stored: {declined}"
    return PhaseForecast(
        epochs=epochs,
        blocks=told["frontier"]["blocks"],
        depth=told["frontier"]["depth"],
        above=told["frontier"]["above"],
        from_rows=told["from_rows"],
        stored=bool(told["stored"]) and declined is None,
        reason=reason,
        bytes=_of_all(basis.prepared, basis.seen, told) if declined is None else 0,
        filling=round(seconds["filling"], 3),
        epoch=round(sum(seconds[part] for part in ("training", "validation", "saving")) / epochs, 4),
        seconds=round(sum(seconds.values()), 3),
    )
