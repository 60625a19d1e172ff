"""The mean of the weights of several runs, of other seeds or rates: one model, which costs what one of them costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from regraft import evaluation
from regraft.assessment import rows_to_score
from regraft.errors import RecipeError, TrainingError
from regraft.pretrained import NearestNeighbours
from regraft.recipe import Recipe, read_recipe
from regraft.run import find_run, write_json, written_whole
from regraft.sources import make_rows, read_data
from regraft.training import Rows
from regraft.training.averaging import Ingredient, Weights, greedy, uniform
from regraft.tuned import Tuned


@dataclass(frozen=True)
class Souped:
    """Where the mean is, the runs that are in it, and its scores: those of each run stand as its baselines."""

    folder: Path
    runs: list[str]
    scores: dict[str, Any]


def soup(
    runs: Sequence[str | Path], *, how: Literal["uniform", "greedy"] = "uniform", to: str | Path | None = None
) -> Souped:
    """Write a model whose weights are the mean of those of several runs, and score it beside each of them.

    Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482. The runs must have learned the same task from
    the same rows and the same pretrained model; how they were tuned may differ.

    Args:
        runs: their folders, two or more.
        how: "uniform" takes all; "greedy" only those with which the score on the validation rows does not fall.
        to: where to write it, a folder that does not exist yet; None for ``soup`` in the first run's folder.

    Raises:
        RecipeError: they do not fit together, there is nothing to choose by, or there is something at ``to``.
        TrainingError: the saved model answers otherwise than the one that was scored.
    """
    names = [str(run) for run in runs]
    folder = Path(names[0]) / "soup" if to is None and names else Path(to or "")
    if len({Path(name).resolve() for name in names}) < max(2, len(names)):
        raise RecipeError(f"{len(names)} runs to average", fix="name two or more, each once")
    if os.path.lexists(folder):
        raise RecipeError(f"{folder} exists", fix="name another folder with --to, or remove it")
    recipes = [read_recipe(find_run(name).recipe) for name in names]
    first = Tuned.load(names[0])
    _require_same_asked(names, recipes)
    validation = _validation_rows(names, recipes, first)
    if how == "greedy" and not validation.examples:
        raise RecipeError("these runs have no validation rows to choose by", fix="leave --greedy out")
    chosen = _mixed(names, first, how, recipes[0], validation)
    made, scores = _scored(names, first, recipes[0], validation)
    _write(made, folder, {"how": how, "runs": names, "averaged": chosen, "scores": scores})
    return Souped(folder, chosen, scores)


def _require_same_asked(names: Sequence[str], recipes: Sequence[Recipe]) -> None:
    """See that all runs asked the same of the same model and data.

    Raises:
        RecipeError: naming the run and what differs.
    """
    expected = _asked(recipes[0])
    for name, recipe in zip(names[1:], recipes[1:], strict=True):
        for part, value in _asked(recipe).items():
            if value != expected[part]:
                raise RecipeError(
                    f"{name} differs from {names[0]} in {part}: their weights have no mean that means something",
                    fix="average runs of one task, one pretrained model and the same data",
                )


def _asked(recipe: Recipe) -> dict[str, Any]:
    values = recipe.model_dump(mode="json", include={"task", "model", "data"})
    del values["data"]["split"]["seed"]  # which rows that gives is compared by itself
    del values["model"]["dropout"]
    return values


def _validation_rows(names: Sequence[str], recipes: Sequence[Recipe], first: Tuned) -> Rows:
    """The validation rows of all runs.

    Raises:
        RecipeError: one has learned from rows that another is scored on.
    """
    splits = [read_data(recipe, first.task)[0] for recipe in recipes]
    sides = [[[example.id for example in side] for side in (each.validation, each.test)] for each in splits]
    for name, found in zip(names[1:], sides[1:], strict=True):
        if found != sides[0]:
            raise RecipeError(
                f"{name} has split the data otherwise than {names[0]}: it has learned from rows that score the mean",
                fix="tune all of them with the same data.split.seed, or name tables with data.validation and data.test",
            )
    return make_rows(splits[0].validation, first.task, first.answers, first.pretrained)


def _mixed(names: Sequence[str], first: Tuned, how: str, recipe: Recipe, validation: Rows) -> list[str]:
    """Put the mean into the first model. Returns which runs are in it, in the order they went in.

    Raises:
        RecipeError: a model is of another shape, or has other answers.
    """

    def score(weights: Weights) -> float:
        first.pretrained.model.load_state_dict(dict(weights))
        return _score(first, recipe, validation)[0]

    ingredients = [
        _ingredient(name, names[0], first, recipe, validation if how == "greedy" else None) for name in names
    ]
    mean, chosen = greedy(ingredients, score) if how == "greedy" else uniform(ingredients)
    first.pretrained.model.load_state_dict(mean)
    return [str(name) for name in chosen]


def _ingredient(name: str, other: str, first: Tuned, recipe: Recipe, validation: Rows | None) -> Ingredient:
    tuned = Tuned.load(name)
    _require_same_model(name, tuned, other, first)
    alone = (0.0, 0.0) if validation is None else _score(tuned, recipe, validation)
    return Ingredient(name, alone, lambda: _weights(Tuned.load(name)))


def _weights(tuned: Tuned) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in tuned.pretrained.model.state_dict().items()}


def _require_same_model(name: str, tuned: Tuned, other: str, first: Tuned) -> None:
    if tuned.pretrained.adapter is not None:
        raise RecipeError(
            f"{name} has an adapter, and the mean of adapters is not that of what they do",
            fix="average runs without adapters, such as of strategy=full or top-layers",
        )
    if any(isinstance(module, NearestNeighbours) for module in tuned.pretrained.model.modules()):
        raise RecipeError(
            f"{name} answers by the training rows that it keeps, and the mean of rows says nothing",
            fix="average runs whose weights were trained, such as of strategy=full or top-layers",
        )
    if tuned.answers != first.answers:
        raise RecipeError(f"{name} has other answers than {other}", fix="average runs with the same labels")
    shapes = [{key: value.shape for key, value in _weights(each).items()} for each in (tuned, first)]
    odd = sorted({*shapes[0].items()} ^ {*shapes[1].items()})
    if odd:
        raise RecipeError(f"{odd[0][0]} is not alike in {name} and {other}", fix="average runs of the same model")


def _score(tuned: Tuned, recipe: Recipe, rows: Rows) -> tuple[float, float]:
    """How good a model is on some rows, larger for better, and what decides between equals."""
    kind = tuned.answers.kind
    judged = _judged(tuned, recipe, rows)
    values = evaluation.measure(
        evaluation.metrics_for(kind), judged.target, evaluation.probabilities(judged.logits, kind)
    )
    metric = evaluation.find_metric(recipe.evaluation.primary or tuned.task.primary, kind)
    return evaluation.signed(metric.name, values), evaluation.tie_of(kind, values)


def _judged(tuned: Tuned, recipe: Recipe, rows: Rows) -> evaluation.Outputs:
    outputs = tuned.outputs(rows.encoded, batch_size=recipe.evaluation.batch_size)
    return evaluation.Outputs(*tuned.task.targets.judged(rows.values, outputs, tuned.answers))


def _scored(names: Sequence[str], mean: Tuned, recipe: Recipe, validation: Rows) -> tuple[Tuned, dict[str, Any]]:
    """The mean, calibrated on the validation rows, and its scores on the test rows beside those of each run."""
    kind, options = mean.answers.kind, recipe.evaluation
    _, examples = rows_to_score(Path(names[0]), mean, None, ())
    test = make_rows(examples, mean.task, mean.answers, mean.pretrained)
    alone = {}
    for name in names:
        tuned = Tuned.load(name)
        alone[name] = evaluation.probabilities(_judged(tuned, recipe, test).logits, kind, temperature=tuned.temperature)
    scores = evaluation.compose(
        kind,
        evaluation.find_metric(options.primary or mean.task.primary, kind).name,
        labels=mean.answers.names,
        test=_judged(mean, recipe, test),
        validation=_judged(mean, recipe, validation) if validation.examples else None,
        baselines=alone,
        sampling=evaluation.Sampling(options.resamples, options.confidence, recipe.seed),
    )
    for each in (*scores["comparisons"], scores["comparison"] or {}):
        each.pop("verdict", None)  # which speaks of tuning
    return replace(mean, temperature=(scores["calibration"] or {}).get("temperature", 1.0)), scores


def _write(made: Tuned, folder: Path, told: dict[str, Any]) -> None:
    """Write the model whole, with what it is made of beside it.

    Raises:
        TrainingError: opened again it has other weights.
    """
    with written_whole(folder) as temporary:
        made.save(temporary)
        write_json(temporary / "soup.json", told)
        saved, meant = _weights(Tuned.load(temporary)), _weights(made)
        if any(not torch.equal(saved[name], value) for name, value in meant.items()):
            raise TrainingError("the saved mean has other weights", fix="this is a bug of regraft: report it")
