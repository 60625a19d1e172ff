"""A trial: train as a recipe asks, and score on the validation rows. No test row is looked at and nothing is saved."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from regraft import evaluation
from regraft.errors import DataError, NotFiniteError, RecipeError
from regraft.fingerprint import digest
from regraft.frozen import Execution
from regraft.preparation import Prepared, augmented, looked, phased, prepare, require_regularization
from regraft.recipe import Recipe, RegularizationOptions, StrategyOptions, TrainingOptions
from regraft.sources import as_read, default_epochs, model_options
from regraft.strategies import make_strategy, require_kind
from regraft.tasks import NAMES, make_task
from regraft.training import Poll, Verdict
from regraft.tuning import make_loop, make_validator

_KEPT = 2  # untouched models in memory


@dataclass(frozen=True)
class Finding:
    """The score of a trial's best epoch on the validation rows, with its interval over these rows.

    ``signed`` is larger for better; ``tie`` decides between equals.
    """

    value: float
    low: float | None
    high: float | None
    signed: float
    tie: float
    epoch: float
    step: int
    seconds: float


class Bench:
    """Where trials are made. Data are read and a model is opened once for all trials that share them."""

    def __init__(self, *, poll: Poll = lambda: None) -> None:
        self._poll = poll
        self._untouched: dict[str, Prepared] = {}
        self._data: str | None = None
        self._ways: dict[str, dict[int, dict[str, Any]]] = {}

    def prepared(self, recipe: Recipe) -> Prepared:
        """As ``preparation.prepare`` does, with a copy of what trains; frozen weights are those of the shared model."""
        recipe = _with_its_head(recipe)
        untouched = self.untouched(recipe)
        require_kind(recipe.strategy, untouched.answers.kind)
        opened = untouched.pretrained
        training = recipe.training
        epochs = training.epochs or default_epochs(len(untouched.splits.train), training.batch_size)
        strategy = make_strategy(recipe.strategy, head_rate=opened.head_rate)
        shared = {id(value): value for value in opened.model.parameters()}
        model = replace(opened, model=copy.deepcopy(opened.model, shared))
        model = strategy.graft(model, seed=recipe.seed, rows=len(untouched.splits.train))
        rows, task, answers = replace(untouched.rows, views=()), untouched.task, untouched.answers
        rows = as_read(rows, task, answers, model)
        strategy = strategy.settled(partial(looked, model, task, answers, rows, untouched.loss, seed=recipe.seed))
        model, chosen = phased(model, strategy, recipe, answers, epochs=epochs)
        _own(model.model, frozenset[str]().union(*(phase.trainable for phase in chosen)))
        validation = bool(untouched.splits.validation)
        require_regularization(recipe, task, answers, model, chosen, rows, validation=validation)
        epochs = sum(phase.epochs for phase in chosen)
        rows, _ = augmented(rows, task, recipe, answers, model, epochs=epochs)
        return replace(untouched, recipe=recipe, pretrained=model, phases=chosen, rows=rows)

    def untouched(self, recipe: Recipe) -> Prepared:
        """Everything that does not depend on how is tuned. Nobody changes it."""
        recipe = _with_its_head(recipe)
        key = digest(
            [
                recipe.model_dump(mode="json", include={"task", "model", "data", "seed", "evaluation", "augmentation"}),
                recipe.training.precision,
            ]
        )
        if key not in self._untouched:
            while len(self._untouched) >= _KEPT:
                del self._untouched[next(iter(self._untouched))]
            plain = recipe.model_copy(update={"strategy": StrategyOptions(), "training": _plain(recipe.training)})
            prepared = prepare(plain, poll=self._poll)
            if self._data is not None:
                self.require_data(prepared, self._data)
            self._untouched[key] = prepared
        return self._untouched[key]

    def require_data(self, prepared: Prepared, expected: str) -> None:
        """See that the data are those the sweep began with, now and whenever they are read again.

        Raises:
            DataError: they are not.
        """
        self._data = expected
        if data_digest(prepared) != expected:
            raise DataError(
                f"{prepared.recipe.data.train} has changed since the sweep began: its trials could not be compared",
                fix="put it back as it was, or begin another sweep with name=…",
            )

    def ways(self, prepared: Prepared) -> dict[int, dict[str, Any]]:
        """How the phases of such a trial are computed: proved by the first that trains the same of the same model."""
        recipe = prepared.recipe
        trained = [sorted(phase.trainable) for phase in prepared.phases]
        asked = recipe.model_dump(mode="json", include={"task", "model", "data", "augmentation", "cache"})
        return self._ways.setdefault(digest([asked, prepared.device.precision, trained]), {})


def _own(model: nn.Module, names: Collection[str]) -> None:
    """Give a model that shares its weights with another one copies of those that it will train."""
    copies: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if (f"{path}.{name}" if path else name) in names:
                copies.setdefault(id(value), copy.deepcopy(value))
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if id(value) in copies:
                module.register_parameter(name, copies[id(value)])


def run_trial(bench: Bench, recipe: Recipe, stop: Poll) -> Finding:
    """Train and score. Nothing is written but rows of the store.

    Raises:
        Interrupted: a signal came; nothing is left of the trial.
        TrainingError: it could not go on.
        RecipeError, DataError: the recipe does not fit.
    """
    begun = time.monotonic()
    _require_one_epoch(recipe)
    prepared = bench.prepared(_economical(recipe))
    watched = _Watched(make_validator(prepared, stop))
    best: dict[str, Any] = {}
    for event in make_loop(prepared, None, validate=watched, known=bench.ways(prepared), stop=stop).events():
        if event.name == "validation" and event.values["best"]:
            best, watched.best = event.values, watched.last
    if watched.best is None:
        raise NotFiniteError("no epoch could be scored", fix="lower strategy.learning_rate")
    estimate = _estimate(prepared, watched.best)
    return Finding(
        value=estimate.value,
        low=estimate.low if np.isfinite(estimate.low) else None,
        high=estimate.high if np.isfinite(estimate.high) else None,
        signed=watched.best.score,
        tie=watched.best.tie,
        epoch=best["epoch"],
        step=best["step"],
        seconds=round(time.monotonic() - begun, 3),
    )


def data_digest(prepared: Prepared) -> str:
    """The hash of what the tables hold to learn from and to be scored on: a sweep that goes on must find the same."""
    sides = (prepared.splits.train, prepared.splits.validation)
    return digest([[example.known for example in side if example.file != NAMES] for side in sides])


class _Watched:
    """A validator that keeps its last verdict, and the best."""

    def __init__(self, validate: Callable[[Execution], Verdict] | None) -> None:
        assert validate is not None
        self._validate = validate
        self.last: Verdict | None = None
        self.best: Verdict | None = None

    def __call__(self, execution: Execution) -> Verdict:
        self.last = self._validate(execution)
        return self.last


def _with_its_head(recipe: Recipe) -> Recipe:
    """The recipe with the model's name and head spelled out: the strategy decides the latter."""
    return recipe.model_copy(update={"model": model_options(recipe, make_task(recipe.task))})


def _plain(training: TrainingOptions) -> TrainingOptions:
    """What of the training is asked before it is known how is tuned: nothing that acts on the weights."""
    return training.model_copy(update={"regularization": RegularizationOptions(), "average": None, "interpolate": None})


def _require_one_epoch(recipe: Recipe) -> None:
    """See that a trial is worth what its best epoch is.

    Raises:
        RecipeError: its weights would be averaged.
    """
    for name in ("average", "interpolate"):
        value = getattr(recipe.training, name)
        if value is not None:
            raise RecipeError(
                f"training.{name} = {value}, and a trial is scored by its best epoch, whose weights stay as they are",
                fix="leave it out of the sweep, and set it when you tune with what was found",
            )


def _economical(recipe: Recipe) -> Recipe:
    """The same training, its rows kept for the other trials."""
    kept = "never" if recipe.cache.store == "never" else "always"
    cache = recipe.cache.model_copy(update={"store": kept})
    return recipe.model_copy(update={"cache": cache})


def _estimate(prepared: Prepared, verdict: Verdict) -> evaluation.Estimate:
    """The deciding score with its bootstrap interval over the validation rows."""
    assert verdict.logits is not None
    kind, answers, options = prepared.answers.kind, prepared.answers, prepared.recipe.evaluation
    values = [prepared.task.targets.value(example, answers) for example in prepared.splits.validation]
    told = prepared.task.targets.told(verdict.logits, answers, prepared.pretrained.processor)
    target, said = prepared.task.targets.judged(values, told, answers)
    scores: NDArray[Any] = evaluation.probabilities(said, kind)
    sampling = {"resamples": options.resamples, "confidence": options.confidence, "seed": 0}
    found = evaluation.bootstrap([prepared.primary], target, scores, **sampling)  # type: ignore[arg-type]
    return found[prepared.primary]
