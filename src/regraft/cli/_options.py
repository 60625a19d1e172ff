"""The options of regraft itself, before any command."""

from __future__ import annotations

from typing import Annotated

import typer

from regraft.version import __version__


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
