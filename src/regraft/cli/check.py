"""regraft check"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli._options import Data, Model, Task, Words

if TYPE_CHECKING:
    from regraft.data import BadRow, Splits
    from regraft.errors import DataError
    from regraft.quality import Quality
    from regraft.recipe import Recipe
    from regraft.tasks import Task as Asked

_LISTED = 40  # labels in the table
_CASES = 3  # of a finding
_WIDTH = 60  # characters of a text


def command(
    words: Words = None,
    data: Data = None,
    task: Task = None,
    model: Model = None,
    quick: Annotated[bool, typer.Option(help="Open no model: leaves out which labels are likely wrong.")] = False,
    export_clean: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the training table without what is better left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is there, and what was found, as JSON.")] = False,
) -> None:
    """Read all the data as tuning would, list whatever cannot be used, and look for what makes scores untrue."""
    from regraft.cli._asked import recipe_of
    from regraft.errors import DataError
    from regraft.quality import export_clean as export
    from regraft.quality import require_sound
    from regraft.tasks import make_task

    recipe = recipe_of(words or [], data=data, task=task, model=model)
    told, problem, quality = _checked(recipe, quick=quick)
    lines = [json.dumps(told, ensure_ascii=False)] if as_json else _lines(told)
    for line in lines:
        print(line)
    if problem is not None:
        raise problem
    if export_clean is not None and quality is not None:
        kept, out = export(export_clean, quality, recipe.data, make_task(recipe.task))
        print(
            f"{export_clean}: {kept:,} rows; {out:,} left out, listed in {export_clean.stem}.left-out.csv",
            file=sys.stderr,
        )
    bad = len(told["bad_rows"])
    if bad:
        raise DataError(
            f"{bad} row{' cannot' if bad == 1 else 's cannot'} be used",
            fix="correct what is listed, or leave it out with data.on_bad_rows=skip",
        )
    if quality is not None and recipe.quality == "error":
        require_sound(quality)


def _checked(recipe: Recipe, *, quick: bool) -> tuple[dict[str, Any], DataError | None, Quality | None]:
    """What is there, why nothing can be learned from it, if so, and what was found in it."""
    from regraft.errors import DataError, RecipeError, ResourceError
    from regraft.quality import look
    from regraft.sources import read_data
    from regraft.tasks import make_task

    task = make_task(recipe.task)
    lenient = recipe.model_copy(update={"data": recipe.data.model_copy(update={"on_bad_rows": "skip"})})
    try:
        splits, answers = read_data(lenient, task)
    except DataError as error:
        return _told(None, task, list(_bad_rows(lenient, task))), error, None
    told = _told(splits, task, splits.bad_rows)
    try:
        quality = look(lenient, task, splits, answers, model=not quick)
    except (RecipeError, ResourceError) as error:  # the rows can be looked at without the model
        quality = look(lenient, task, splits, answers, model=False)
        told["notes"].append(f"Labels were not looked at, since the model cannot be opened: {error.problem}")
    return told | {"quality": quality.to_json()}, None, quality


def _bad_rows(recipe: Recipe, task: Asked) -> Iterator[BadRow]:
    """Those that can be told of one by one where the data as a whole cannot be used."""
    from regraft.data import BadRow, side_paths, stream_examples
    from regraft.errors import DataError

    columns = task.columns(label_separator=recipe.data.label_separator)
    try:
        for path in side_paths(recipe.data, columns).values():
            rows = stream_examples(path, columns, recipe.data, targets=True)
            yield from (row for row in rows if isinstance(row, BadRow))
    except DataError:
        return  # it is the error that is known already


def _told(splits: Splits | None, task: Asked, bad: list[BadRow]) -> dict[str, Any]:
    sides = {} if splits is None else {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        "rows": {name: len(side) for name, side in sides.items()},
        "targets": {name: task.targets.summary([each.target for each in side]) for name, side in sides.items()},
        "columns": splits.columns if splits else {},
        "notes": splits.notes if splits else [],
        "bad_rows": [asdict(row) for row in bad],
    }


def _lines(told: dict[str, Any]) -> Iterator[str]:
    from regraft.cli._show import columns
    from regraft.data import BadRow

    if told["rows"]:
        yield from columns(list(_table(told)))
        yield f"columns  {', '.join(f'{ours} = {theirs!r}' for ours, theirs in told['columns'].items())}"
    yield from (f"note     {note}" for note in told["notes"])
    yield from (f"bad      {BadRow(**row)}" for row in told["bad_rows"])
    for finding in told.get("quality", {"findings": []})["findings"]:
        if finding["kind"] != "unreadable":
            yield from _found(finding)
    if told["rows"] and not told["bad_rows"]:
        yield f"all {sum(told['rows'].values()):,} rows can be used"


def _found(finding: dict[str, Any]) -> Iterator[str]:
    """A finding, what to do, and its strongest cases."""
    yield f"{finding['level']:8} {finding['told']}"
    for item in finding["items"][:_CASES]:
        rows = "  ~  ".join(
            f"{row['side']} row {row['row']} {row['label']!r} {_short(row['shown'])}" for row in item["rows"][:2]
        )
        yield f"           {rows}{'  ' if item['told'] else ''}{item['told']}"
    if finding["count"] > _CASES and finding["items"]:
        yield f"           and {finding['count'] - _CASES:,} more; --json lists them"
    if finding["fix"]:
        yield f"           → {finding['fix']}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _table(told: dict[str, Any]) -> Iterator[list[str]]:
    """The rows of each side, and below them those of each label, or how numbers are spread."""
    sides = list(told["rows"])
    yield ["", *sides]
    yield ["rows", *(f"{told['rows'][side]:,}" for side in sides)]
    names = list(dict.fromkeys(name for side in sides for name in told["targets"][side]))
    for name in names[:_LISTED]:
        yield [f"  {name}", *(_number(told["targets"][side].get(name)) for side in sides)]
    if len(names) > _LISTED:
        yield [f"  and {len(names) - _LISTED} more", *("" for _ in sides)]


def _number(value: float | None) -> str:
    if value is None:
        return "0"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
