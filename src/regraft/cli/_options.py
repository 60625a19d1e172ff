"""The options of regraft itself, before any command; and those that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from regraft.version import __version__

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="A recipe file, and options that override it."),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="What to learn from: a table (csv, tsv, jsonl, parquet), a folder of images or sounds, or a COCO json."
    ),
]
Task = Annotated[str | None, typer.Option(help="What is asked, for example text-classification.")]
Model = Annotated[str | None, typer.Option(help="A model folder, a hub id or a packaged model.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"regraft {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune pretrained models: one recipe, nothing silent."""
