"""regraft soup"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="The folders of two or more runs.")],
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take only those with which the validation score does not fall.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="Where to write it; else soup/ in the first run's folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print folder, runs and scores as JSON.")] = False,
) -> None:
    """Average the weights of runs of other seeds or rates into one model, scored beside each of them."""
    from regraft.cli._show import soup_lines
    from regraft.souping import soup

    made = soup(runs, how="greedy" if greedy else "uniform", to=to)
    if as_json:
        print(json.dumps({"folder": str(made.folder), "runs": made.runs, **made.scores}, ensure_ascii=False))
        return
    print("\n".join(soup_lines(made.folder, made.runs, made.scores)))
