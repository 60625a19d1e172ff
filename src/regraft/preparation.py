"""From a recipe to everything that a run needs, with nothing spent yet: data, model, loss, phases, and the plan."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft import evaluation, pretrained
from regraft.choosing import chosen
from regraft.data import Example, Splits
from regraft.data.table import read_header
from regraft.device import keep_freed_memory, require_memory
from regraft.errors import RecipeError
from regraft.frozen import UNFIT, Subject, known_norms, statistics_at_rest
from regraft.planning import Plan, parts_of
from regraft.pretrained import Pretrained
from regraft.recipe import AugmentationOptions, Recipe, StrategyOptions, TaskOptions
from regraft.sources import asked_augmentation, default_epochs, make_rows, model_options, open_model, read_data
from regraft.strategies import Phase, Strategy, make_strategy, phases, require_kind
from regraft.tasks import NAMES, Answers, Loss, Plain, Task, make_task
from regraft.training import (
    Device,
    Fit,
    Rows,
    choose_device,
    pair_loss,
    relative_gradients,
    remarks,
    require_fitting,
    require_mixed,
    total_steps,
)

_TRIED = 4  # examples on which is tried what a task asks beyond a plain pass
_FEW = 100  # test rows below which the plan says how little they tell apart


@dataclass(frozen=True)
class Prepared:
    """A run that could begin."""

    recipe: Recipe
    task: Task
    splits: Splits
    answers: Answers
    pretrained: Pretrained
    phases: list[Phase]
    loss: Loss
    device: Device
    rows: Rows
    primary: str
    plan: Plan
    pace: float = 0.0  # seconds of a unit of length, forward and back, as one example showed; 0 where none was tried

    def subject(self) -> Subject:
        """The model with what is needed to run it on examples."""
        opened = self.pretrained
        return Subject(opened.model, opened.anatomy, self.task.inputs, opened.processor, self.device)


def prepare(recipe: Recipe, *, poll: Callable[[], None] = lambda: None) -> Prepared:
    """Read the data, open the model, choose the loss and work out what will train.

    Args:
        poll: called between the stages; may raise to stop.

    Raises:
        RecipeError, DataError, ResourceError, RefusedError: whatever does not fit.
    """
    task, _ = make_task(recipe.task), make_strategy(recipe.strategy)  # before anything is spent
    pretrained.require_few_bits(recipe.model.bits)
    poll()
    glimpse = pretrained.Glimpse(model_options(recipe, task))
    task = task.settled(lambda: read_header(recipe.data.train, recipe.data), recipe.data.columns, glimpse)
    splits, answers = read_data(recipe, task)
    recipe, task, choice = chosen(recipe, task, splits, answers, poll=poll)
    splits = replace(splits, train=[*splits.train, *task.stated(answers, splits.train)])
    require_kind(recipe.strategy, answers.kind)
    primary = _primary(recipe, task, answers)
    poll()
    model = open_model(recipe, task, answers)
    strategy = make_strategy(recipe.strategy, head_rate=model.head_rate)
    model = strategy.graft(model, seed=recipe.seed, rows=len(splits.train))
    epochs = recipe.training.epochs or default_epochs(len(splits.train), recipe.training.batch_size)
    poll()
    rows = make_rows(splits.train, task, answers, model)
    loss = task.targets.loss(answers, rows.values, model.config)
    pace = 0.0
    if task.looks_first:
        model, pace = _looked_at(model, task, answers, rows, loss)
        task.prove(model.model, rows.encoded[:_TRIED], answers, model.processor)
    poll()
    strategy = strategy.settled(partial(looked, model, task, answers, rows, loss, seed=recipe.seed))
    model, stages = phased(model, strategy, recipe, answers, epochs=epochs)
    require_regularization(recipe, task, answers, model, stages, rows, validation=bool(splits.validation))
    rows, augmentation = augmented(rows, task, recipe, answers, model, epochs=sum(phase.epochs for phase in stages))
    device = choose_device(recipe.training.precision, model=model.model)
    if device.device.type == "cpu":
        keep_freed_memory()
    resolved = _resolved(recipe, task, strategy, device, epochs, augmentation)
    plan = replace(_plan(resolved, task, splits, model, stages, loss, device, rows), choice=choice)
    if chooses_by_loss(task, splits.validation, answers, primary):
        plan = replace(plan, notes=[*plan.notes, _told_of_the_loss(primary, len(splits.validation))])
    return Prepared(resolved, task, splits, answers, model, stages, loss, device, rows, primary, plan, pace)


def chooses_by_loss(task: Task, validation: Sequence[Example], answers: Answers, primary: str) -> bool:
    """Whether the deciding metric says nothing of these validation rows, so that the loss chooses among epochs."""
    if answers.kind not in evaluation.PROBED or not validation:
        return False
    target = np.asarray([task.targets.value(example, answers) for example in validation])
    return evaluation.says_nothing(primary, target, answers.width)


def looked(model: Pretrained, task: Task, answers: Answers, rows: Rows, loss: Loss, *, seed: int) -> dict[str, float]:
    """How strongly the task pulls each part of the model: see ``relative_gradients``."""
    return relative_gradients(model, task, answers, rows, loss, fit=fit_of(answers, seed=seed))


def fit_of(answers: Answers, *, seed: int) -> Fit | None:
    """How the last layer is fitted, as a linear probe is; None where an example has no single answer."""
    if answers.kind not in evaluation.PROBED:
        return None
    return partial(evaluation.linear_readout, answers.kind, seed=seed, classes=answers.width)


def phased(
    model: Pretrained, strategy: Strategy, recipe: Recipe, answers: Answers, *, epochs: int
) -> tuple[Pretrained, list[Phase]]:
    """What trains in which phase, of a model with all that the strategy puts into it; and the model, knowing that.

    Raises:
        RecipeError: the strategy does not fit the model, a pattern matches nothing, or what is to begin again would
            stay noise.
    """
    chosen = phases(strategy, model.anatomy, epochs=epochs, freeze=recipe.strategy.freeze, train=recipe.strategy.train)
    if any(phase.fitted for phase in chosen) and answers.kind not in evaluation.PROBED:
        raise RecipeError(
            f"a last layer is not fitted to {answers.kind}: there is no single answer for an example",
            fix="let strategy.probe be trained, or take another strategy",
        )
    trained = frozenset[str]().union(*(phase.trainable for phase in chosen))
    rounded = sorted(name for name in trained if not model.model.get_parameter(name).is_floating_point())
    if rounded:
        raise RecipeError(
            f"{rounded[0]} has {recipe.model.bits} bits a weight, and cannot be trained",
            fix="take a strategy that puts something in, such as lora, or leave model.bits out",
        )
    again = recipe.training.regularization.reinit
    if again is not None:
        model = pretrained.begun_again(model, again, [phase.trainable for phase in chosen], seed=recipe.seed)
    return pretrained.kept_beside(model, trained), chosen


def require_regularization(
    recipe: Recipe,
    task: Task,
    answers: Answers,
    model: Pretrained,
    chosen: Sequence[Phase],
    rows: Rows,
    *,
    validation: bool,
) -> None:
    """See that regularization and averages have something to act on.

    Args:
        validation: whether there are validation rows.

    Raises:
        RecipeError: they have not.
    """
    asked = recipe.training
    require_fitting(asked, answers.kind, model.model, model.anatomy, chosen, validation=validation)
    if asked.regularization.mixup is not None:
        few = range(min(2, len(rows.examples)))
        require_mixed(model.model, model.anatomy, rows.batch(few, task, answers, model.processor))


def _looked_at(model: Pretrained, task: Task, answers: Answers, rows: Rows, loss: Loss) -> tuple[Pretrained, float]:
    """The model with those parameters named that its loss does not depend on, as one example shows; and its pace.

    Raises:
        RecipeError: the model cannot read the example.
    """
    batch = rows.batch([0], task, answers, model.processor)
    place = next(model.model.parameters()).device
    inputs = {name: value.to(place) for name, value in batch.inputs.items()}

    def value() -> Tensor:
        return loss.function(model.model(**inputs), batch.target.to(place)).sum()

    try:
        with torch.random.fork_rng(devices=[]):
            with _training(model.model):  # some families have heads that only training asks
                idle = pretrained.idle(model.model, value)
            begun = time.perf_counter()
            idle &= pretrained.idle(model.model, value)
        pace = (time.perf_counter() - begun) / max(1, rows.lengths[0])
    except UNFIT as error:
        require_memory(error)
        raise RecipeError(
            f"model {model.folder} cannot learn from the first example: {str(error).strip().partition(chr(10))[0]}",
            fix="see whether it fits the task; another task.image_size may help",
        ) from error
    return replace(model, anatomy=replace(model.anatomy, unused=model.anatomy.unused | idle)), pace


@contextmanager
def _training(model: torch.nn.Module) -> Iterator[None]:
    """A model in train mode, its batch statistics at rest; eval mode is put back."""
    try:
        with statistics_at_rest(model.train()):
            yield
    finally:
        model.eval()


def augmented(
    rows: Rows, task: Task, recipe: Recipe, answers: Answers, model: Pretrained, *, epochs: int
) -> tuple[Rows, dict[str, Any]]:
    """The training rows with their augmented views, and the options of the augmentation spelled out.

    Where no number of views is asked for, every epoch has one of its own.

    Raises:
        RecipeError: the task has no augmentation, or no such option.
    """
    options = asked_augmentation(task, recipe)
    if options is None:
        return rows, {}
    options = task.augmentation_of(options)
    if options.off:
        return rows, _options(options)
    number = min(options.views or epochs, epochs)
    plain = Plain(rows.examples, rows.encoded, rows.values, answers, model)
    views = task.views(plain, options, seed=recipe.seed, number=number)
    return replace(rows, views=views), _options(options)


def _primary(recipe: Recipe, task: Task, answers: Answers) -> str:
    """The metric that decides, checked before anything is spent."""
    name = evaluation.find_metric(recipe.evaluation.primary or task.primary, answers.kind).name
    if name in task.unmeasured:
        raise RecipeError(
            f"evaluation.primary = {name}, and the options of the task leave nobody who measures it",
            fix=f"leave evaluation.primary out: {task.primary} then decides",
        )
    return name


def _resolved(
    recipe: Recipe, task: Task, strategy: Strategy, device: Device, epochs: int, augmentation: dict[str, Any]
) -> Recipe:
    """The recipe with every default spelled out, so that running it again gives the same weights."""
    task_options = TaskOptions(name=recipe.task.name, **_options(task))
    strategy_options = StrategyOptions(
        name=recipe.strategy.name,
        freeze=recipe.strategy.freeze,
        train=recipe.strategy.train,
        **_options(strategy),
    )
    training = recipe.training.model_copy(update={"precision": device.precision, "epochs": epochs})
    data = recipe.data.model_copy(
        update={side: _absolute(getattr(recipe.data, side)) for side in ("train", "validation", "test", "images")}
    )
    model = model_options(recipe, task)
    model = model.model_copy(update={"name": _absolute(model.name)})
    return recipe.model_copy(
        update={
            "task": task_options,
            "model": model,
            "data": data,
            "strategy": strategy_options,
            "augmentation": AugmentationOptions(**augmentation),
            "training": training,
        }
    )


def _absolute(path: str | None) -> str | None:
    """A path that means the same from every folder; names of materials and models stay."""
    if path is None or not os.path.exists(os.path.expanduser(path)):
        return path
    return os.path.abspath(os.path.expanduser(path))


def _options(made: Any) -> dict[str, Any]:
    return {field.name: getattr(made, field.name) for field in fields(made)}


def _plan(
    recipe: Recipe,
    task: Task,
    splits: Splits,
    model: Pretrained,
    chosen: list[Phase],
    loss: Loss,
    device: Device,
    rows: Rows,
) -> Plan:
    tree = parts_of(model.anatomy, chosen)
    new = sorted(model.anatomy.new)
    return Plan(
        strategy={"name": recipe.strategy.name, "options": recipe.strategy.model_dump(exclude={"name"})},
        model={
            "name": recipe.model.name,
            "class": type(model.model).__name__,
            "head": recipe.model.head,
            "parameters": sum(part.parameters for part in tree),
            "new": new,
        },
        loss={"name": loss.name, "reason": loss.reason},
        precision={"name": device.precision, "reason": device.reason, "device": str(device.device)},
        parameters={
            "total": sum(part.parameters for part in tree),
            "trainable": sum(part.trainable for part in tree),
        },
        tree=tree,
        phases=[
            {"epochs": phase.epochs, "parameters": len(phase.trainable), "objective": phase.objective}
            for phase in chosen
        ],
        data=_data(splits, task),
        steps=total_steps(len(rows.examples), chosen, recipe.training.batch_size),
        notes=[
            *task.inputs.remarks(rows.encoded, model.processor, model.config),
            *task.targets.remarks(rows.values, rows.encoded),
            *_told_of_names([example for example in splits.train if example.file == NAMES]),
            *_told_of_few_rows(len(splits.test), shares=task.targets.stratified),
            *model.notes,
            *_told_of_the_fit(chosen, len(rows.examples)),
            *_told_of_pairs(chosen),
            *_told_of_what_was_kept(model),
            *_told_of_the_norms(model),
            *remarks(recipe.training, model.model, model.anatomy, chosen),
            *_told_of_the_views(rows, sum(phase.epochs for phase in chosen), frozen=_something_rests(model, chosen)),
            *task.unseen(rows.views),
        ],
    )


def _something_rests(model: Pretrained, chosen: Sequence[Phase]) -> bool:
    """Whether in some phase the embeddings, and so at least the bottom, are frozen."""
    return any(not phase.trainable & set(model.anatomy.stem) for phase in chosen)


def _told_of_few_rows(test: int, *, shares: bool) -> Iterator[str]:
    """How little a small test side can tell; of an accuracy, the interval of a binomial share."""
    if test >= _FEW:
        return
    wide = f", about ±{1.96 * (0.9 * 0.1 / test) ** 0.5:.2f} around an accuracy of 0.9" if shares else ""
    yield f"only {test} row{'s' if test > 1 else ''} to score on: intervals will be wide{wide}"


def _told_of_the_loss(primary: str, rows: int) -> str:
    few = f"of {rows} validation row{'s, which are all alike' if rows > 1 else ''}"
    return (
        f"{primary.replace('_', ' ')} says nothing {few}: the best epoch is chosen by the loss; "
        "more rows would tell more: data.split.validation=0.2, or data.validation=…"
    )


def _told_of_names(stated: Sequence[Example]) -> Iterator[str]:
    if stated:
        yield (
            f"{len(stated)} more training rows are of no table: they say what the classes are called, as in "
            f"{stated[0].inputs['text']!r} (task.templates)"
        )


def _told_of_the_fit(chosen: Sequence[Phase], rows: int) -> Iterator[str]:
    if any(phase.objective == "nearest" for phase in chosen):
        yield (
            f"nothing trains: the last layer keeps {rows} training rows, and answers as those nearest to an input do; "
            "the loss of the task, with its weights, only scores"
        )
    elif all(phase.objective != "task" for phase in chosen):
        yield (
            "the last layer is fitted (logistic or ridge regression): the loss of the task, with its weights, scores "
            "and trains nothing"
        )


def _told_of_pairs(chosen: Sequence[Phase]) -> Iterator[str]:
    for phase in chosen:
        if phase.objective == "contrastive":
            yield f"the loss of the steps is that of pairs: {pair_loss(phase.temperature).name}"


def _told_of_what_was_kept(model: Pretrained) -> Iterator[str]:
    if model.kept:
        more = f" and {len(model.kept) - 8} more" if len(model.kept) > 8 else ""
        yield f"the checkpoint knows of {', '.join(model.kept[:8])}{more}, and keeps what it knows"


def _told_of_the_norms(model: Pretrained) -> Iterator[str]:
    count = len(list(known_norms(model.model, model.anatomy)))
    if count:
        yield f"the {count} batch norms of the checkpoint keep its means and variances"


def _told_of_the_views(rows: Rows, epochs: int, *, frozen: bool) -> Iterator[str]:
    """What augmentation costs, and what the store can save of it."""
    count = rows.number_of_views
    if not rows.views:
        return
    if rows.reads(epochs) < 2:
        yield (
            f"augmented: {count} views of each example, each read once, so that nothing is stored; "
            "augmentation.views=4 lets views take turns"
        )
    else:
        saved = f"; what is frozen is computed {count} times an example and not {epochs} times" if frozen else ""
        yield f"augmented: {count} views of each example take turns over {epochs} epochs{saved}"


def _data(splits: Splits, task: Task) -> dict[str, Any]:
    learned = [example for example in splits.train if example.file != NAMES]
    sides = {"train": learned, "validation": splits.validation, "test": splits.test}
    told: dict[str, Any] = {name: len(side) for name, side in sides.items()}
    summaries = {name: task.targets.summary([example.target for example in side]) for name, side in sides.items()}
    return told | {
        "columns": splits.columns,
        "labels": summaries if task.targets.stratified else None,
        "targets": None if task.targets.stratified else summaries,
        "bad_rows": [asdict(row) for row in splits.bad_rows],
        "notes": list(splits.notes),
    }
