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
from regraft.fingerprint import draw
from regraft.frozen import Subject, at_rest
from regraft.pretrained import Pretrained
from regraft.probing import output_features
from regraft.recipe import Recipe, StrategyOptions
from regraft.sources import default_epochs, make_rows, open_model
from regraft.strategies import Probe, Signs, has_readout, make_strategy
from regraft.tasks import Answers, Task
from regraft.training import Device, Poll, choose_device

_PROBED = 512  # training rows that a probe looks at, at most
_FEWEST = 3  # epochs that a limit of time leaves


def chosen(recipe: Recipe, task: Task, splits: Splits, answers: Answers, *, poll: Poll) -> tuple[Recipe, str | None]:
    """The recipe with a strategy that says what trains, and why it was taken; None where the recipe itself says it.

    What is asked for beside the options of the strategy stays: patterns, epochs, head.

    Raises:
        RecipeError, ResourceError: the model cannot be tried.
    """
    strategy = make_strategy(recipe.strategy)
    if not strategy.chooses:
        return recipe, None
    choice = strategy.choice(_Trial(recipe, task, splits.train, answers, poll).signs())
    patterns = {"freeze": recipe.strategy.freeze, "train": recipe.strategy.train}
    options = StrategyOptions(name=choice.strategy, **patterns, **choice.options)
    training = recipe.training.model_copy(update={"epochs": recipe.training.epochs or choice.epochs})
    return recipe.model_copy(update={"strategy": options, "training": training}), choice.reason


class _Trial:
    """The training examples, and a model that is opened, and asked, only where a strategy wants to know."""

    def __init__(self, recipe: Recipe, task: Task, examples: Sequence[Example], answers: Answers, poll: Poll) -> None:
        self._recipe = recipe.model_copy(update={"strategy": StrategyOptions()})  # its head is that of most strategies
        self._task, self._answers, self._poll = task, answers, poll
        self._examples = sorted(examples, key=lambda each: draw("tried", recipe.seed, each.id))

    def signs(self) -> Signs:
        """What a strategy goes by."""
        kind, count, training = self._answers.kind, len(self._examples), self._recipe.training
        epochs = training.epochs or default_epochs(count, training.batch_size)
        return Signs(
            kind=kind,
            rows=count,
            rarest=int(np.bincount(self._values(self._examples)).min()) if kind == "classes" else count,
            epochs=epochs,
            fewest=training.epochs or min(_FEWEST, epochs),
            an_epoch=-(-count // training.batch_size),
            fitted=kind in evaluation.PROBED and self._has_readout(),
            probe=self._probe,
            blocks=lambda: len(self._opened.anatomy.blocks),
            seconds=self._seconds,
        )

    def _has_readout(self) -> bool:
        """Where no head is asked for, a strategy that fits the last layer gets one that is nothing but that."""
        return self._recipe.model.head == "auto" or has_readout(self._opened.anatomy)

    def _values(self, examples: Sequence[Example]) -> NDArray[Any]:
        return np.asarray([self._task.targets.value(each, self._answers) for each in examples])

    @cached_property
    def _opened(self) -> Pretrained:
        self._poll()
        return open_model(self._recipe, self._task, self._answers)

    @cached_property
    def _device(self) -> Device:
        device = choose_device(self._recipe.training.precision, model=self._opened.model)
        self._opened.model.to(device.device)
        return device

    def _probe(self) -> Probe:
        """A linear probe of at most ``_PROBED`` rows, by cross-validation."""
        opened, task, examples = self._opened, self._task, self._examples[:_PROBED]
        subject = Subject(opened.model, opened.anatomy, task.inputs, opened.processor, self._device)
        rows = make_rows(examples, task, self._answers, opened)
        metric = evaluation.find_metric(self._recipe.evaluation.primary or task.primary, self._answers.kind)
        value, without = evaluation.cross_validated_probe(
            self._answers.kind,
            output_features(subject, rows.encoded, self._recipe, self._poll),
            np.asarray(rows.values),
            metric=metric.name,
            seed=self._recipe.seed,
            classes=self._answers.width,
        )
        return Probe(metric.name, len(examples), value, without, metric.higher_is_better)

    def _seconds(self) -> float:
        """Of an epoch in which all trains, as the second of two passes over a batch took."""
        opened, task, device, options = self._opened, self._task, self._device, self._recipe.training
        rows = make_rows(self._examples[: options.batch_size], task, self._answers, opened)
        loss = task.targets.loss(self._answers, rows.values, opened.config)
        learns = [value for value in opened.model.parameters() if value.is_floating_point()]
        limits: dict[str, Any] = {"accumulation": 1, "max_tokens": options.max_tokens, "alike": rows.alike}
        cut = [*passes(range(len(rows.encoded)), rows.lengths, **limits)]
        spent = 0.0
        for _ in range(2):
            begun = time.perf_counter()
            for places in cut:
                self._poll()
                batch = rows.batch(places, task, self._answers, opened.processor)
                with torch.random.fork_rng(devices=device.generators), at_rest(opened.model), device.computing():
                    losses = loss.function(opened.model(**device.move(batch.inputs)), batch.target.to(device.device))
                    torch.autograd.grad(losses.sum(), learns, allow_unused=True)
            spent = time.perf_counter() - begun
        return spent * len(self._examples) / len(rows.encoded)
