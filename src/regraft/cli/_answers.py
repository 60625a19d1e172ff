"""Answers as JSON lines, as they come. A row that cannot be read gets a line that says so, and the exit code tells."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.errors import DataError, RecipeError

if TYPE_CHECKING:
    from regraft.recipe import Recipe
    from regraft.tuned import Tuned

_CHUNK = 512


def answer_texts(tuned: Tuned, texts: Sequence[str], *, batch_size: int, sounds: Path) -> None:
    """Answer texts, or images by their paths, from the command line."""
    _print(tuned.stream(texts, batch_size=batch_size), sounds)


def stream_texts(tuned: Tuned, texts: Sequence[str]) -> None:
    """Show what the model writes of each text as it comes; of the lines of stdin where no text is given."""
    for text in texts or (line.strip() for line in sys.stdin if line.strip()):
        for piece in tuned.speak(text):
            print(piece, end="", flush=True)
        print(flush=True)


def answer_stdin(tuned: Tuned, *, batch_size: int, sounds: Path) -> None:
    """Answer the lines of stdin: a text each, or a JSON object with the task's inputs."""
    lines = ((number, line.strip()) for number, line in enumerate(sys.stdin, start=1))
    items = (({"row": number}, _line(tuned, line, number)) for number, line in lines if line)
    _answer(tuned, items, batch_size=batch_size, sounds=sounds)


def answer_file(tuned: Tuned, file: str, recipe: Recipe, *, batch_size: int, sounds: Path) -> None:
    """Answer the rows of a table, read as the recipe says."""
    from regraft.data import BadRow, stream_examples

    rows = stream_examples(file, tuned.task.columns(), recipe.data, targets=False)
    items = (
        ({"row": row.row}, f"column {row.column!r}: {row.reason}" if row.column else row.reason)
        if isinstance(row, BadRow)
        else ({"row": row.row, **_files(row.inputs)}, tuned.trouble(row.inputs) or row.inputs)
        for row in rows
    )
    _answer(tuned, items, batch_size=batch_size, sounds=sounds)


def _files(inputs: dict[str, Any]) -> dict[str, str]:
    """The inputs that are files, by their paths."""
    return {name: value.path for name, value in inputs.items() if hasattr(value, "path")}


def _answer(
    tuned: Tuned, items: Iterable[tuple[dict[str, Any], dict[str, Any] | str]], *, batch_size: int, sounds: Path
) -> None:
    """Answer in chunks. An item is where it is from, and its inputs or what is wrong with it."""
    waiting, failed = iter(items), 0
    while chunk := list(islice(waiting, _CHUNK)):
        good = [read for _, read in chunk if isinstance(read, dict)]
        answers = tuned.stream(good, batch_size=batch_size)
        failed += len(chunk) - len(good)
        told = ({**where, **(next(answers) if isinstance(read, dict) else {"error": read})} for where, read in chunk)
        _print(told, sounds)
    if failed:
        raise DataError(f"{failed} rows could not be read; their lines say why", fix="correct them and run again")


def _line(tuned: Tuned, line: str, number: int) -> dict[str, Any] | str:
    """What a line asks, or what is wrong with it."""
    try:
        return tuned.parsed(json.loads(line) if line.startswith("{") else line, number)
    except (ValueError, RecursionError) as error:
        return f"not valid JSON: {error}"
    except RecipeError as error:
        return error.problem


def _print(values: Iterable[dict[str, Any]], sounds: Path) -> None:
    for value in values:
        told = {**value, "prediction": _written(value, sounds)} if "rate" in value else value
        print(json.dumps(told, ensure_ascii=False, default=_as_png), flush=True)


def _written(spoken: dict[str, Any], folder: Path) -> str:
    """The file that a sound was written to, named by what is in it."""
    from regraft.data.sounds import playable
    from regraft.fingerprint import digest
    from regraft.run import storage, write_durably

    content = playable(spoken["prediction"], spoken["rate"], forms=("WAV",))
    path = folder / f"{digest(content.hex())[:12]}.wav"
    with storage(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
    return str(path)


def _as_png(mask: Any) -> str:
    """A mask as the bytes of a PNG file, in base64."""
    import base64

    from regraft.assessment import png

    return base64.b64encode(png(mask)).decode("ascii")
