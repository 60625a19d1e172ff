"""regraft predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a tuned model's folder.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; none, or -, for stdin.")
    ] = None,
    file: Annotated[str | None, typer.Option(help="A table: csv, tsv, jsonl or parquet.")] = None,
    columns: Annotated[list[str] | None, typer.Option("--column", help="Which column is what: text=review.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts computed together.")] = 64,
) -> None:
    """Answer texts, the rows of a table, or the lines of stdin (text, or JSON objects); prints one JSON line each."""
    from regraft.cli._answers import answer_file, answer_stdin, answer_texts
    from regraft.errors import RecipeError
    from regraft.tuned import Tuned

    if file is not None and texts:
        raise RecipeError("texts and a file are both given", fix="give one of them")
    tuned = Tuned.load(model)
    if file is not None:
        answer_file(tuned, file, columns or [], batch_size=batch_size)
    elif texts and texts != ["-"]:
        answer_texts(tuned, texts, batch_size=batch_size)
    else:
        answer_stdin(tuned, batch_size=batch_size)
