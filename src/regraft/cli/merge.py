"""regraft merge"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a tuned model's folder.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="data.… options for --data.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where to write it; else merged/ in the run folder.")] = None,
    data: Annotated[
        str | None, typer.Option(help="A table on which the answers are compared; else the run's own test rows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print folder, rows and difference as JSON.")] = False,
) -> None:
    """Put an adapter into the weights of its model: a whole model with the same answers."""
    from regraft.merging import merge

    merged = merge(model, to=to, data=data, overrides=words or [])
    found = {"folder": str(merged.folder), "rows": merged.rows, "difference": merged.difference}
    told = f"{merged.folder}: whole; its answers to {merged.rows} rows are the adapter's to {merged.difference:.1e}"
    print(json.dumps(found) if as_json else told)
