"""regraft init"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("recipe.yaml"),
    data: Annotated[
        str, typer.Option(help="What to learn from: a table, a folder of images or sounds, or a COCO json.")
    ] = "reviews.csv",
    task: Annotated[str, typer.Option(help="What is asked.")] = "text-classification",
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of recipes instead, for editors.")
    ] = False,
) -> None:
    """Write a recipe to start from, with every option and what it means."""
    from regraft.cli._starter import recipe_schema, write_starter

    if schema:
        print(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))
    else:
        print(write_starter(file, data=data, task=task))
