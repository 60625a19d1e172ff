"""regraft evaluate"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a tuned model's folder.")],
    data: Annotated[
        str | None, typer.Option(help="A table, folder or COCO json with targets; else the run's own test rows.")
    ] = None,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="data.… and evaluation.… options.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write every answer to this parquet file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score a tuned model with intervals, on its own test rows or on another table."""
    from regraft.assessment import evaluate
    from regraft.cli._show import scores_lines

    scores = evaluate(model, data=data, overrides=words or [], predictions=predictions)
    print(json.dumps(scores, ensure_ascii=False) if as_json else "\n".join(scores_lines(scores)))
