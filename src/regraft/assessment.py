"""What a model is worth: scores with intervals, baselines, and every answer in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft import evaluation
from regraft.data import Example, read_examples
from regraft.data.table import read_header
from regraft.errors import DataError, RecipeError
from regraft.frozen import Tap
from regraft.preparation import Prepared
from regraft.probing import output_features, probe_tap
from regraft.recipe import Recipe, make_recipe, read_recipe
from regraft.run import Run, storage, write_durably
from regraft.sources import make_rows, open_model, read_data
from regraft.tasks import NAMES
from regraft.training import Poll, Rows
from regraft.tuned import Tuned


def evaluate(
    model: str | Path, *, data: str | None = None, overrides: Sequence[str] = (), predictions: Path | None = None
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
    recipe, examples = rows_to_score(Path(model), tuned, data, overrides)
    rows = make_rows(examples, tuned.task, tuned.answers, tuned.pretrained)
    options = recipe.evaluation
    outputs = tuned.outputs(rows.encoded, batch_size=options.batch_size)
    judged = evaluation.Outputs(*tuned.task.targets.judged(rows.values, outputs, tuned.answers))
    if predictions is not None:
        write_predictions(predictions, tuned, examples, outputs, judged)
    return evaluation.compose(
        tuned.answers.kind,
        evaluation.find_metric(options.primary or tuned.task.primary, tuned.answers.kind).name,
        labels=tuned.answers.names,
        test=judged,
        validation=None,
        baselines={},
        sampling=evaluation.Sampling(options.resamples, options.confidence, recipe.seed),
        temperature=tuned.temperature,
    )


def rows_to_score(
    model: Path, tuned: Tuned, data: str | None, overrides: Sequence[str]
) -> tuple[Recipe, list[Example]]:
    """The options to score by, and the rows: those of a table, or the test rows of the run."""
    if data is None:
        return _own_rows(model, tuned, overrides)
    recipe = reading_recipe(model, tuned, data, overrides)
    columns = tuned.task.columns(label_separator=recipe.data.label_separator)
    examples, _, _ = read_examples(data, columns, recipe.data)
    unfit = tuned.task.unfit(examples, tuned.answers)
    if unfit:
        raise DataError(
            f"{len(unfit)} rows have a target that this model cannot answer, the first: {unfit[0]}",
            fix="correct them, or tune again with such rows",
        )
    return recipe, examples


def reading_recipe(model: str | Path, tuned: Tuned, data: str, overrides: Sequence[str]) -> Recipe:
    """How to read a table for a tuned model: as its run read its own, where there is a run, and as overridden.

    Of the run's columns those count that the table has.
    """
    reading: dict[str, Any] = {"train": data}
    run = Run(Path(model))
    if run.recipe.is_file():
        asked = read_recipe(run.recipe).data
        reading |= {"encoding": asked.encoding, "delimiter": asked.delimiter, "label_separator": asked.label_separator}
        if asked.images is not None and not Path(os.path.expanduser(data)).is_dir():
            reading["images"] = asked.images
        header = read_header(data, make_recipe({"task": tuned.task_name, "data": reading}, overrides).data)
        reading["columns"] = {ours: theirs for ours, theirs in asked.columns.items() if theirs in header}
    return make_recipe({"task": tuned.task_name, "data": reading}, overrides)


def _own_rows(model: Path, tuned: Tuned, overrides: Sequence[str]) -> tuple[Recipe, list[Example]]:
    """The test rows of the run that ``model`` is the folder of: the very rows it was scored on, or an error."""
    run = Run(model)
    if not run.recipe.is_file():
        raise RecipeError(
            f"{model} is no run folder, so it has no test rows of its own", fix="name a table: --data reviews.csv"
        )
    foreign = [override for override in overrides if not override.strip().startswith("evaluation.")]
    if foreign:
        raise RecipeError(
            f"{foreign[0]} would change which rows these are", fix="only evaluation.… options go without --data"
        )
    recipe = read_recipe(run.recipe, overrides)
    examples = read_data(recipe, tuned.task)[0].test
    if run.predictions.is_file() and [example.id for example in examples] != _scored_ids(run):
        raise DataError(
            f"{recipe.data.test or recipe.data.train} has changed since the run: its test rows are others now",
            fix="put the table back, or name the rows to score: --data reviews.csv",
        )
    return recipe, examples


def _scored_ids(run: Run) -> list[str]:
    import pyarrow.parquet as pq

    with storage(run.predictions):
        ids: list[str] = pq.read_table(run.predictions, columns=["id"])["id"].to_pylist()
    return ids


def compose_scores(
    prepared: Prepared, sides: dict[str, evaluation.Outputs], baselines: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """The content of ``scores.json`` from what was said of the validation and test rows."""
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


def score_baselines(prepared: Prepared, poll: Poll) -> dict[str, NDArray[np.float64]]:
    """What guessing gives, and what the untouched model gives, on the test rows.

    Of a detector or segmenter that knows some of the labels already, and of what writes, that is what it says; of
    others, what a linear probe makes of its features, where the task has one answer an example. What a task adds to the
    rows of tables, a baseline does not learn from.
    """
    kind, classes = prepared.answers.kind, prepared.answers.width
    if kind not in evaluation.PROBED:
        return _untrained(prepared, poll)
    before = untouched(prepared)
    test = make_rows(prepared.splits.test, prepared.task, prepared.answers, before.pretrained)
    rows = rows_of_tables(prepared)
    seen = [output_features(before.subject(), side, prepared.recipe, poll) for side in (rows.encoded, test.encoded)]
    train = np.asarray(rows.values)
    return {
        "majority": evaluation.majority(kind, train, len(seen[1]), classes),
        "linear_probe": evaluation.linear_probe(
            kind, seen[0], train, seen[1], seed=prepared.recipe.seed, classes=classes
        ),
    }


def _untrained(prepared: Prepared, poll: Poll) -> dict[str, NDArray[np.float64]]:
    """The baselines of what has no single answer an example."""
    targets, answers, opened = prepared.task.targets, prepared.answers, prepared.pretrained
    test = make_rows(prepared.splits.test, prepared.task, answers, opened)
    found = {}
    if answers.kind == "boxes":
        train = targets.judged(prepared.rows.values, np.zeros(0), answers)[0]
        found = {"majority": evaluation.majority("boxes", train, len(test.values), answers.width)}
    elif answers.kind == "masks":
        sides = [np.stack([value.counts(answers.width) for value in rows.values]) for rows in (prepared.rows, test)]
        found = {"majority": evaluation.majority_masks(*sides)}
    if opened.kept or answers.kind == "speech" or (answers.kind in evaluation.TEXTS and not opened.anatomy.new):
        before = Tuned(untouched(prepared).pretrained, prepared.task, prepared.recipe.task.name, answers)
        said = before.outputs(test.encoded, batch_size=prepared.recipe.evaluation.batch_size, poll=poll)
        found["untouched"] = targets.judged(test.values, said, answers)[1]
    return found


def rows_of_tables(prepared: Prepared) -> Rows:
    """The training rows without what the task adds to them."""
    rows = prepared.rows
    return rows.some([place for place, example in enumerate(rows.examples) if example.file != NAMES])


def untouched(prepared: Prepared) -> Prepared:
    """The same with the model as it was before tuning, on the device."""
    opened = open_model(prepared.recipe, prepared.task, prepared.answers)
    opened.model.to(prepared.device.device)
    return replace(prepared, pretrained=opened)


def wanted_taps(prepared: Prepared) -> list[Tap]:
    """What the baselines will ask of the training examples, as they are: nothing that an augmented view could give."""
    probed = prepared.recipe.evaluation.baselines and prepared.answers.kind in evaluation.PROBED
    return [probe_tap(prepared.subject())] if probed and not prepared.rows.views else []


def write_predictions(
    path: Path, tuned: Tuned, examples: Sequence[Example], outputs: NDArray[Any], judged: evaluation.Outputs
) -> None:
    """One row for each example: where it came from, its inputs, target and answer. Written in chunks, whole or not.

    What is spoken goes into FLAC files in a folder beside the table, of its name without the ending.

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
                    if tuned.answers.kind == "speech":
                        rows = _spoken(rows, judged.logits[chunk], path)
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _columns(tuned: Tuned, pa: Any) -> list[tuple[str, Any]]:
    kind, several = tuned.answers.kind, tuned.answers.kind == "labels" or tuned.answers.width > 1
    inputs = [(column.name, pa.string()) for column in tuned.task.inputs.columns()]
    where = [("id", pa.string()), ("file", pa.string()), ("row", pa.int64()), *inputs]
    if kind == "boxes":
        box = [("label", pa.string()), ("box", pa.list_(pa.float64()))]
        target, told = pa.list_(pa.struct(box)), pa.list_(pa.struct([*box, ("score", pa.float64())]))
        return [*where, ("target", target), ("prediction", told)]
    if kind == "masks":
        told = pa.list_(pa.struct([("label", pa.string()), ("share", pa.float64())]))
        return [
            *where,
            ("target", pa.string()),
            ("prediction", told),
            ("mask", pa.binary()),
            ("true_mask", pa.binary()),
        ]
    if kind in evaluation.TEXTS:
        return [*where, ("target", pa.string()), ("prediction", pa.string()), ("loss", pa.float64())]
    if kind == "speech":
        judged = [(name, pa.float64()) for name in ("seconds", "mcd", "similarity")]
        return [*where, ("target", pa.string()), ("prediction", pa.string()), ("heard", pa.string()), *judged]
    one = pa.float64() if kind == "numbers" else pa.string()
    answer = pa.list_(one) if several and kind != "classes" else one
    more = [] if kind == "numbers" else [("confidence", pa.float64()), ("probabilities", pa.list_(pa.float32()))]
    return [*where, ("target", answer), ("prediction", answer), *more]


def _answered(tuned: Tuned, examples: Sequence[Example], outputs: NDArray[Any]) -> Iterator[dict[str, Any]]:
    names = [column.name for column in tuned.task.inputs.columns()]
    for example, scores in zip(examples, tuned.scores(outputs), strict=True):
        answer = tuned.task.targets.answer(scores, tuned.answers, example.inputs)
        yield {
            "id": example.id,
            "file": example.file,
            "row": example.row,
            **{name: _shown(example.inputs.get(name)) for name in names},
            "target": _told(example, tuned),
            **answer,
            "loss": scores[1] / max(1, scores[2]) if tuned.answers.kind in evaluation.TEXTS else None,
            "probabilities": list(answer.get("probabilities", {}).values()),
            "mask": png(answer["mask"]) if "mask" in answer else None,
            "true_mask": _drawn_truth(example, tuned),
        }


def _spoken(rows: list[dict[str, Any]], judged: NDArray[Any], path: Path) -> list[dict[str, Any]]:
    """Rows with the files that their sounds were written to, named from the table's folder, and what listeners said."""
    from regraft.data.sounds import playable

    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for row, (heard, _, _, apart, alike) in zip(rows, judged, strict=True):
        file = folder / f"{row['row']:06d}-{row['id'][:8]}.flac"
        write_durably(file, playable(row["prediction"], row["rate"], forms=("FLAC",)))
        told = {"heard": heard, "mcd": apart, "similarity": alike}
        made.append({**row, "prediction": str(file.relative_to(path.parent)), **told})
    return made


def png(mask: NDArray[np.uint8]) -> bytes:
    """A mask, uint8 [h, w], as the bytes of a PNG file."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(mask).save(file, format="PNG")
    return file.getvalue()


def _drawn_truth(example: Example, tuned: Tuned) -> bytes | None:
    """The true mask where no file holds it, in the numbers of the answers."""
    if tuned.answers.kind != "masks" or hasattr(example.target, "path"):
        return None
    return png(tuned.task.targets.value(example, tuned.answers).read())


def _shown(value: Any) -> Any:
    """An input as text: of a file, its path."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else getattr(value, "path", value)


def _told(example: Example, tuned: Tuned) -> Any:
    target = example.target
    if tuned.answers.kind in evaluation.TEXTS:
        return tuned.task.targets.value(example, tuned.answers) or None
    if tuned.answers.kind == "speech":
        return getattr(target, "path", None)
    if tuned.answers.kind == "boxes":
        return [{"label": item.label, "box": list(item.box)} for item in target if not item.crowd]
    if tuned.answers.kind == "masks":
        return getattr(target, "path", None)
    if tuned.answers.kind == "labels":
        return list(target) if isinstance(target, tuple) else [target]
    if tuned.answers.kind == "numbers" and tuned.answers.width == 1:
        return target[0]
    return target
