"""regraft runs"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    output: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the runs with their scores, the newest first."""
    from regraft.run import list_runs

    found = list_runs(output)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print(f"no runs in {output}")
    for run in found:
        print(f"{run['run']:32}  {run['task']:22}  {run['strategy']:14}  {run['state']}")
