"""What a recipe names, read and opened: the rows of each side, the model, and the one as the other takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from regraft import extensions, pretrained
from regraft.data import BadRow, Column, Example, Splits, load_splits
from regraft.errors import DataError, RecipeError
from regraft.pretrained import Pretrained
from regraft.recipe import ModelOptions, Recipe
from regraft.strategies import Strategy, strategy_class
from regraft.tasks import Answers, Task
from regraft.training import Rows


def read_data(recipe: Recipe, task: Task) -> tuple[Splits, Answers]:
    """The rows of each side, and what can be answered; the same each time.

    Raises:
        RecipeError, DataError: a row, a column or a side is missing or does not fit.
    """
    columns = task.columns(label_separator=recipe.data.label_separator)
    beside = task.beside(asked_augmentation(task, recipe))
    splits = load_splits(recipe.data, (*beside, *columns), seed=recipe.seed, stratify=task.targets.stratified)
    _require_beside(beside, splits)
    answers = task.targets.learn(splits.train)
    splits = _only_fitting(splits, task, answers, recipe.data.on_bad_rows)
    if not splits.test:
        asked = recipe.data.split.test > 0 and recipe.data.test is None
        raise RecipeError(
            "no rows are left to score on",
            fix="there are too few rows, or labels that occur once and stay in train; are they numbers to be learned?"
            if asked
            else "give data.split.test a share, or name a table with data.test=…",
        )
    return splits, answers


def open_model(recipe: Recipe, task: Task, answers: Answers) -> Pretrained:
    """The pretrained model as it is before tuning; the same each time."""
    config = task.targets.model_config(answers)
    return pretrained.load(model_options(recipe, task), task.auto_class, config, seed=recipe.seed)


def model_options(recipe: Recipe, task: Task) -> ModelOptions:
    """What the recipe says of the model; its name is the task's own where it says none, and so is its head."""
    asked = recipe.model
    head = usual_head(task, strategy_class(recipe.strategy))
    return asked.model_copy(
        update={"name": asked.name or task.default_model, "head": head if asked.head == "auto" else asked.head}
    )


def usual_head(task: Task, strategy: type[Strategy]) -> Literal["own", "mean", "graft"]:
    """The head where the recipe says none."""
    if strategy.replaces_readout:
        return "mean"
    return task.readout_head if strategy.needs_readout else "own"


def as_read(rows: Rows, task: Task, answers: Answers, model: Pretrained) -> Rows:
    """Examples as this model takes them, where another one has taken them: it may take fewer tokens of each."""
    same = task.inputs.limit(model.processor, model.config) == rows.limit
    return rows if same else make_rows(rows.examples, task, answers, model)


def make_rows(examples: Sequence[Example], task: Task, answers: Answers, model: Pretrained) -> Rows:
    """Examples as the model and the loss take them."""
    encoded, values = task.rows(examples, answers, model.processor, model.config)
    lengths = [task.inputs.length(row) for row in encoded]
    limit, alike = task.inputs.limit(model.processor, model.config), task.inputs.alike(encoded)
    return Rows(examples, encoded, values, lengths, limit, alike=alike)


def asked_augmentation(task: Task, recipe: Recipe) -> Any:
    """The options of the augmentation; None where the task has none.

    Raises:
        RecipeError: the task has no augmentation, or no such option.
    """
    asked = recipe.augmentation.own()
    if task.augmentation is not None:
        return extensions.build("augmentation", task.augmentation, asked)
    if asked:
        raise RecipeError(
            f"augmentation: {recipe.task.name} has none", fix="leave augmentation out; what is read has it, not voices"
        )
    return None


def default_epochs(rows: int, batch_size: int) -> int:
    """Three passes, as BERT was tuned with (Devlin et al., 2019); on few rows as many as make 300 steps, up to 20.

    Few steps are the main reason why small sets fail, and 20 passes mend it (Mosbach et al., 2021).
    """
    return max(3, min(20, -(-300 // -(-rows // batch_size))))


def _require_beside(columns: Sequence[Column], splits: Splits) -> None:
    """See that the training table has the columns that the augmentation reads besides.

    Raises:
        RecipeError: it has not.
    """
    for column in columns:
        if column.name not in splits.columns:
            raise RecipeError(
                f"{column.name} = {column.synonyms[0]!r} is no column of the training table that is left for it",
                fix="name the column that holds them",
            )


def _only_fitting(splits: Splits, task: Task, answers: Answers, on_bad_rows: str) -> Splits:
    """Without the rows whose target is not among the answers; an error unless the recipe lets bad rows be skipped."""
    bad = [row for side in (splits.train, splits.validation, splits.test) for row in task.unfit(side, answers)]
    if not bad:
        return splits
    named = [BadRow(row.file, row.row, splits.columns.get(row.column or "", row.column), row.reason) for row in bad]
    if on_bad_rows == "error":
        listed = "\n".join(f"  {row}" for row in named[:10])
        raise DataError(
            f"{len(named)} rows cannot be learned from:\n{listed}",
            fix="correct them, add such rows to the training data, or leave them out with data.on_bad_rows=skip",
        )
    out = {(row.file, row.row) for row in bad}
    train, validation, test = (
        [example for example in side if (example.file, example.row) not in out]
        for side in (splits.train, splits.validation, splits.test)
    )
    return Splits(train, validation, test, splits.columns, [*splits.bad_rows, *named], splits.notes)
