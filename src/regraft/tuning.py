"""The few lines that are the product: from a recipe to a tuned model and its run folder."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regraft import evaluation
from regraft.assessment import (
    compose_scores,
    rows_of_tables,
    score_baselines,
    untouched,
    wanted_taps,
    write_predictions,
)
from regraft.collapse import look_for_collapse, only_class
from regraft.errors import Interrupted, RecipeError, TrainingError
from regraft.fingerprint import digest, tensors_sha256
from regraft.frozen import Execution, Tap, store_root
from regraft.planning.usage import peak_memory, reset_peak, seconds_by_part
from regraft.preparation import Prepared, chooses_by_loss, fit_of, prepare
from regraft.quality import Quality, look, look_by_model, require_sound
from regraft.recipe import Recipe, TrainingOptions, read_recipe, to_yaml
from regraft.run import Run, create_run, read_json, storage, write_durably, write_json, write_text, written_whole
from regraft.sources import make_rows
from regraft.training import Event, Loop, Material, Poll, Rows, Verdict, checkpoint, schedule, stoppable
from regraft.tuned import Tuned
from regraft.version import __version__

_TRAINING = threading.Lock()
_EXAMPLES_SHOWN, _VIEWS_SHOWN = 6, 4  # of a sheet of what training sees
_NEARLY_ALL = 0.999  # of the pixels, or the numbers of boxes
_MOST = 0.5  # of the sentences that are spoken


@dataclass(frozen=True)
class Outcome:
    """What a run gave."""

    run: Run
    tuned: Tuned
    scores: dict[str, Any]


def tune(recipe: Recipe) -> Outcome:
    """Tune a model as a recipe asks, into a new run folder. ``tune_events`` is the same, event by event."""
    return _finish(tune_events(recipe))


def resume(run: Run) -> Outcome:
    """Finish a run that was stopped. It ends with the same bits as one that was not."""
    return _finish(resume_events(run))


def tune_events(recipe: Recipe, *, foresee: Callable[..., Prepared] | None = None) -> Generator[Event, None, Outcome]:
    """Tune into a new run folder.

    Args:
        foresee: puts a forecast into the plan before anything is spent; ``regraft.forecasting.foresee`` does.

    Yields:
        Every event, after it was recorded.

    Returns:
        The outcome.

    Raises:
        RegraftError: the error tree tells which and why; a run folder that was begun can be resumed.
    """
    with alone(), stoppable() as stop:
        prepared = prepare(recipe, poll=_nothing_to_save(stop))
        found = looked_at(prepared, poll=_nothing_to_save(stop))
        if foresee is not None:
            prepared = foresee(prepared, poll=_nothing_to_save(stop))
        run = create_run(Path(os.path.expanduser(recipe.output)), recipe.name, default_run_name(recipe))
        with run.locked():
            write_text(
                run.recipe,
                to_yaml(
                    prepared.recipe,
                    header=f"regraft {__version__}; `regraft tune` with this file gives the same weights",
                ),
            )
            if found is not None:
                write_json(run.quality, found.to_json())
                yield _recorded(run, Event("quality", _told_of(found)))
            return (yield from run_events(prepared, run, stop, found=None))


def looked_at(prepared: Prepared, *, poll: Poll) -> Quality | None:
    """What the rows alone tell of the data, before anything is spent on them; None where the recipe asks for no look.

    Raises:
        QualityError: scores would not be true, and the recipe lets no run begin then.
    """
    if prepared.recipe.quality == "off":
        return None
    found = look(prepared.recipe, prepared.task, prepared.splits, prepared.answers, model=False, poll=poll)
    if prepared.recipe.quality == "error":
        require_sound(found)
    return found


def _told_of(found: Quality) -> dict[str, Any]:
    """The findings, without their rows."""
    return {"findings": [{**asdict(finding), "items": []} for finding in found.findings]}


def resume_events(run: Run) -> Generator[Event, None, Outcome]:
    """Go on from the newest checkpoint that is whole, or from the start where there is none.

    Raises:
        RecipeError: the run is in use, or its recipe has been changed.
    """
    with alone(), stoppable() as stop, run.locked():
        _sweep(run)
        found, passed_over = checkpoint.newest(run.checkpoints)
        recipe = read_recipe(run.recipe)
        try:
            prepared = prepare(recipe, poll=stop)
        except Interrupted as stopped:
            raise _resumable(stopped, run) from None
        prepared = replace(prepared, plan=replace(prepared.plan, **_kept_of_the_plan(run)))
        for reason in passed_over:
            yield _recorded(run, Event("damaged", {"checkpoint": reason}))
        yield _recorded(
            run,
            Event("resume", {"step": found.step if found else 0, "from": found.folder.name if found else None}),
        )
        return (yield from run_events(prepared, run, stop, found=found))


@contextmanager
def alone() -> Iterator[None]:
    """One run at a time in a process: they would share torch's random numbers, and the lock of a folder is a process's.

    Raises:
        RecipeError: another one has begun and not ended.
    """
    if not _TRAINING.acquire(blocking=False):
        raise RecipeError("another run is going on in this process", fix="let it end, or use a process for each")
    try:
        yield
    finally:
        _TRAINING.release()


def default_run_name(recipe: Recipe) -> str:
    """A run's name where none is given: what it learns from, and how."""
    stem = recipe.data.train.rstrip("/").replace(":", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"{stem}-{recipe.strategy.name}"


def _kept_of_the_plan(run: Run) -> dict[str, Any]:
    """What of the plan is not found again from the recipe: the forecast that the run began with, and the choice."""
    plan = read_json(run.plan) if run.plan.exists() else {}
    return {name: plan.get(name) for name in ("choice", "forecast")}


def run_events(
    prepared: Prepared, run: Run, stop: Poll, *, found: checkpoint.Checkpoint | None
) -> Generator[Event, None, Outcome]:
    """Carry out a prepared run in its folder, from the start or from a checkpoint."""
    begun = time.monotonic()
    reset_peak()
    write_json(run.plan, prepared.plan.to_json())
    yield _recorded(run, Event("start", {"command": _command(), "environment": environment(prepared)}))
    yield Event("plan", prepared.plan.to_json())
    _show_views(prepared, run)
    try:
        wanted = wanted_taps(prepared)
        validate = make_validator(prepared, stop)
        loop = make_loop(prepared, run.checkpoints, validate=validate, wanted=wanted, stop=stop)
        if found is not None and loop.resume(found):
            yield Event("stage", {"doing": f"uses {torch.get_num_threads()} threads, as the run did before"})
        for event in loop.events():
            yield _recorded(run, event)
        best_step = loop.use_best()
        for event in loop.settle():
            yield _recorded(run, event)
        if left := loop.left_alone():
            yield _recorded(run, Event("untouched", left))
        outcome = yield from _conclude(prepared, run, stop)
    except Interrupted as stopped:
        raise _resumable(stopped, run) from None
    spent = {"parts": seconds_by_part(run.history()), "peak_memory": peak_memory()}
    yield _recorded(run, Event("end", {"seconds": round(time.monotonic() - begun, 2), "best_step": best_step, **spent}))
    return outcome


def make_loop(
    prepared: Prepared,
    checkpoints: Path | None,
    *,
    validate: Callable[[Execution], Verdict] | None = None,
    wanted: Sequence[Tap] = (),
    known: dict[int, dict[str, Any]] | None = None,
    factor: Callable[[int, int], float] | None = None,
    stop: Poll = lambda: None,
) -> Loop:
    """The loop of a prepared run, its model on the device. Nothing is written until its events are taken.

    Args:
        checkpoints: the folder for checkpoints; None for no checkpoints, and no way back to the best weights.
        validate: scores the model as it is; None where no best is to be chosen.
        wanted: what else of the training rows is to be stored in the pass that fills the store, if there is one.
        known: how each phase is computed, where a run of the same kind has proved it; what this run decides is added.
        factor: what rates are multiplied by, of a step and the steps of its phase; None for the recipe's schedule.
        stop: called before each pass; may raise to stop.
    """
    opened, device = prepared.pretrained, prepared.device
    opened.model.to(device.device)
    subject, options = prepared.subject(), prepared.recipe.training
    material = Material(
        model=opened.model,
        anatomy=opened.anatomy,
        processor=opened.processor,
        task=prepared.task,
        answers=prepared.answers,
        loss=prepared.loss,
        rows=prepared.rows,
        phases=prepared.phases,
        options=options,
        seed=prepared.recipe.seed,
        device=device,
        execution=Execution(subject, prepared.rows.seen, prepared.recipe.cache, root=store_root()),
        factor=factor or partial(schedule.factor, schedule=options.schedule, warmup=options.warmup),
        fit=fit_of(prepared.answers, seed=prepared.recipe.seed),
        checkpoints=checkpoints,
        wanted=wanted,
        known={} if known is None else known,
        origin={} if checkpoints is None else _origin(prepared),
    )
    return Loop(material, validate=validate, stop=stop)


def make_validator(prepared: Prepared, stop: Poll) -> Callable[[Execution], Verdict] | None:
    """Scores the model on the validation data; None where there is none.

    It computes as training does, from rows where that was proved and in the same precision.
    """
    if not prepared.splits.validation:
        return None
    rows = make_rows(prepared.splits.validation, prepared.task, prepared.answers, prepared.pretrained)
    task, answers, device, processor = prepared.task, prepared.answers, prepared.device, prepared.pretrained.processor
    metric = evaluation.find_metric(prepared.primary, answers.kind)
    by_loss = chooses_by_loss(task, prepared.splits.validation, answers, prepared.primary)

    def validate(execution: Execution) -> Verdict:
        tuned, losses, units = _tuned(prepared), 0.0, 0

        def seen(output: Any, places: Sequence[int]) -> None:
            nonlocal losses, units
            right = task.target(*rows.at(places), answers)
            units += task.units(right)
            losses += float(prepared.loss.function(output, right.to(device.device)).sum())

        with device.computing():
            run = execution.of(rows.encoded, stop)
            size = prepared.recipe.evaluation.batch_size
            blank = not execution.looks_at_inputs
            said = tuned.logits(
                rows.encoded, batch_size=size, poll=stop, run=run, seen=seen, blank=blank, write=metric.of_texts
            )
        target, scores = task.targets.judged(rows.values, task.targets.told(said, answers, processor), answers)
        scores = evaluation.probabilities(scores, answers.kind)
        values = evaluation.measure(evaluation.metrics_for(answers.kind), target, scores)
        score, tie = evaluation.signed(metric.name, values), evaluation.tie_of(answers.kind, values)
        if by_loss:
            score = -losses / units
        only = only_class(scores, target, answers.names) if answers.kind == "classes" else None
        return Verdict(score, tie, losses / units, evaluation.to_json(values), said, only)

    return validate


def _conclude(prepared: Prepared, run: Run, stop: Poll) -> Generator[Event, None, Outcome]:
    """Evaluate the tuned model against its baselines, save it, and prove that what was saved is what was evaluated."""
    pretrained = prepared.pretrained
    answers = prepared.task.targets.finish(pretrained.model, prepared.answers, pretrained.anatomy.head)
    tuned = replace(_tuned(prepared), answers=answers)
    sides, said = {}, {}
    for name, examples in (("validation", prepared.splits.validation), ("test", prepared.splits.test)):
        rows = make_rows(examples, prepared.task, prepared.answers, pretrained)
        said[name] = _outputs(tuned, rows, prepared, stop)
        sides[name] = evaluation.Outputs(*prepared.task.targets.judged(rows.values, said[name], prepared.answers))
        yield Event("stage", {"doing": f"evaluated {len(examples)} {name} row{'' if len(examples) == 1 else 's'}"})
    if collapsed := look_for_collapse(prepared, tuned, said["validation"], run.history(), stop):
        yield _recorded(run, Event("collapsed", collapsed))
    baselines = score_baselines(prepared, stop) if prepared.recipe.evaluation.baselines else {}
    yield Event("stage", {"doing": "scored the baselines"})
    if prepared.recipe.evaluation.baselines and run.quality.exists():
        yield from _doubt(prepared, run, stop)
    scores = compose_scores(prepared, sides, baselines)
    tuned = replace(tuned, temperature=(scores["calibration"] or {}).get("temperature", 1.0))
    stop()
    _save(tuned, run)
    compared = _prove_saved(tuned, run, prepared)
    yield _recorded(run, Event("saved", {"rows": compared, "identical": True}))
    write_predictions(run.predictions, tuned, prepared.splits.test, said["test"], sides["test"])
    write_json(run.scores, scores)
    return Outcome(run, tuned, scores)


def _doubt(prepared: Prepared, run: Run, stop: Poll) -> Iterator[Event]:
    """Add to what was found which training labels are doubtful, by the features that the linear probe had computed."""
    subject, rows = untouched(prepared).subject(), rows_of_tables(prepared)
    found = Quality.from_json(read_json(run.quality))
    more = look_by_model(found, subject, rows, prepared.answers, prepared.recipe, poll=stop)
    write_json(run.quality, more.to_json())
    new = replace(more, findings=tuple(finding for finding in more.findings if finding not in found.findings))
    yield _recorded(run, Event("quality", _told_of(new)))


def _show_views(prepared: Prepared, run: Run) -> None:
    """A picture of some training examples in their views, an example a row; of texts, their words."""
    rows = prepared.rows
    if not rows.views or run.augmented.exists() or run.augmented_texts.exists():
        return
    views, examples = range(min(_VIEWS_SHOWN, rows.number_of_views)), range(min(_EXAMPLES_SHOWN, len(rows.encoded)))
    places = [view * len(rows.encoded) + place for place in examples for view in views]
    shown, _ = rows.at(places)
    processor = prepared.pretrained.processor
    words = prepared.task.texts(shown, processor)
    if words is not None:
        plain = prepared.task.texts(rows.encoded[: len(examples)], processor) or []
        each = [words[first : first + len(views)] for first in range(0, len(words), len(views))]
        told = [{"text": text, "views": views} for text, views in zip(plain, each, strict=True)]
        write_json(run.augmented_texts, {"examples": told})
        return
    columns = len(views) * max(1, _VIEWS_SHOWN // len(views))
    content = prepared.task.sheet(shown, prepared.answers, processor, columns=columns)
    with storage(run.augmented):
        write_durably(run.augmented, content)


def _tuned(prepared: Prepared) -> Tuned:
    return Tuned(prepared.pretrained, prepared.task, prepared.recipe.task.name, prepared.answers)


def _outputs(tuned: Tuned, rows: Rows, prepared: Prepared, stop: Poll) -> NDArray[Any]:
    return tuned.outputs(rows.encoded, batch_size=prepared.recipe.evaluation.batch_size, poll=stop)


def _save(tuned: Tuned, run: Run) -> None:
    """Write ``model/`` beside where it belongs, then put it there.

    Raises:
        ResourceError: the disk is full or fails.
    """
    with written_whole(run.model) as temporary:
        tuned.save(temporary)
        shutil.rmtree(run.model, ignore_errors=True)


def _sweep(run: Run) -> None:
    """Remove what a killed process had not finished writing."""
    checkpoint.sweep(run.checkpoints)
    for path in (*run.folder.glob(".*.tmp"), *run.folder.glob(".model-*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _prove_saved(tuned: Tuned, run: Run, prepared: Prepared) -> int:
    """Open what was saved and ask both models about the same rows. Returns how many rows.

    Raises:
        TrainingError: the answers differ, be it by a bit, unless all weights are equal.
    """
    examples = (prepared.splits.test or prepared.splits.train)[: prepared.task.proof_rows]
    encoded = make_rows(examples, prepared.task, prepared.answers, prepared.pretrained).encoded
    opened = Tuned.load(run.model)
    now, before = opened.logits(encoded), tuned.logits(encoded)
    # Small products may differ in their last bits with where in memory they lie; then the weights have to be equal.
    same = np.array_equal(now, before, equal_nan=True) or (_same_weights(opened, tuned) and _alike(now, before))
    if not same:
        raise TrainingError(
            "the saved model answers otherwise than the one that was evaluated",
            fix="this is a bug of regraft: report it with the recipe",
        )
    return len(examples)


def _alike(now: NDArray[Any], before: NDArray[Any]) -> bool:
    """Equal to rounding: of classes of pixels and of boxes in the order of their scores, a few may change places.

    Of waves a whole sentence may: a sound lasts whole frames, so that rounding can make one longer by a frame.
    """
    if now.dtype == np.int16:
        return float((np.abs(now.astype(np.int32) - before) <= 2).all(axis=1).mean()) >= _MOST
    return float(np.isclose(now, before, 1e-4, 1e-5, equal_nan=True).mean()) >= (1.0 if now.ndim == 2 else _NEARLY_ALL)


def _same_weights(one: Tuned, other: Tuned) -> bool:
    states = [each.pretrained.model.state_dict() for each in (one, other)]
    return tensors_sha256(states[0]) == tensors_sha256(states[1])


def environment(prepared: Prepared) -> dict[str, str]:
    """What the numbers may depend on beside the recipe."""
    packages = ("torch", "transformers", "safetensors", "numpy", "scikit-learn")
    return {
        "regraft": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{prepared.device.device} ({prepared.device.precision})",
        "threads": str(torch.get_num_threads()),
    }


def _origin(prepared: Prepared) -> dict[str, str]:
    """What decides the weights: recipe, data and pretrained model, hashed.

    Of the recipe, what only decides where and how often things are kept is left out.
    """
    values = prepared.recipe.model_dump(mode="json", exclude={"output", "name"})
    values["evaluation"] = prepared.primary
    for harmless in ("checkpoint", "workers"):
        del values["training"][harmless]
    for later in ("regularization", "average", "interpolate"):  # unknown to checkpoints of before
        if getattr(prepared.recipe.training, later) == getattr(TrainingOptions(), later):
            del values["training"][later]
    values["cache"] = values["cache"]["dtype"]  # whether there is a store, and how large, changes no bit
    sides = (prepared.splits.train, prepared.splits.validation)
    data = [[example.known for example in side] for side in sides]
    return {
        "recipe": digest(values),
        "data": digest([data, prepared.rows.lengths]),
        "pretrained model": tensors_sha256(prepared.pretrained.model.state_dict()),
    }


def _command() -> str:
    """What was typed, or that it came from Python."""
    by_name = Path(sys.argv[0]).name == "regraft"
    return shlex.join(["regraft", *sys.argv[1:]]) if by_name else "regraft.tune(recipe)"


def _recorded(run: Run, event: Event) -> Event:
    run.record(event.name, **event.values)
    return event


def _nothing_to_save(stop: Poll) -> Poll:
    def poll() -> None:
        try:
            stop()
        except Interrupted as stopped:
            raise Interrupted(
                stopped.signum, f"{stopped.problem}; training had not begun, there is nothing to save"
            ) from None

    return poll


def _resumable(stopped: Interrupted, run: Run) -> Interrupted:
    folder, _ = checkpoint.newest(run.checkpoints)
    kept = f"{folder.folder} is whole" if folder else "nothing had been trained"
    return Interrupted(stopped.signum, f"{stopped.problem}; {kept}", fix=f"regraft resume {run.folder}")


def _finish(events: Generator[Event, None, Outcome]) -> Outcome:
    while True:
        try:
            next(events)
        except StopIteration as ended:
            outcome: Outcome = ended.value
            return outcome
