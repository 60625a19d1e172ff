"""regraft rank"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli._options import Data, Quiet, Task, Words

if TYPE_CHECKING:
    from regraft.evaluation import Estimate
    from regraft.ranking import Candidate, Pass, Ranking

_SCORES = {"knn": "kNN", "log_me": "LogME", "h_score": "H-score", "size": "size"}


def command(
    words: Words = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Model folders, hub ids or packaged models: --models A B, or A,B.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Rank the depths of one model instead.")] = False,
    data: Data = None,
    task: Task = None,
    model: Annotated[str | None, typer.Option(help="With --layers: the model.")] = None,
    rows: Annotated[int, typer.Option(min=10, help="Look at so many training and validation rows at most.")] = 2000,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ranking as JSON.")] = False,
) -> None:
    """Say which pretrained model, or which layer of one, suits the task, before anything is tuned."""
    from regraft.cli._asked import recipe_of
    from regraft.ranking import Ranking, rank_layers, rank_models

    named, words = _models(models or [], words or [])
    _check(named, layers=layers, model=model)
    recipe = recipe_of(words, data=data, task=task, model=model)
    steps = rank_layers(recipe, rows=rows) if layers else rank_models(recipe, named, rows=rows)
    for step in steps:
        if isinstance(step, Ranking):
            print(json.dumps(step.to_json(), ensure_ascii=False) if as_json else "\n".join(_lines(step)))
        elif not quiet:
            print(step, file=sys.stderr, flush=True)


def _models(given: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The models, and the words that are left: ``--models A B`` arrives here as the option A and the word B."""
    named = [part for value in given for part in ([value] if os.path.isdir(value) else value.split(",")) if part]
    if not given:
        return named, list(words)
    rest = [word for word in words if "=" in word or word.endswith((".yaml", ".yml"))]
    return [*named, *(word for word in words if word not in rest)], rest


def _check(models: Sequence[str], *, layers: bool, model: str | None) -> None:
    from regraft.errors import RecipeError

    if layers and models:
        raise RecipeError("--layers looks into one model", fix="name it with --model, or leave --layers out")
    if not layers and not models:
        raise RecipeError("nothing to rank", fix="name models: --models minilm ./my-bert; or say --layers")
    if not layers and model is not None:
        raise RecipeError("--model goes with --layers", fix=f"name it among the others: --models {model} …")


def _lines(ranking: Ranking) -> Iterator[str]:
    """The table, what follows from it, and what it cost."""
    yield from _table(ranking)
    yield ""
    yield from (_of_models(ranking) if ranking.of == "models" else _of_layers(ranking))
    yield _agreement(ranking)
    yield _rows(ranking)
    yield from (_cost(spent) for spent in ranking.passes)
    yield f"in all {ranking.seconds:.1f} s"


def _table(ranking: Ranking) -> Iterator[str]:
    from regraft.cli._show import columns

    metric = ranking.metric.replace("_", " ")
    cells = [["model" if ranking.of == "models" else "features behind", "parameters", f"probe: {metric}"]]
    cells[0] += ["kNN (k)", "LogME", "H-score", ""]
    for each in ranking.candidates:
        knn = "–" if each.neighbours is None else f"{_number(each.knn)} ({each.neighbours})"
        mark = "best" if each.name == ranking.best else "as good" if each.as_good else ""
        scores = [knn, _number(each.log_me), _number(each.h_score)]
        cells.append([each.name, f"{each.parameters:,}", _estimate(each.probe), *scores, mark])
    yield from columns(cells)


def _of_models(ranking: Ranking) -> Iterator[str]:
    good = [each for each in ranking.candidates if each.as_good]
    if len(good) == 1:
        yield f"{ranking.best} is best, by more than chance does."
        return
    largest = max(good, key=lambda each: each.parameters).name
    yield f"As good as can be told: {', '.join(each.name for each in good)}. No difference that these rows could show."
    yield f"Of these {ranking.recommended} is the smallest: take it to begin with."
    if largest != ranking.recommended:
        yield f"Tuned as a whole, larger models tend to gain more than a probe shows: {largest} is the largest."


def _of_layers(ranking: Ranking) -> Iterator[str]:
    last, best = ranking.candidates[-1], ranking.best
    if last.comparison is None:
        yield f"The last, {last.name}, is the best."
    elif last.as_good:
        yield f"{best} is the best, but not by more than chance from the last, {last.name} ({_against(last)})."
    else:
        yield f"{best} is better than the last, {last.name} ({_against(last)})."
    if ranking.recommended != best:
        yield f"The lowest that is as good as can be told: {ranking.recommended}."


def _against(other: Candidate) -> str:
    comparison = other.comparison
    assert comparison is not None
    return f"{_number(comparison.tuned_value)} against {_number(comparison.baseline_value)}, p = {comparison.p:.2g}"


def _agreement(ranking: Ranking) -> str:
    told = {_SCORES[name]: tau for name, tau in ranking.agreement.items() if tau is not None}
    if not told:
        return (
            f"Whether the other scores agree with the probe: {len(ranking.candidates)} {ranking.of}, too few to tell."
        )
    values = ", ".join(f"{name} {tau:.2f}" for name, tau in told.items())
    return f"Agreement with the probe, which decides (Kendall's tau, {len(ranking.candidates)} {ranking.of}): {values}."


def _rows(ranking: Ranking) -> str:
    some = f"{ranking.train_rows:,} training rows"
    if ranking.train_rows < ranking.of_rows:
        some = f"{ranking.train_rows:,} of the {ranking.of_rows:,} training rows, a sample with the shares of the whole"
    interval = f"in brackets the {ranking.confidence:.0%} interval"
    if ranking.judged_on == "validation":
        judged = f"The probe learned from {some}, and is judged on {ranking.judged_rows:,} validation rows; {interval}."
    else:
        judged = f"The probe is judged by cross-validation on {some}; {interval}."
    return f"{judged} No test row was looked at. p is corrected for {len(ranking.candidates) - 1} comparisons."


def _cost(spent: Pass) -> str:
    depths = "" if spent.depths == 1 else f" at {spent.depths} depths"
    how = "in one pass, computed" if spent.computed else "from the store"
    return f"{spent.model}: {spent.rows:,} rows{depths} {how}, {spent.seconds:.1f} s"


def _estimate(estimate: Estimate) -> str:
    value, low, high = _number(estimate.value), _number(estimate.low), _number(estimate.high)
    return value if low == "–" else f"{value} [{low}, {high}]"


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
