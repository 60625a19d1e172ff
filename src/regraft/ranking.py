"""Which pretrained model, or which layer of one, suits a task: told from stored features, before anything is tuned.

The linear probe decides. kNN, LogME, H-score and size stand beside it, with how far they agree. Only training and
validation rows are looked at: to choose a model by the test rows would spoil them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regraft import evaluation, pretrained
from regraft.data import Example
from regraft.device import require_memory
from regraft.errors import RecipeError
from regraft.evaluation import Comparison, Estimate
from regraft.evaluation.comparisons import SIGNIFICANT
from regraft.evaluation.transferability import agreement, h_score, log_me, nearest_neighbours
from regraft.fingerprint import draw
from regraft.frozen import UNFIT, Subject, Tap, chain_of, depth_taps, features, store_root
from regraft.pretrained import Anatomy, Pretrained
from regraft.probing import folds, output_features
from regraft.recipe import Recipe
from regraft.sources import make_rows, model_options, open_model, read_data
from regraft.tasks import Answers, Encoded, Kind, Task, make_task
from regraft.training import Poll, choose_device

ROWS = 2_000

Array = NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """A model, or a depth of one, and what was found.

    ``parameters`` of the backbone, up to that depth. ``comparison`` is the best one's probe against this one's on the
    same rows; None for the best itself. ``as_good``: no difference to the best could be shown. ``h_score`` is None
    where answers are not classes.
    """

    name: str
    parameters: int
    probe: Estimate
    knn: float
    neighbours: int | None
    log_me: float
    h_score: float | None
    comparison: Comparison | None = None
    as_good: bool = True


@dataclass(frozen=True)
class Pass:
    """What the features of one model cost; ``computed`` is False where all of them were in the store."""

    model: str
    depths: int
    rows: int
    seconds: float
    computed: bool


@dataclass(frozen=True)
class Ranking:
    """The candidates in the order of the probe (depths: from the bottom up), and what follows.

    ``recommended`` is the smallest of those that are as good as the best. ``agreement`` is Kendall's tau of each score
    with the probe; None where it cannot be told. ``train_rows`` were taken of ``of_rows``.
    """

    of: Literal["models", "layers"]
    metric: str
    higher_is_better: bool
    confidence: float
    candidates: tuple[Candidate, ...]
    best: str
    recommended: str
    agreement: dict[str, float | None]
    train_rows: int
    of_rows: int
    judged_rows: int
    judged_on: Literal["validation", "cross-validation"]
    passes: tuple[Pass, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is undefined is null."""
        content: dict[str, Any] = evaluation.to_json(self)
        return content


def rank_models(
    recipe: Recipe, models: Sequence[str], *, rows: int = ROWS, poll: Poll = lambda: None
) -> Iterator[str | Ranking]:
    """Rank pretrained models for the task and data of a recipe.

    Args:
        models: folders, hub ids or packaged models. All are checked and opened before the first is computed.
        rows: of the training rows, and of the validation rows, at most so many are looked at.
        poll: called before each pass; may raise to stop.

    Yields:
        What is being done; at last the ranking.

    Raises:
        RecipeError, DataError, ResourceError, RefusedError: a model or the data does not fit.
    """
    started = time.perf_counter()
    _require_several(models)
    recipes = [_with_model(recipe, name) for name in models]
    for each in recipes:
        pretrained.model_folder(each.model)
    trial = _read(recipe, rows)
    for each in recipes:
        yield f"opening {each.model.name}"
        open_model(each, trial.task, trial.answers)
    found, passes = [], []
    for each in recipes:
        yield f"{each.model.name}: {len(trial.examples):,} rows"
        of_one, spent = _whole(each, trial, poll)
        found.append(of_one)
        passes.append(spent)
    candidates = sorted(_compared(trial, found), key=lambda each: -trial.worth(each.probe.value))
    yield _ranking("models", trial, candidates, passes, started)


def rank_layers(recipe: Recipe, *, rows: int = ROWS, poll: Poll = lambda: None) -> Iterator[str | Ranking]:
    """Rank the depths of the recipe's model: the mean of each example's rows behind every block. One pass for all.

    Yields:
        What is being done; at last the ranking.

    Raises:
        RecipeError, DataError, ResourceError, RefusedError: the model or the data does not fit.
    """
    started = time.perf_counter()
    recipe = _with_model(recipe, model_options(recipe, make_task(recipe.task)).name)
    pretrained.model_folder(recipe.model)
    trial = _read(recipe, rows)
    opened = open_model(recipe, trial.task, trial.answers)
    count = len(chain_of(opened.anatomy))
    if count == 0:
        raise RecipeError(
            f"model {recipe.model.name} has no blocks that follow one another, so it has no depths",
            fix="rank it as a whole, beside others: --models",
        )
    yield f"{recipe.model.name}: {len(trial.examples):,} rows at {count} depths"
    of_depths, spent = _seen(opened, recipe, trial, poll, all_depths=True)
    names = [*(f"blocks[{index}]" for index in range(count)), "output"][: len(of_depths)]
    sizes = _sizes(opened.anatomy)
    found = []
    for name, seen, size in zip(names, of_depths, [*sizes[:count], sizes[-1]], strict=False):
        poll()
        found.append(_scored(trial, seen, name, size))
    yield _ranking("layers", trial, _compared(trial, found), [spent], started)


def _whole(recipe: Recipe, trial: _Trial, poll: Poll) -> tuple[_Found, Pass]:
    """One model, which is let go of at the end: two need not be in memory together."""
    opened = open_model(recipe, trial.task, trial.answers)
    (seen,), spent = _seen(opened, recipe, trial, poll, all_depths=False)
    return _scored(trial, seen, recipe.model.name, _sizes(opened.anatomy)[-1]), spent


def _require_several(models: Sequence[str]) -> None:
    if len(models) < 2:
        raise RecipeError(
            "there is nothing to compare: fewer than two models are named",
            fix="name several: --models minilm ./my-bert; or see which layer of one is best: --layers",
        )
    twice = next((name for place, name in enumerate(models) if name in models[:place]), None)
    if twice is not None:
        raise RecipeError(f"model {twice} is named twice", fix="name each once")


def _with_model(recipe: Recipe, name: str) -> Recipe:
    """The recipe with another model and a head that every backbone takes: only the backbone is looked at."""
    revision = recipe.model.revision if name == recipe.model.name else None
    model = recipe.model.model_copy(update={"name": name, "head": "mean", "revision": revision})
    return recipe.model_copy(update={"model": model})


# The rows


@dataclass(frozen=True)
class _Trial:
    """What all candidates are asked: ``examples`` are the training rows, and then those that are judged on, if any.

    ``fold`` of each training row, where there are no others to judge on.
    """

    recipe: Recipe
    task: Task
    answers: Answers
    metric: str
    examples: list[Example]
    target: Array
    train: int
    of_rows: int
    fold: Array | None

    @property
    def kind(self) -> Kind:
        return self.answers.kind

    @property
    def judged(self) -> Array:
        """What is right for the rows that are judged on."""
        return self.target[self.train :] if self.fold is None else self.target

    def worth(self, value: float) -> float:
        """A value of the metric, turned so that more is better; the least there is where it is undefined."""
        higher = evaluation.find_metric(self.metric, self.kind).higher_is_better
        return (value if higher else -value) if np.isfinite(value) else -np.inf


def _read(recipe: Recipe, rows: int) -> _Trial:
    """Samples of the training and the validation rows."""
    task = make_task(recipe.task)
    splits, answers = read_data(recipe, task)
    if answers.kind not in evaluation.PROBED:
        raise RecipeError(
            f"{recipe.task.name} has many answers an example; ranking is for those with one",
            fix="rank the models for image-classification of the same pictures, or tune with each",
        )
    metric = evaluation.find_metric(recipe.evaluation.primary or task.primary, answers.kind).name
    sides = [_sample(side, task, answers, rows, recipe.seed) for side in (splits.train, splits.validation)]
    examples = [example for side in sides for example in side]
    target = np.asarray([task.targets.value(example, answers) for example in examples])
    fold = None if sides[1] else folds(examples, target, recipe.seed)
    return _Trial(recipe, task, answers, metric, examples, target, len(sides[0]), len(splits.train), fold)


def _sample(examples: Sequence[Example], task: Task, answers: Answers, rows: int, seed: int) -> list[Example]:
    """At most ``rows`` of them, with the shares of all classes and the spread of all numbers, in their order."""
    if len(examples) <= rows:
        return list(examples)

    def place(number: int) -> tuple[Any, int]:
        example = examples[number]
        value = np.atleast_1d(task.targets.value(example, answers)).tolist()
        return value, draw("rank rows", seed, example.id)

    ordered = sorted(range(len(examples)), key=place)
    chosen = {ordered[int((step + 0.5) * len(ordered) / rows)] for step in range(rows)}
    return [example for number, example in enumerate(examples) if number in chosen]


# The features


def _sizes(anatomy: Anatomy) -> list[int]:
    """The parameters up to each depth, the last of them those of the whole backbone."""
    stem, *blocks = (sum(anatomy.sizes[name] for name in part) for part in (anatomy.stem, *anatomy.blocks))
    follows = sum(anatomy.sizes[name] for name in anatomy.tail if name not in anatomy.unused)
    return list(accumulate([*blocks, follows], initial=stem))[1:]


def _seen(
    opened: Pretrained, recipe: Recipe, trial: _Trial, poll: Poll, *, all_depths: bool
) -> tuple[list[NDArray[np.float32]], Pass]:
    """What leaves a model at all depths, or at last alone, each [n, width]; and what that cost."""
    started, computed = time.perf_counter(), False

    def count() -> None:  # called before each pass through the model, so never where all rows are stored
        nonlocal computed
        computed = True
        poll()

    poll()
    device = choose_device(recipe.training.precision, model=opened.model)
    opened.model.to(device.device)
    subject = Subject(opened.model, opened.anatomy, trial.task.inputs, opened.processor, device)
    encoded = make_rows(trial.examples, trial.task, trial.answers, opened).encoded
    if all_depths:
        found = _at_all_depths(subject, encoded, recipe, count)
    else:
        found = [output_features(subject, encoded, recipe, count)]
    seconds = time.perf_counter() - started
    return found, Pass(recipe.model.name, len(found), len(encoded), seconds, computed)


def _at_all_depths(
    subject: Subject, encoded: Sequence[Encoded], recipe: Recipe, poll: Poll
) -> list[NDArray[np.float32]]:
    try:
        return features(subject, encoded, distinct_depths(subject), recipe.cache, root=store_root(), poll=poll)
    except UNFIT as error:
        require_memory(error)
        raise RecipeError(
            f"the depths of {recipe.model.name} cannot be told apart: {error}",
            fix="rank it as a whole, beside others: --models",
        ) from error


def distinct_depths(subject: Subject) -> list[Tap]:
    """All depths; what leaves the last block is not one beside the output where nothing follows the blocks."""
    *blocks, output = depth_taps(subject)
    follows = set(subject.anatomy.tail) - subject.anatomy.unused
    return [*(blocks if follows else blocks[:-1]), output]


# The scores


@dataclass(frozen=True)
class _Found:
    """A candidate, and what its probe says of the rows that are judged on."""

    candidate: Candidate
    scores: NDArray[np.float64]


def _scored(trial: _Trial, seen: Array, name: str, parameters: int) -> _Found:
    """All scores of one set of features [n, width]."""
    kind, classes, train = trial.kind, trial.answers.width, trial.train
    own, target = seen[:train], trial.target[:train]
    scores = _probed(trial, seen)
    options = trial.recipe.evaluation
    probe = evaluation.bootstrap(
        [trial.metric],
        trial.judged,
        scores,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=trial.recipe.seed,
    )[trial.metric]
    knn, neighbours = nearest_neighbours(kind, own, target, classes=classes, metric=trial.metric)
    evidence = log_me(kind, own, target, classes=classes)
    separation = h_score(own, target) if kind == "classes" else None
    return _Found(Candidate(name, parameters, probe, knn, neighbours, evidence, separation), scores)


def _probed(trial: _Trial, seen: Array) -> NDArray[np.float64]:
    """What a linear probe says of the validation rows or, where there are none, of each training row unseen."""
    kind, classes, seed, target, train = trial.kind, trial.answers.width, trial.recipe.seed, trial.target, trial.train
    if trial.fold is None:
        return evaluation.linear_probe(kind, seen[:train], target[:train], seen[train:], seed=seed, classes=classes)
    return evaluation.probe_unseen(kind, seen, target, trial.fold, seed=seed, classes=classes)


def _compared(trial: _Trial, found: Sequence[_Found]) -> list[Candidate]:
    """Each beside the best by the probe, on the same rows.

    The best was picked after the fact, so every p has to hold for as many comparisons as were made (Bonferroni).
    """
    best = max(found, key=lambda each: trial.worth(each.candidate.probe.value))
    options = trial.recipe.evaluation
    judged = []
    for each in found:
        if each is best:
            judged.append(each.candidate)
            continue
        comparison = evaluation.compare(
            trial.metric,
            trial.judged,
            best.scores,
            each.scores,
            baseline=each.candidate.name,
            resamples=options.resamples,
            confidence=options.confidence,
            seed=trial.recipe.seed,
        )
        corrected = min(1.0, comparison.p * (len(found) - 1)) if np.isfinite(comparison.p) else comparison.p
        judged.append(
            replace(
                each.candidate,
                comparison=replace(comparison, p=corrected),
                as_good=bool(np.isfinite(each.candidate.probe.value)) and not corrected < SIGNIFICANT,
            )
        )
    return judged


def _ranking(
    of: Literal["models", "layers"],
    trial: _Trial,
    candidates: Sequence[Candidate],
    passes: Sequence[Pass],
    started: float,
) -> Ranking:
    worths = [trial.worth(each.probe.value) for each in candidates]
    scores: dict[str, list[float | None]] = {
        "knn": [trial.worth(each.knn) for each in candidates],
        "log_me": [each.log_me for each in candidates],
        "h_score": [each.h_score for each in candidates],
        "size": [float(each.parameters) for each in candidates],
    }
    return Ranking(
        of=of,
        metric=trial.metric,
        higher_is_better=evaluation.find_metric(trial.metric, trial.kind).higher_is_better,
        confidence=trial.recipe.evaluation.confidence,
        candidates=tuple(candidates),
        best=next(each.name for each in candidates if each.comparison is None),
        recommended=min((each for each in candidates if each.as_good), key=lambda each: each.parameters).name,
        agreement={name: agreement(values, worths) for name, values in scores.items()},
        train_rows=trial.train,
        of_rows=trial.of_rows,
        judged_rows=len(trial.judged),
        judged_on="validation" if trial.fold is None else "cross-validation",
        passes=tuple(passes),
        seconds=time.perf_counter() - started,
    )
