"""regraft plan"""

from __future__ import annotations

import json
from typing import Annotated

import typer


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="A recipe file, and options that override it."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="A table to learn from: csv, tsv, jsonl or parquet.")] = None,
    task: Annotated[str | None, typer.Option(help="What is asked, for example text-classification.")] = None,
    model: Annotated[str | None, typer.Option(help="A model folder, a hub id or a packaged model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what would train, how fast, on which rows and with which loss. Nothing is trained or written."""
    from regraft.cli._asked import recipe_of
    from regraft.cli._show import plan_lines
    from regraft.preparation import prepare

    plan = prepare(recipe_of(words or [], data=data, task=task, model=model)).plan.to_json()
    print(json.dumps(plan, ensure_ascii=False) if as_json else "\n".join(plan_lines(plan)))
