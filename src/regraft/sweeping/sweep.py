"""A sweep: many trials on the validation rows, then the best of them again with other seeds.

runs/NAME/
  sweep.yaml      the recipe as resolved, and the space; `regraft sweep runs/NAME` goes on
  journal.jsonl   every trial, as optuna's journal keeps it
  sweep.json      the table and the winner
  best.yaml       the winner's recipe; `regraft tune` with it scores the test rows, once
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from regraft import errors, evaluation
from regraft.errors import Interrupted, OutOfMemoryError, RecipeError, RegraftError, ResourceError, TrainingError
from regraft.fingerprint import canonical, draw
from regraft.preparation import Prepared, prepare
from regraft.recipe import Recipe, to_yaml
from regraft.run import Run, create_run, write_json, write_text
from regraft.strategies import make_strategy, phases
from regraft.sweeping.journal import Claim, Fixed, Journal, Record, Stage
from regraft.sweeping.outcome import compose, configurations, ranked
from regraft.sweeping.space import (
    TRIALS,
    Point,
    RangeOptions,
    SweepOptions,
    applies,
    check_space,
    default_space,
    grid,
    points_at_the_ends,
    read_sweep,
    recipe_at,
    resolved,
    strategy_at,
    sweep_yaml,
)
from regraft.sweeping.trial import Bench, data_digest, run_trial
from regraft.tasks import make_task
from regraft.training import Event, Poll, stoppable
from regraft.tuning import alone
from regraft.version import __version__

_WAIT = 0.1  # seconds between two looks at what others do
_SEARCH, _SEEDS = "search", "seeds"


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, with what is asked for."""

    folder: Path
    recipe: Recipe
    options: SweepOptions

    @property
    def results(self) -> Path:
        """Where the table and the winner are written."""
        return self.folder / "sweep.json"

    @property
    def best(self) -> Path:
        """Where the winner's recipe is written."""
        return self.folder / "best.yaml"

    @cached_property
    def grid(self) -> list[Point]:
        """The points of a grid."""
        return grid(self.options, self.recipe)

    @property
    def trials(self) -> int:
        """How many trials the search has."""
        return len(self.grid) if self.options.sampler == "grid" else self.options.trials or TRIALS

    @property
    def split_seed(self) -> int:
        """What draws the split, whatever seed a run has."""
        own = self.recipe.data.split.seed
        return self.recipe.seed if own is None else own


def begin(recipe: Recipe, options: SweepOptions) -> Sweep:
    """Check a sweep and make its folder; one that is there already and asks for the same is gone on with.

    Raises:
        RecipeError, DataError: whatever does not fit, before anything is trained.
    """
    with stoppable() as stop:
        prepared = prepare(recipe, poll=stop)
    if not prepared.splits.validation:
        raise RecipeError(
            "a sweep chooses by the validation rows, and there are none", fix="give data.split.validation a share"
        )
    if not options.space:
        space = default_space(len(prepared.pretrained.anatomy.blocks))
        if options.sampler == "grid":
            space["strategy.learning_rate"] = RangeOptions(low=0.2, high=5.0, log=True, relative=True, steps=3)
        options = options.model_copy(update={"space": space})
    # The strategy as it was asked for: its own defaults depend on what is varied, as the rate of a head on the model.
    prepared = replace(prepared, recipe=prepared.recipe.model_copy(update={"strategy": recipe.strategy}))
    check_space(options, prepared.recipe)
    _rehearse(options, prepared)
    sweep = Sweep(_folder(prepared.recipe, options), prepared.recipe, options)
    header = f"regraft {__version__}; `regraft sweep {sweep.folder}` goes on with it"
    if not (sweep.folder / "sweep.yaml").exists():
        write_text(sweep.folder / "sweep.yaml", sweep_yaml(sweep.recipe, options, header=header))
    return sweep


def find_sweep(folder: Path) -> Sweep:
    """The sweep in a folder.

    Raises:
        RecipeError: there is none.
    """
    if not (folder / "sweep.yaml").is_file():
        raise RecipeError(f"{folder} is not the folder of a sweep (it has no sweep.yaml)", fix="name a recipe file")
    return Sweep(folder, *read_sweep(folder / "sweep.yaml"))


def sweep_events(sweep: Sweep, *, processes: int = 1) -> Generator[Event, None, dict[str, Any]]:
    """Begin a sweep, or go on with one, until its winner is known.

    Yields:
        A line for each trial that ends.

    Returns:
        The content of ``sweep.json``.

    Raises:
        Interrupted: a signal came; the message says how to go on.
        RecipeError, DataError, TrainingError, ResourceError: it cannot go on, and why.
    """
    with alone(), stoppable() as stop:
        try:
            yield from (_work(sweep, stop) if processes == 1 else _work_together(sweep, processes, stop))
        except Interrupted as stopped:
            done = sum(record.state != "running" for record in Journal(sweep.folder).records(_SEARCH))
            problem = f"{stopped.problem}; {done} of {sweep.trials} trials are done"
            raise Interrupted(stopped.signum, problem, fix=f"regraft sweep {sweep.folder}") from None
        finally:
            _write_results(sweep)
    found: dict[str, Any] = _results(sweep)
    if found["finished"] and found["winner"] is None:
        failed = next(record for record in Journal(sweep.folder).records(_SEEDS) if record.state == "failed")
        raise TrainingError(
            f"no configuration could be scored with other seeds; the first: {failed.reason}",
            fix="lower the learning rates in sweep.space, and begin another sweep",
        )
    return found


# Beginning


def _folder(recipe: Recipe, options: SweepOptions) -> Path:
    output = Path(os.path.expanduser(recipe.output))
    if recipe.name is not None and (output / recipe.name / "sweep.yaml").is_file():
        there = find_sweep(output / recipe.name)
        if (there.recipe, there.options) != (recipe, options):
            raise RecipeError(
                f"{there.folder} holds another sweep",
                fix=f"go on with it by `regraft sweep {there.folder}`, or choose another name",
            )
        return there.folder
    return create_run(output, recipe.name, f"{Path(recipe.data.train).stem}-sweep").folder


def _rehearse(options: SweepOptions, prepared: Prepared) -> None:
    """See that the model has what the strategies name, and that losses fit: a trial is too late to find out."""
    for point in points_at_the_ends(options.space, prepared.recipe):
        asked = recipe_at(prepared.recipe, point)
        if any(key.startswith("task.") for key in point):
            make_task(asked.task).targets.loss(prepared.answers, prepared.rows.values, prepared.pretrained.config)
        made = asked.strategy
        if made.freeze == prepared.recipe.strategy.freeze and not any(key.startswith("model") for key in point):
            phases(make_strategy(made), prepared.pretrained.anatomy, epochs=1, freeze=made.freeze, train=made.train)


# The work of one process


def _work(sweep: Sweep, stop: Poll) -> Iterator[Event]:
    with Journal(sweep.folder) as journal:
        bench = Bench(poll=stop)
        prepared = bench.untouched(_recipe(sweep, {}, sweep.recipe.seed))
        about = journal.keep(_SEARCH, "about", lambda: _about(prepared))
        bench.require_data(prepared, about["data"])
        for stage in (partial(_search, sweep), partial(_seeds, sweep, journal)):
            yield from _work_off(sweep, journal, stage(), bench, stop)


def _about(prepared: Prepared) -> dict[str, Any]:
    metric = evaluation.find_metric(prepared.primary, prepared.answers.kind)
    return {
        "primary": metric.name,
        "higher_is_better": metric.higher_is_better,
        "rows": {"train": len(prepared.splits.train), "validation": len(prepared.splits.validation)},
        "data": data_digest(prepared),
    }


def _work_off(sweep: Sweep, journal: Journal, stage: Stage, bench: Bench, stop: Poll) -> Iterator[Event]:
    """Take one place after the other until all have ended, here or elsewhere."""
    while True:
        stop()
        claim = journal.claim(stage)
        if claim is not None:
            yield Event("stage", {"doing": _try(sweep, journal, stage, claim, bench, stop)})
            continue
        ended = [record for record in journal.records(stage.name) if record.state != "running"]
        if len(ended) >= stage.places:  # fewer where another process is at work, or has just been found dead
            return
        time.sleep(_WAIT)


def _try(sweep: Sweep, journal: Journal, stage: Stage, claim: Claim, bench: Bench, stop: Poll) -> str:
    """Run a trial and write down what it came to. Returns that in words."""
    known = next((each for each in ranked(journal.records(stage.name)) if each.point == claim.point), None)
    if known is not None:  # the same recipe and seed give the same bits
        journal.complete(stage.name, claim, known.found["signed"], {**known.found, "seconds": 0.0})
        return _line(journal, stage.name, stage.places, replace(known, place=claim.place))
    try:
        found = run_trial(bench, _recipe_of(sweep, journal, stage, claim), stop)
    except (TrainingError, RecipeError, OutOfMemoryError) as error:  # the next may do better
        journal.fail(stage.name, claim, error.problem)
        record = Record(claim.place, claim.point, "failed", reason=error.problem)
    except BaseException:
        journal.fail(stage.name, claim, None)
        raise
    else:
        journal.complete(stage.name, claim, found.signed, asdict(found))
        record = Record(claim.place, claim.point, "complete", asdict(found))
    return _line(journal, stage.name, stage.places, record)


def _line(journal: Journal, stage: str, places: int, record: Record) -> str:
    number, point = f"{record.place + 1} of {places}", record.point
    if stage == _SEARCH:
        said = f"trial {number}: {words(point)}"
    else:
        said = f"seed run {number}: {words(_tried(journal)[point['configuration']])}; seed {point['seed']}"
    if record.state == "failed":
        return f"{said}: failed: {record.reason}"
    primary = journal.kept(_SEARCH, "about")["primary"]
    return f"{said}: {primary} {record.found['value']:.4g} after {record.found['seconds']:.1f} s"


def words(point: Point) -> str:
    """A point in a line."""
    if not point:
        return "the recipe as it is"
    return ", ".join(f"{key.removeprefix('strategy.')}={short(value)}" for key, value in point.items())


def short(value: Any) -> str:
    """A value of a point in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# What is tried


def _search(sweep: Sweep) -> Stage:
    options = sweep.options

    def sampler(place: int) -> BaseSampler:
        """Drawn from seed and place alone; tpe looks at what has ended besides."""
        seed = draw("sweep", sweep.recipe.seed, place) % 2**32
        if options.sampler == "tpe":
            startup = max(3, min(10, sweep.trials // 3))
            return TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
        return RandomSampler(seed=seed) if options.sampler == "random" else Fixed({})

    def point(trial: Trial, place: int) -> Point:
        return sweep.grid[place] if options.sampler == "grid" else _drawn(trial, sweep)

    return Stage(_SEARCH, sweep.trials, sampler, point)


def _drawn(trial: Trial, sweep: Sweep) -> Point:
    """A point, its strategy first: the rest depends on what that has."""
    space, chosen = sweep.options.space, dict[str, Any]()
    for key in sorted(space, key=lambda key: key not in {"strategy", "strategy.name"}):
        if applies(key, strategy_at(sweep.recipe, chosen)):
            chosen[key] = _suggested(trial, key, space[key])
    return resolved(space, sweep.recipe, chosen)


def _suggested(trial: Trial, key: str, values: RangeOptions | list[Any]) -> Any:
    if isinstance(values, list):
        named = {canonical(value).decode(): value for value in values}
        return named[trial.suggest_categorical(key, list(named))]
    if values.whole:
        return trial.suggest_int(key, int(values.low), int(values.high), log=values.log)
    return float(f"{trial.suggest_float(key, values.low, values.high, log=values.log):.6g}")


def _seeds(sweep: Sweep, journal: Journal) -> Stage:
    """The recipe as it is and the best of the search, each with the same new seeds.

    Raises:
        TrainingError: no trial could be scored.
    """
    records = journal.records(_SEARCH)
    if not ranked(records):
        raise TrainingError(
            f"none of {len(records)} trials could be scored; the first: {records[0].reason}",
            fix="lower the learning rates in sweep.space, and begin another sweep",
        )
    tried = journal.keep(_SEEDS, "configurations", lambda: configurations(records, finalists=sweep.options.finalists))

    def point(trial: Trial, place: int) -> Point:  # noqa: ARG001
        return {"configuration": place % len(tried), "seed": sweep.recipe.seed + 1 + place // len(tried)}

    return Stage(_SEEDS, sweep.options.seeds * len(tried), lambda _: Fixed({}), point)


def _recipe_of(sweep: Sweep, journal: Journal, stage: Stage, claim: Claim) -> Recipe:
    if stage.name == _SEARCH:
        return _recipe(sweep, claim.point, sweep.recipe.seed)
    tried = journal.kept(_SEEDS, "configurations")
    return _recipe(sweep, tried[claim.point["configuration"]], claim.point["seed"])


def _recipe(sweep: Sweep, point: Point, seed: int) -> Recipe:
    """The recipe of a run: another seed changes head, order and dropout, but not which rows are on which side."""
    made = recipe_at(sweep.recipe, point)
    split = made.data.split.model_copy(update={"seed": sweep.split_seed})
    return made.model_copy(update={"seed": seed, "data": made.data.model_copy(update={"split": split})})


# Several processes


def _work_together(sweep: Sweep, processes: int, stop: Poll) -> Iterator[Event]:
    """Let so many processes work, and tell what they do."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // processes)
    workers: list[tuple[BaseProcess, Connection]] = []
    for _ in range(processes):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(str(sweep.folder), threads, os.getpid(), theirs))
        process.start()
        theirs.close()
        workers.append((process, ours))
    try:
        yield from _watch(sweep, workers, stop)
    finally:
        _end([process for process, _ in workers])


def _watch(sweep: Sweep, workers: Sequence[tuple[BaseProcess, Connection]], stop: Poll) -> Iterator[Event]:
    journal = Journal(sweep.folder)
    told = {(stage, record.place) for stage, record in _ended(journal)}
    running = True
    while running:
        stop()
        running = any(process.is_alive() for process, _ in workers)
        for _, pipe in workers:
            _raise_from(pipe)
        for stage, record in _ended(journal):
            if (stage, record.place) not in told:
                told.add((stage, record.place))
                places = sweep.trials if stage == _SEARCH else len(_tried(journal)) * sweep.options.seeds
                yield Event("stage", {"doing": _line(journal, stage, places, record)})
        time.sleep(_WAIT)
    if not _results(sweep)["finished"]:
        raise ResourceError(
            "all processes of the sweep were killed before it was done", fix=f"regraft sweep {sweep.folder}"
        )


def _ended(journal: Journal) -> Iterator[tuple[str, Record]]:
    for stage in (_SEARCH, _SEEDS):
        yield from ((stage, record) for record in journal.records(stage) if record.state != "running")


def _raise_from(pipe: Connection) -> None:
    """Raise here what a process ended with, if it did."""
    try:
        if not pipe.poll():
            return
        kind, problem, fix = pipe.recv()
    except EOFError:
        return
    raise getattr(errors, kind)(problem, fix=fix)


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join()


def _worker(folder: str, threads: int, parent: int, pipe: Connection) -> None:
    """One of several processes. It stops when it is asked to, or when who began it is gone."""
    os.setpgid(0, 0)  # what is typed at the terminal reaches the parent alone, which then asks us
    torch.set_num_threads(threads)
    with stoppable() as stop:

        def poll() -> None:
            stop()
            if os.getppid() != parent:
                raise Interrupted(signal.SIGTERM, "the process that began this one is gone")

        try:
            for _ in _work(find_sweep(Path(folder)), poll):
                pass
        except Interrupted as stopped:
            sys.exit(stopped.exit_code)
        except RegraftError as error:
            pipe.send((type(error).__name__, error.problem, error.fix))
            sys.exit(error.exit_code)


# Results


def _tried(journal: Journal) -> list[Point]:
    return journal.kept(_SEEDS, "configurations") or []


def _results(sweep: Sweep) -> dict[str, Any]:
    journal = Journal(sweep.folder)
    return {
        "sweep": str(sweep.folder),
        "sampler": sweep.options.sampler,
        **compose(
            journal.kept(_SEARCH, "about"),
            journal.records(_SEARCH),
            _tried(journal),
            journal.records(_SEEDS),
            trials=sweep.trials,
            seeds=sweep.options.seeds,
            confidence=sweep.recipe.evaluation.confidence,
        ),
    }


def _write_results(sweep: Sweep) -> None:
    """Write what is known so far; nothing before the first trial could begin."""
    if Journal(sweep.folder).kept(_SEARCH, "about") is None:
        return
    found = _results(sweep)
    write_json(sweep.results, found)
    if found["winner"] is not None:
        best = recipe_at(sweep.recipe, found["winner"]["point"])
        best = best.model_copy(update={"output": str(sweep.folder.resolve()), "name": None})
        write_text(sweep.best, to_yaml(best, header=f"the winner of {sweep.folder}: `regraft tune {sweep.best}`"))
    Run(sweep.folder).record("end" if found["finished"] else "stopped")
