"""``strategy: auto``: what there is to go by before a strategy is chosen, and the recipe with the one that was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regraft import evaluation
from regraft.data import Example, Splits
from regraft.data.batches import passes
from regraft.device import require_memory
from regraft.errors import DataError, RecipeError
from regraft.fingerprint import draw
from regraft.frozen import UNFIT, Subject, at_rest
from regraft.pretrained import Pretrained
from regraft.probing import folds, output_features
from regraft.recipe import Recipe, RegularizationOptions, StrategyOptions
from regraft.sources import default_epochs, make_rows, open_model, usual_head
from regraft.strategies import Names, Probe, Signs, has_readout, make_strategy, strategy_class
from regraft.tasks import Answers, Task
from regraft.training import Device, Poll, Rows, choose_device

_PROBED = 512  # training rows that a probe looks at, at most
_FEWEST = 3  # epochs that a limit of time leaves
_PLAIN, _FITTED = StrategyOptions(), StrategyOptions(name="logistic")  # for the head that such a strategy takes


def chosen(
    recipe: Recipe, task: Task, splits: Splits, answers: Answers, *, poll: Poll
) -> tuple[Recipe, Task, str | None]:
    """The recipe with a strategy that says what trains, the task, and why this was taken; None where the recipe itself
    says it.

    What is asked for beside the options of the strategy stays: patterns, epochs, head.

    Raises:
        RecipeError, ResourceError: the model cannot be tried.
    """
    strategy = make_strategy(recipe.strategy)
    if not strategy.chooses:
        return recipe, task, None
    if recipe.model.bits is not None:
        raise RecipeError(
            f"strategy {recipe.strategy.name} takes none that goes with model.bits = {recipe.model.bits}",
            fix="name one that puts something in, such as lora, or leave model.bits out",
        )
    trial = _Trial(recipe, task, splits.train, answers, poll)
    choice = strategy.choice(trial.signs())
    patterns = {"freeze": recipe.strategy.freeze, "train": recipe.strategy.train}
    taken = {
        "strategy": StrategyOptions(name=choice.strategy, **patterns, **choice.options),
        "training": recipe.training.model_copy(update={"epochs": recipe.training.epochs or choice.epochs}),
        "model": recipe.model.model_copy(update={"head": trial.head}),
    }
    named = trial.by_name if choice.names else None
    return recipe.model_copy(update=taken), named or task, choice.reason


class _Trial:
    """The training examples, and a model that is opened, and asked, only where a strategy wants to know."""

    def __init__(self, recipe: Recipe, task: Task, examples: Sequence[Example], answers: Answers, poll: Poll) -> None:
        self._recipe, self._task, self._answers, self._poll = recipe, task, answers, poll
        self._examples = sorted(examples, key=lambda each: draw("tried", recipe.seed, each.id))

    def signs(self) -> Signs:
        """What a strategy goes by."""
        kind, count, training = self._answers.kind, len(self._examples), self._recipe.training
        epochs = training.epochs or default_epochs(count, training.batch_size)
        values = [self._task.targets.value(each, self._answers) for each in self._examples] if kind == "classes" else []
        return Signs(
            kind=kind,
            rows=count,
            rarest=int(np.bincount(values, minlength=self._answers.width).min()) if values else count,
            epochs=epochs,
            fewest=training.epochs or min(_FEWEST, epochs),
            an_epoch=-(-count // training.batch_size),
            fitted=self._fitted,
            pairs=self._task.inputs.compared
            and bool(values)
            and training.batch_size > 1
            and int(np.bincount(values).max()) > 1,
            probe=self._probe,
            names=self._names,
            blocks=lambda: len(self._opened.anatomy.blocks),
            seconds=self._seconds,
        )

    @property
    def head(self) -> str:
        """The head that what is chosen takes."""
        asked = self._recipe.model.head
        return usual_head(self._task, strategy_class(_FITTED if self._fitted else _PLAIN)) if asked == "auto" else asked

    @cached_property
    def _fitted(self) -> bool:
        """Whether the last layer of a head can be fitted, and nothing is asked for that only the task's loss obeys."""
        training = self._recipe.training
        by_loss = (
            training.regularization != RegularizationOptions()
            or training.average is not None
            or training.interpolate is not None
            or bool(self._recipe.strategy.train)
        )
        return (
            not by_loss
            and self._answers.kind in evaluation.PROBED
            and self._with_readout is not None
            and has_readout(self._with_readout.anatomy)
        )

    @cached_property
    def _with_readout(self) -> Pretrained | None:
        """The model with the head of a strategy that fits the last layer; None where it takes none such."""
        try:
            return self._open(_FITTED)
        except RecipeError:
            return None

    @cached_property
    def _opened(self) -> Pretrained:
        found = self._with_readout if self._fitted else None
        return found or self._open(_PLAIN)

    def _open(self, strategy: StrategyOptions) -> Pretrained:
        self._poll()
        return open_model(self._recipe.model_copy(update={"strategy": strategy}), self._task, self._answers)

    @cached_property
    def _device(self) -> Device:
        device = choose_device(self._recipe.training.precision, model=self._opened.model)
        self._opened.model.to(device.device)
        return device

    def _rows(self, count: int) -> Rows:
        """The first few, in the order that the seed draws."""
        return make_rows(self._examples[:count], self._task, self._answers, self._opened)

    @cached_property
    def _probed(self) -> Rows:
        """At most ``_PROBED`` of them."""
        return self._rows(_PROBED)

    @cached_property
    def _said(self) -> NDArray[np.float32]:
        """What the backbone says of the rows that are probed, [n, f]."""
        return self._features(self._probed)

    def _probe(self) -> Probe | None:
        """A linear probe of the rows that are probed, judged in folds; None where no two of them may be parted."""
        answers, seed, rows = self._answers, self._recipe.seed, self._probed
        target = np.asarray(rows.values)
        try:
            fold = folds(rows.examples, target, seed)
        except DataError:
            return None
        width = answers.width
        scores = evaluation.probe_unseen(answers.kind, self._said, target, fold, seed=seed, classes=width)
        metric = "r2" if answers.kind == "numbers" else "accuracy"
        value, without = (
            evaluation.measure([metric], target, said)[metric]
            for said in (scores, evaluation.majority(answers.kind, target, len(target), width))
        )
        return Probe(metric, len(target), value, without)

    @cached_property
    def by_name(self) -> Task | None:
        """The task as it also learns from the names of the classes; None where that is no question."""
        return self._task.by_name(self._answers, self._examples)

    def _names(self) -> Names | None:
        """What the names tell of the rows that are probed: how much more alike to its sentences than to the others'."""
        if self.by_name is None:
            return None
        stated = self.by_name.stated(self._answers, self._examples)
        named = make_rows(stated, self._task, self._answers, self._opened)
        given, said = _directions(self._said), _directions(self._features(named))
        classes = range(self._answers.width)
        alike = given @ np.stack([said[np.asarray(named.values) == place].mean(axis=0) for place in classes]).T
        alike -= alike.mean(axis=1, keepdims=True)
        auc = evaluation.measure(["auc"], np.asarray(self._probed.values), alike)["auc"]
        return None if auc is None or np.isnan(auc) else Names(auc, len(stated))

    def _features(self, rows: Rows) -> NDArray[np.float32]:
        opened = self._opened
        subject = Subject(opened.model, opened.anatomy, self._task.inputs, opened.processor, self._device)
        return output_features(subject, rows.encoded, self._recipe, self._poll)

    def _seconds(self) -> float:
        """Of an epoch in which all trains, as the second of two passes over a batch took.

        Raises:
            RecipeError, OutOfMemoryError: the model cannot learn from these rows.
        """
        options = self._recipe.training
        rows = self._rows(options.batch_size)
        try:
            with torch.random.fork_rng(devices=self._device.generators), at_rest(self._opened.model):
                spent = [self._pass(rows) for _ in range(2)]
        except UNFIT as error:
            require_memory(error)
            raise RecipeError(
                f"model {self._opened.folder} cannot learn from the first rows: {str(error).strip().splitlines()[0]}",
                fix="see whether it fits the task",
            ) from error
        return spent[-1] * len(self._examples) / len(rows.encoded)

    def _pass(self, rows: Rows) -> float:
        """Seconds that the rows take forward and back, through everything."""
        opened, task, device, options = self._opened, self._task, self._device, self._recipe.training
        loss = task.targets.loss(self._answers, rows.values, opened.config)
        learns = [value for value in opened.model.parameters() if value.requires_grad]
        limits: dict[str, Any] = {"accumulation": 1, "max_tokens": options.max_tokens, "alike": rows.alike}
        begun = _now(device)
        for places in passes(range(len(rows.encoded)), rows.lengths, **limits):
            self._poll()
            batch = rows.batch(places, task, self._answers, opened.processor)
            with device.computing():
                losses = loss.function(opened.model(**device.move(batch.inputs)), batch.target.to(device.device))
                torch.autograd.grad(losses.sum(), learns, allow_unused=True)
        return _now(device) - begun


def _directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features, [n, f], brought to length 1."""
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def _now(device: Device) -> float:
    """The time, once the device has done what it was given."""
    if device.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()
