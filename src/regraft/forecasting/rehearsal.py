"""The run itself on few rows: nothing of it stays, and random numbers go on as if none had been drawn."""

from __future__ import annotations

import copy
import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from regraft.assessment import wanted_taps
from regraft.data import Example
from regraft.device import trim_memory
from regraft.errors import Interrupted
from regraft.forecasting.sample import Sample, filled_tokens, spread
from regraft.frozen import Tap, features, list_stores, store_root
from regraft.planning.usage import peak_memory, reset_peak, resident
from regraft.preparation import Prepared
from regraft.recipe import Recipe
from regraft.run import Run
from regraft.sources import open_model
from regraft.training import Event, Poll
from regraft.tuning import run_events

_now = time.perf_counter
_LARGE = 1_000_000_000  # bytes of a checkpoint; above, it is written once and not twice
_PREFIX, _DAY = ".regraft-forecast-", 86_400
_FILLED = 16_384  # tokens by which filling is timed


@dataclass(frozen=True)
class Seen:
    """An event: the seconds before it, and the bytes that the process held after it."""

    name: str
    values: dict[str, Any]
    seconds: float
    resident: int


@dataclass(frozen=True)
class Rehearsal:
    """What was seen.

    ``phases`` are the events of each phase, ``rest`` those after them. ``opening`` are the seconds for opening the
    model; ``filling`` of each phase seconds and tokens of filling its store once all kernels are there; ``stores``
    the bytes of each store by its name; ``model_bytes`` those of the saved model.
    """

    small: Prepared
    phases: list[list[Seen]]
    rest: list[Seen]
    memory: int
    opening: float
    filling: list[tuple[float, int]]
    stores: dict[str, int]
    model_bytes: int

    def decision(self, phase: int) -> dict[str, Any]:
        """How a phase was computed."""
        return next(each.values for each in self.phases[phase] if each.name == "execution")


def rehearse(prepared: Prepared, sample: Sample, *, store: bool, poll: Poll = lambda: None) -> Rehearsal:
    """Run on a sample, twice over.

    Args:
        store: whether rows are to be kept.
        poll: called before each pass; may raise to stop.

    Raises:
        Interrupted: by ``poll``.
    """
    before = peak_memory()
    gc.collect()
    trim_memory()
    small = _cut(prepared, sample, store=store)
    reset_peak()
    with _nowhere(prepared.recipe) as folder, _same_numbers(prepared):
        run = Run(folder / "run")
        run.folder.mkdir()
        try:
            seen = list(_timed(run_events(small, run, poll, found=None)))
        except Interrupted as stopped:  # there is nothing to resume
            problem = f"{stopped.problem.partition(';')[0]}; nothing but a forecast had begun"
            raise Interrupted(stopped.signum, problem) from None
        memory = peak_memory()
        stores = {kept["store"]: kept["bytes"] for kept in list_stores(store_root())}
        model_bytes = sum(path.stat().st_size for path in run.model.rglob("*") if path.is_file())
        opening = seconds_of(lambda: open_model(prepared.recipe, prepared.task, prepared.answers))
        *phases, rest = _by_phase(seen)
        filling = [_warm_filling(small, prepared, events) for events in phases]
    if prepared.device.device.type == "cpu":
        memory = max(before, memory - sum(value.nbytes for value in small.pretrained.model.state_dict().values()))
    return Rehearsal(small, phases, rest, memory, opening, filling, stores, model_bytes)


def checkpoint_bytes(prepared: Prepared) -> int:
    """Bytes of a checkpoint: the weights that train, two moments of each, and the average if there is one."""
    trained = frozenset[str]().union(*(phase.trainable for phase in prepared.phases))
    copies = 3 if prepared.recipe.training.ema is None else 4
    return sum(prepared.pretrained.anatomy.sizes[name] * 4 * copies for name in trained)


def aside_bytes(prepared: Prepared) -> int:
    """Bytes of the weights that are put aside to be averaged, one copy for each epoch of the last phase."""
    trained = frozenset[str]().union(*(phase.trainable for phase in prepared.phases))
    epochs = 0 if prepared.recipe.training.average is None else prepared.phases[-1].epochs
    return epochs * sum(prepared.pretrained.anatomy.sizes[name] * 4 for name in trained)


def seconds_of(do: Callable[[], object]) -> float:
    """How long something takes."""
    begun = _now()
    do()
    return _now() - begun


def _cut(prepared: Prepared, sample: Sample, *, store: bool) -> Prepared:
    """The same run on few rows, with a copy of the model."""
    recipe, splits = prepared.recipe, prepared.splits
    saving = recipe.training.checkpoint.model_copy(update={"every": None, "keep": 1})
    training = recipe.training.model_copy(update={"early_stopping": None, "checkpoint": saving})
    cache = recipe.cache.model_copy(update={"store": "always" if store else "never", "max_gb": 1e6})
    epochs = 1 if checkpoint_bytes(prepared) > _LARGE else sample.epochs
    return replace(
        prepared,
        recipe=recipe.model_copy(update={"training": training, "cache": cache}),
        pretrained=replace(prepared.pretrained, model=copy.deepcopy(prepared.pretrained.model)),
        phases=[replace(phase, epochs=epochs) for phase in prepared.phases],
        rows=prepared.rows.some(sample.train),
        splits=replace(
            splits,
            train=_chosen(splits.train, sample.train),
            validation=_chosen(splits.validation, sample.validation),
            test=_chosen(splits.test, sample.test),
        ),
    )


def _chosen(examples: Sequence[Example], places: Sequence[int]) -> list[Example]:
    return [examples[place] for place in places]


def _timed(events: Iterator[Event]) -> Iterator[Seen]:
    last = _now()
    for event in events:
        seconds = _now() - last
        yield Seen(event.name, event.values, seconds, resident())
        last = _now()


def _by_phase(seen: Sequence[Seen]) -> list[list[Seen]]:
    """The events up to the proof that frozen is frozen, of each phase; and at last those after all of them."""
    ends = [index + 1 for index, each in enumerate(seen) if each.name == "frozen"]
    return [list(seen[start:end]) for start, end in pairwise([0, *ends, len(seen)])]


def _warm_filling(small: Prepared, prepared: Prepared, events: Sequence[Seen]) -> tuple[float, int]:
    told = next(each.values for each in events if each.name == "execution")
    if not told["stored"]:
        return 0.0, 0
    tap = Tap(**told["tap"])
    taps = [*dict.fromkeys([tap, *wanted_taps(small)])]
    lengths = prepared.rows.lengths
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    places = spread(ordered, max(2, len(ordered) * _FILLED // max(1, sum(lengths))))
    encoded = [prepared.rows.seen[place] for place in places]
    options = prepared.recipe.cache.model_copy(update={"store": "never"})

    def compute() -> None:
        features(small.subject(), encoded, taps, options, root=store_root())

    compute()
    return seconds_of(compute), filled_tokens(prepared, [lengths[place] for place in places])


@contextmanager
def _nowhere(recipe: Recipe) -> Iterator[Path]:
    """A folder on the disk where the run will be. For as long as this lasts stores are in it too; then all is gone."""
    output = Path(os.path.expanduser(recipe.output)).absolute()
    parent = next(path for path in (output, *output.parents) if path.is_dir())
    place = parent if os.access(parent, os.W_OK) else None
    for left in parent.glob(f"{_PREFIX}*"):  # of a process that was killed
        if time.time() - left.stat().st_mtime > _DAY:
            shutil.rmtree(left, ignore_errors=True)
    former = os.environ.get("REGRAFT_STORE")
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as folder:
        os.environ["REGRAFT_STORE"] = str(Path(folder) / "store")
        try:
            yield Path(folder)
        finally:
            if former is None:
                del os.environ["REGRAFT_STORE"]
            else:
                os.environ["REGRAFT_STORE"] = former


@contextmanager
def _same_numbers(prepared: Prepared) -> Iterator[None]:
    device = prepared.device.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
