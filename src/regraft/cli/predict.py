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
            metavar="[TEXT]...",
            help="Texts, or paths of images or sounds; none, or -, for stdin. With --file: data.… keys.",
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="A table: csv, tsv, jsonl or parquet; a folder of images or sounds.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs computed together.")] = 64,
    stream: Annotated[bool, typer.Option("--stream", help="Show what is written as it comes, as plain text.")] = False,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=10, help="0 writes the likeliest token each time; above, tokens are drawn."),
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest tokens that have this share.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="The most that is written.")] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="Translations that are followed side by side.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="What is drawn is drawn from it.")] = 0,
    sounds: Annotated[
        Path | None, typer.Option(help="The folder that speech is written to, a WAV file for each text; else spoken/.")
    ] = None,
) -> None:
    """Answer texts, images or sounds, the rows of a table, or the lines of stdin (text, or JSON objects).

    Prints one JSON line each; a mask is a PNG file in base64, whose values are the places of the labels. Of speech
    the line names the file.
    """
    import torch

    from regraft.assessment import reading_recipe
    from regraft.cli._answers import answer_file, answer_stdin, answer_texts, stream_texts
    from regraft.errors import RecipeError
    from regraft.tuned import Tuned

    overrides = [text for text in texts or [] if file is not None and text.startswith("data.")]
    if file is not None and len(overrides) < len(texts or []):
        raise RecipeError("texts and a file are both given", fix="give one of them")
    asked = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "beams": beams}
    wanted = {name: value for name, value in asked.items() if value is not None}
    tuned = Tuned.load(model)
    tuned = tuned.writing(**wanted) if wanted else tuned
    if sounds is not None and tuned.answers.kind != "speech":
        raise RecipeError(f"{tuned.task_name} does not speak its answers", fix="leave --sounds out")
    sounds = sounds or Path("spoken")
    if sounds.exists() and not sounds.is_dir():
        raise RecipeError(f"{sounds} is a file", fix="name a folder for the sounds with --sounds")
    torch.manual_seed(seed)
    if stream:
        stream_texts(tuned, texts or [])
    elif file is not None:
        answer_file(tuned, file, reading_recipe(model, tuned, file, overrides), batch_size=batch_size, sounds=sounds)
    elif texts and texts != ["-"]:
        answer_texts(tuned, texts, batch_size=batch_size, sounds=sounds)
    else:
        answer_stdin(tuned, batch_size=batch_size, sounds=sounds)
