"""Which of two tuned models is better: paired tests on the same rows, on all of them and on slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft import evaluation
from regraft.assessment import rows_to_score
from regraft.data import Example
from regraft.errors import DataError, RecipeError
from regraft.evaluation import Comparison
from regraft.evaluation.comparisons import SIGNIFICANT
from regraft.evaluation.metrics import spoken
from regraft.evaluation.weighted import Array
from regraft.recipe import Recipe, read_recipe
from regraft.run import Run
from regraft.sources import make_rows, read_data
from regraft.tuned import Tuned

_FEWEST = 20  # rows of a slice
_MOST = 20  # slices, those of most rows


@dataclass(frozen=True)
class Slice:
    """Some of the rows. The ``p`` of its comparison is corrected for how many slices there are (Holm, 1979)."""

    name: str
    rows: int
    comparison: Comparison


@dataclass(frozen=True)
class Compared:
    """Two models on the same rows. Differences are positive where the first one is better."""

    first: str
    second: str
    rows: int
    comparison: Comparison
    verdict: str
    slices: tuple[Slice, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is undefined is null."""
        content: dict[str, Any] = evaluation.to_json(self)
        return content


def compare_models(
    first: str | Path, second: str | Path, *, data: str | None = None, overrides: Sequence[str] = ()
) -> Compared:
    """Compare two tuned models row by row, by the deciding metric of the first.

    The interval of the difference is a paired bootstrap, p a paired randomisation test (see ``evaluation.compare``).
    Slices are the rows of one label, and of one group where there are groups.

    Args:
        first, second: run folders, or tuned models' folders.
        data: a table with targets; None for the test rows of the first.
        overrides: ``data.…`` and ``evaluation.…`` options.

    Raises:
        RecipeError: they answer different questions, or an option does not fit.
        DataError: the second has learned from rows that the first is tested on, or a row cannot be used.
    """
    one, other = Tuned.load(first), Tuned.load(second)
    _require_alike(str(first), one, str(second), other)
    recipe, examples = rows_to_score(Path(first), one, data, overrides)
    if data is None:
        _require_new(second, other, examples)
    target, *scores = _judged((one, other), examples, recipe)
    metric = evaluation.find_metric(recipe.evaluation.primary or one.task.primary, one.answers.kind).name
    whole = _compared(metric, target, scores, str(second), recipe)
    found = [
        Slice(name, len(places), _compared(metric, target[places], [each[places] for each in scores], name, recipe))
        for name, places in _slices(examples, one)
    ]
    defined = [each for each in found if np.isfinite(each.comparison.p)]
    told = _verdict(whole, str(first), str(second), len(examples))
    return Compared(str(first), str(second), len(examples), whole, told, tuple(_corrected(defined)))


def _require_alike(first: str, one: Tuned, second: str, other: Tuned) -> None:
    """See that both answer the same question in the same words.

    Raises:
        RecipeError: they do not.
    """
    if one.task_name != other.task_name:
        raise RecipeError(
            f"{first} is for {one.task_name}, {second} for {other.task_name}", fix="compare two models of one task"
        )
    if one.answers.names != other.answers.names or one.answers.kind != other.answers.kind:
        raise RecipeError(
            f"{first} answers with {', '.join(one.answers.names)}, {second} with {', '.join(other.answers.names)}",
            fix="compare two models that know the same answers",
        )


def _require_new(second: str | Path, other: Tuned, examples: Sequence[Example]) -> None:
    """See that the second has learned from none of the rows.

    Raises:
        DataError: it has.
    """
    run = Run(Path(second))
    if not run.recipe.is_file():
        return
    splits, _ = read_data(read_recipe(run.recipe), other.task)
    learned = {example.id for example in (*splits.train, *splits.validation)}
    known = sum(example.id in learned for example in examples)
    if known:
        raise DataError(
            f"{second} has learned from {known:,} of the {len(examples):,} rows, which would favour it",
            fix="name rows that are new to both: --data new.csv; or tune both with the same data.split.seed",
        )


def _judged(models: Sequence[Tuned], examples: Sequence[Example], recipe: Recipe) -> Iterator[Array]:
    """What is right of the rows, then what each model says of them, as the metrics take it."""
    for place, tuned in enumerate(models):
        rows = make_rows(examples, tuned.task, tuned.answers, tuned.pretrained)
        said = tuned.outputs(rows.encoded, batch_size=recipe.evaluation.batch_size)
        target, scores = tuned.task.targets.judged(rows.values, said, tuned.answers)
        if place == 0:
            yield target
        yield evaluation.probabilities(scores, tuned.answers.kind, temperature=tuned.temperature)


def _compared(metric: str, target: Array, scores: Sequence[Array], name: str, recipe: Recipe) -> Comparison:
    options = recipe.evaluation
    return evaluation.compare(
        metric,
        target,
        scores[0],
        scores[1],
        baseline=name,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=recipe.seed,
    )


def _slices(examples: Sequence[Example], tuned: Tuned) -> Iterator[tuple[str, Array]]:
    """The rows of one label, or of one group, where there are enough and not all are."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        if tuned.answers.kind == "classes":
            places[f"label {example.target}"].append(place)
        if example.group is not None:
            places[f"group {example.group}"].append(place)
    enough = {name: found for name, found in places.items() if _FEWEST <= len(found) < len(examples)}
    for name in sorted(enough, key=lambda name: (-len(enough[name]), name))[:_MOST]:
        yield name, np.asarray(enough[name])


def _corrected(slices: Sequence[Slice]) -> Iterator[Slice]:
    """The slices with the p that Holm's steps leave: the chance that any of so many shows as much."""
    largest = 0.0
    ordered = sorted(slices, key=lambda each: each.comparison.p)
    for step, each in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - step) * each.comparison.p))
        yield replace(each, comparison=replace(each.comparison, p=largest))


def _verdict(found: Comparison, first: str, second: str, rows: int) -> str:
    """One plain sentence."""
    metric = spoken(found.metric)
    if not np.isfinite(found.p):
        return f"{metric} is undefined on these {rows:,} rows"
    pair = f"{metric} {found.tuned_value:.3f} for {first}, {found.baseline_value:.3f} for {second}, p = {found.p:.2g}"
    if found.p >= SIGNIFICANT:
        return f"no difference that {rows:,} rows could show: {pair}"
    return f"{first if found.difference > 0 else second} is better: {pair}"
