"""The few lines that are the product: from a recipe to a tuned model and its run folder."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regraft import evaluation
from regraft.data import Example, load_splits, read_examples
from regraft.errors import DataError, Interrupted, RecipeError, TrainingError
from regraft.evaluation.outputs import features_of
from regraft.fingerprint import digest, tensors_sha256
from regraft.preparation import Prepared, make_rows, open_model, prepare
from regraft.recipe import Recipe, make_recipe, read_recipe, to_yaml
from regraft.run import Run, create_run, storage, write_json, write_text
from regraft.training import Event, Loop, Material, Poll, Rows, Verdict, checkpoint, stoppable
from regraft.tuned import Tuned
from regraft.version import __version__

_PROBE_ROWS = 64  # rows on which the saved model is compared with the one in memory


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


def tune_events(recipe: Recipe) -> Generator[Event, None, Outcome]:
    """Tune into a new run folder.

    Yields:
        Every event, after it was recorded.

    Returns:
        The outcome.

    Raises:
        RegraftError: the error tree tells which and why; a run folder that was begun can be resumed.
    """
    with stoppable() as stop:
        prepared = prepare(recipe, poll=_nothing_to_save(stop))
        run = create_run(Path(recipe.output).expanduser(), recipe.name, default_run_name(recipe))
        with run.locked():
            write_text(
                run.recipe,
                to_yaml(
                    prepared.recipe,
                    header=f"regraft {__version__}; `regraft tune` with this file gives the same weights",
                ),
            )
            return (yield from _run(prepared, run, stop, found=None))


def resume_events(run: Run) -> Generator[Event, None, Outcome]:
    """Go on from the newest checkpoint that is whole, or from the start where there is none.

    Raises:
        RecipeError: the run is in use, or its recipe has been changed.
    """
    with stoppable() as stop, run.locked():
        _sweep(run)
        found, passed_over = checkpoint.newest(run.checkpoints)
        recipe = read_recipe(run.recipe)
        try:
            prepared = prepare(recipe, poll=stop)
        except Interrupted as stopped:
            raise _resumable(stopped, run) from None
        for reason in passed_over:
            yield _recorded(run, Event("damaged", {"checkpoint": reason}))
        yield _recorded(
            run,
            Event("resume", {"step": found.step if found else 0, "from": found.folder.name if found else None}),
        )
        return (yield from _run(prepared, run, stop, found=found))


def evaluate(
    model: Path, *, data: str | None = None, overrides: Sequence[str] = (), predictions: Path | None = None
) -> dict[str, Any]:
    """Score a tuned model with intervals.

    Args:
        model: a run folder, or a tuned model's folder.
        data: a table with targets; None for the run's own test rows.
        overrides: ``data.…`` and ``evaluation.…`` options, as on the command line.
        predictions: where to write every answer, as parquet.

    Returns:
        The shape of ``scores.json``, without baselines.

    Raises:
        RecipeError, DataError: the model, the table or an option does not fit.
    """
    tuned = Tuned.load(model)
    recipe, examples = _to_score(model, tuned, data, overrides)
    rows = make_rows(examples, tuned.task, tuned.answers, tuned.pretrained)
    options = recipe.evaluation
    outputs = tuned.outputs(rows.encoded, batch_size=options.batch_size)
    if predictions is not None:
        write_predictions(predictions, tuned, examples, outputs)
    return evaluation.compose(
        tuned.answers.kind,
        evaluation.find_metric(options.primary or tuned.task.primary, tuned.answers.kind).name,
        labels=tuned.answers.names,
        test=evaluation.Outputs(np.asarray(rows.values), outputs),
        validation=None,
        baselines={},
        sampling=evaluation.Sampling(options.resamples, options.confidence, recipe.seed),
        temperature=tuned.temperature,
    )


def _to_score(model: Path, tuned: Tuned, data: str | None, overrides: Sequence[str]) -> tuple[Recipe, list[Example]]:
    """The options to score by, and the rows: those of a table, or the test rows of the run."""
    file = model / "recipe.yaml"
    columns = tuned.task.columns()
    if data is None:
        if not file.is_file():
            raise RecipeError(
                f"{model} is no run folder, so it has no test rows of its own",
                fix="name a table: --data reviews.csv",
            )
        recipe = read_recipe(file, overrides)
        columns = tuned.task.columns(label_separator=recipe.data.label_separator)
        return recipe, load_splits(recipe.data, columns, seed=recipe.seed, stratify=tuned.task.targets.stratified).test
    recipe = make_recipe({"task": tuned.task_name, "data": {"train": data}}, overrides)
    examples, _, _ = read_examples(data, columns, recipe.data)
    unfit = tuned.task.targets.unfit(examples, tuned.answers)
    if unfit:
        raise DataError(
            f"{len(unfit)} rows have a target that this model cannot answer, the first: {unfit[0]}",
            fix="correct them, or tune again with such rows",
        )
    return recipe, examples


def default_run_name(recipe: Recipe) -> str:
    """A run's name where none is given: what it learns from, and how."""
    stem = recipe.data.train.replace(":", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"{stem}-{recipe.strategy.name}"


def _run(
    prepared: Prepared, run: Run, stop: Poll, *, found: checkpoint.Checkpoint | None
) -> Generator[Event, None, Outcome]:
    begun = time.monotonic()
    write_json(run.plan, prepared.plan.to_json())
    yield _recorded(run, Event("start", {"command": _command(), "environment": environment(prepared)}))
    yield Event("plan", prepared.plan.to_json())
    try:
        loop = _loop(prepared, run, stop)
        if found is not None:
            loop.resume(found)
        for event in loop.events():
            yield _recorded(run, event)
        best_step = loop.use_best()
        outcome = yield from _conclude(prepared, run, stop)
    except Interrupted as stopped:
        raise _resumable(stopped, run) from None
    yield _recorded(run, Event("end", {"seconds": round(time.monotonic() - begun, 2), "best_step": best_step}))
    return outcome


def _loop(prepared: Prepared, run: Run, stop: Poll) -> Loop:
    prepared.pretrained.model.to(prepared.device.device)
    material = Material(
        model=prepared.pretrained.model,
        processor=prepared.pretrained.processor,
        task=prepared.task,
        answers=prepared.answers,
        loss=prepared.loss,
        rows=prepared.rows,
        phases=prepared.phases,
        options=prepared.recipe.training,
        seed=prepared.recipe.seed,
        device=prepared.device,
        checkpoints=run.checkpoints,
        origin=_origin(prepared),
    )
    return Loop(material, validate=_validator(prepared, stop), stop=stop)


def _validator(prepared: Prepared, stop: Poll) -> Any:
    """Scores the model on the validation data; None where there is none."""
    if not prepared.splits.validation:
        return None
    rows = make_rows(prepared.splits.validation, prepared.task, prepared.answers, prepared.pretrained)
    metric = evaluation.find_metric(prepared.primary, prepared.answers.kind)
    target = np.asarray(rows.values)

    right = prepared.task.targets.tensor(rows.values, prepared.answers)

    def validate() -> Verdict:
        tuned = _tuned(prepared)
        logits = tuned.logits(rows.encoded, batch_size=prepared.recipe.evaluation.batch_size, poll=stop)
        loss = float(prepared.loss.function({"logits": torch.from_numpy(logits)}, right).mean())
        scores = tuned.scores(prepared.answers.in_units(logits))
        values = evaluation.measure(evaluation.metrics_for(prepared.answers.kind), target, scores)
        sign = 1.0 if metric.higher_is_better else -1.0
        tie = -values["mse" if prepared.answers.kind == "numbers" else "log_loss"]
        return Verdict(sign * values[metric.name], tie, loss, evaluation.to_json(values))

    return validate


def _conclude(prepared: Prepared, run: Run, stop: Poll) -> Generator[Event, None, Outcome]:
    """Evaluate the tuned model against its baselines, save it, and prove that what was saved is what was evaluated."""
    pretrained = prepared.pretrained
    answers = prepared.task.targets.finish(pretrained.model, prepared.answers, pretrained.anatomy.head)
    tuned = replace(_tuned(prepared), answers=answers)
    sides = {}
    for name, examples in (("validation", prepared.splits.validation), ("test", prepared.splits.test)):
        rows = make_rows(examples, prepared.task, prepared.answers, pretrained)
        sides[name] = evaluation.Outputs(np.asarray(rows.values), _outputs(tuned, rows, prepared, stop))
        yield Event("stage", {"doing": f"evaluated {len(examples)} {name} rows"})
    baselines = _baselines(prepared, stop) if prepared.recipe.evaluation.baselines else {}
    yield Event("stage", {"doing": "scored the baselines"})
    scores = _scores(prepared, sides, baselines)
    tuned = replace(tuned, temperature=(scores["calibration"] or {}).get("temperature", 1.0))
    stop()
    _save(tuned, run)
    compared = _prove_saved(run, prepared, sides["test"].logits)
    yield _recorded(run, Event("saved", {"rows": compared, "identical": True}))
    write_predictions(run.predictions, tuned, prepared.splits.test, sides["test"].logits)
    write_json(run.scores, scores)
    return Outcome(run, tuned, scores)


def _scores(
    prepared: Prepared, sides: dict[str, evaluation.Outputs], baselines: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    options = prepared.recipe.evaluation
    return evaluation.compose(
        prepared.answers.kind,
        prepared.primary,
        labels=prepared.answers.names,
        test=sides["test"],
        validation=sides["validation"] if len(sides["validation"].target) else None,
        baselines=baselines,
        sampling=evaluation.Sampling(options.resamples, options.confidence, prepared.recipe.seed),
    )


def _baselines(prepared: Prepared, stop: Poll) -> dict[str, NDArray[np.float64]]:
    """What guessing gives, and what a linear probe on the untouched model gives, on the test rows."""
    kind, classes = prepared.answers.kind, prepared.answers.width
    untouched = open_model(prepared.recipe, prepared.task, prepared.answers)
    untouched.model.to(prepared.device.device)
    features = []
    for examples in (prepared.splits.train, prepared.splits.test):
        rows = make_rows(examples, prepared.task, prepared.answers, untouched)
        with prepared.device.computing():
            found = features_of(
                untouched.model,
                prepared.task.inputs,
                untouched.processor,
                rows.encoded,
                batch_size=prepared.recipe.evaluation.batch_size,
                poll=stop,
            )
        features.append(found)
    train = np.asarray(prepared.rows.values)
    return {
        "majority": evaluation.majority(kind, train, len(features[1]), classes),
        "linear_probe": evaluation.linear_probe(
            kind, features[0], train, features[1], seed=prepared.recipe.seed, classes=classes
        ),
    }


def _tuned(prepared: Prepared) -> Tuned:
    return Tuned(prepared.pretrained, prepared.task, prepared.recipe.task.name, prepared.answers)


def _outputs(tuned: Tuned, rows: Rows, prepared: Prepared, stop: Poll) -> NDArray[np.float32]:
    return tuned.outputs(rows.encoded, batch_size=prepared.recipe.evaluation.batch_size, poll=stop)


def _save(tuned: Tuned, run: Run) -> None:
    """Write ``model/`` beside where it belongs, then put it there.

    Raises:
        ResourceError: the disk is full or fails.
    """
    temporary = run.folder / f".model-{os.getpid()}"
    with storage(run.model):
        try:
            tuned.save(temporary)
            shutil.rmtree(run.model, ignore_errors=True)
            os.rename(temporary, run.model)
        except Exception as error:  # safetensors and tokenizers tell of a failing disk in kinds of their own
            if "os error" not in str(error):
                raise
            raise OSError(0, str(error), str(run.model)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _sweep(run: Run) -> None:
    """Remove what a killed process had not finished writing."""
    checkpoint.sweep(run.checkpoints)
    for path in (*run.folder.glob(".*.tmp"), *run.folder.glob(".model-*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _prove_saved(run: Run, prepared: Prepared, logits: NDArray[np.float32]) -> int:
    """Open what was saved and compare what it says with what was evaluated.

    Raises:
        TrainingError: it says something else.
    """
    examples = prepared.splits.test[:_PROBE_ROWS]
    reopened = Tuned.load(run.model)
    rows = make_rows(examples, prepared.task, prepared.answers, reopened.pretrained)
    again = reopened.outputs(rows.encoded)
    if not np.allclose(again, logits[: len(examples)], rtol=1e-4, atol=1e-4):
        raise TrainingError(
            "the saved model answers otherwise than the one that was evaluated",
            fix="this is a bug of regraft: report it with the recipe",
        )
    return len(examples)


def write_predictions(path: Path, tuned: Tuned, examples: Sequence[Example], outputs: NDArray[np.float32]) -> None:
    """One row for each example: where it came from, its inputs, target and answer. Written in chunks, whole or not.

    Raises:
        ResourceError: the disk is full or fails.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(_columns(tuned, pa))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage(path):
        try:
            with pq.ParquetWriter(temporary, schema) as writer:
                for start in range(0, len(examples), 10_000):
                    chunk = slice(start, start + 10_000)
                    rows = list(_answered(tuned, examples[chunk], outputs[chunk]))
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _columns(tuned: Tuned, pa: Any) -> list[tuple[str, Any]]:
    kind, several = tuned.answers.kind, tuned.answers.kind == "labels" or tuned.answers.width > 1
    one = pa.float64() if kind == "numbers" else pa.string()
    answer = pa.list_(one) if several and kind != "classes" else one
    inputs = [(column.name, pa.string()) for column in tuned.task.inputs.columns()]
    more = [] if kind == "numbers" else [("confidence", pa.float64()), ("probabilities", pa.list_(pa.float32()))]
    where = [("id", pa.string()), ("file", pa.string()), ("row", pa.int64())]
    return [*where, *inputs, ("target", answer), ("prediction", answer), *more]


def _answered(tuned: Tuned, examples: Sequence[Example], outputs: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    names = [column.name for column in tuned.task.inputs.columns()]
    for example, scores in zip(examples, tuned.scores(outputs), strict=True):
        answer = tuned.task.targets.answer(scores, tuned.answers)
        yield {
            "id": example.id,
            "file": example.file,
            "row": example.row,
            **{name: example.inputs.get(name) for name in names},
            "target": _told(example.target, tuned),
            **answer,
            "probabilities": list(answer.get("probabilities", {}).values()),
        }


def _told(target: Any, tuned: Tuned) -> Any:
    if tuned.answers.kind == "labels":
        return list(target) if isinstance(target, tuple) else [target]
    if tuned.answers.kind == "numbers" and tuned.answers.width == 1:
        return target[0]
    return target


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
    values = prepared.recipe.model_dump(mode="json", exclude={"output", "name", "evaluation"})
    for harmless in ("checkpoint", "workers"):
        del values["training"][harmless]
    sides = (prepared.splits.train, prepared.splits.validation)
    data = [[[example.id, example.target] for example in side] for side in sides]
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
