"""regraft predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a tuned model's folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="Texts, or paths of images; none, or -, for stdin. With --file: data.… keys."
        ),
    ] = None,
    file: Annotated[str | None, typer.Option(help="A table: csv, tsv, jsonl or parquet; a folder of images.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs computed together.")] = 64,
) -> None:
    """Answer texts or images, the rows of a table, or the lines of stdin (text, or JSON objects).

    Prints one JSON line each; a mask is a PNG file in base64, whose values are the places of the labels.
    """
    from regraft.assessment import reading_recipe
    from regraft.cli._answers import answer_file, answer_stdin, answer_texts
    from regraft.errors import RecipeError
    from regraft.tuned import Tuned

    overrides = [text for text in texts or [] if file is not None and text.startswith("data.")]
    if file is not None and len(overrides) < len(texts or []):
        raise RecipeError("texts and a file are both given", fix="give one of them")
    tuned = Tuned.load(model)
    if file is not None:
        answer_file(tuned, file, reading_recipe(model, tuned, file, overrides), batch_size=batch_size)
    elif texts and texts != ["-"]:
        answer_texts(tuned, texts, batch_size=batch_size)
    else:
        answer_stdin(tuned, batch_size=batch_size)
