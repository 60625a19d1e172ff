"""Tiny models and toy data, for those who add tasks and strategies. Everything here is small, real and reproducible."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError
from regraft.fingerprint import draw
from regraft.pretrained.tiny import FAMILIES, tiny_model

__all__ = ["FAMILIES", "WORDS", "tiny_model", "toy_table"]

_GOOD = ("good", "great", "fine", "lovely", "superb")
_BAD = ("bad", "awful", "poor", "dull", "dreadful")
_PLAIN = ("the", "a", "film", "plot", "scene", "actor", "was", "is", "and", "very", "story", "end", "with", "of")
WORDS = (*_GOOD, *_BAD, *_PLAIN)


def toy_table(file: str | Path, *, rows: int = 120, kind: str = "classes", seed: int = 0) -> Path:
    """Write a table of made-up reviews that a tiny model can learn.

    Args:
        file: ``.csv`` or ``.jsonl``.
        kind: "classes" (label good or bad), "labels" (which of good and bad occurs), "numbers" (good minus bad words),
            "pairs" (do text and text_pair agree).

    Raises:
        RecipeError: the file exists already.
    """
    file = Path(file)
    if file.exists():
        raise RecipeError(f"{file} exists already", fix="name another file: toy data replaces nothing")
    made = [_row(number, kind, seed) for number in range(rows)]
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
        return file
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=list(made[0]))
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in made)
    return file


def _row(number: int, kind: str, seed: int) -> dict[str, Any]:
    text, good, bad = _text(number, seed, leaning=number % 2)
    if kind == "numbers":
        return {"text": text, "score": good - bad}
    if kind == "labels":
        return _mixed(number, seed, text, good)
    if kind == "pairs":
        other, good_too, _ = _text(number + 1_000_000, seed, leaning=draw("pair", seed, number) % 2)
        return {"text": text, "text_pair": other, "label": "same" if bool(good) == bool(good_too) else "other"}
    return {"text": text, "label": "good" if good > bad else "bad"}


def _mixed(number: int, seed: int, text: str, good: int) -> dict[str, Any]:
    """In every third row, words of the other kind too."""
    both = number % 3 == 0
    other = (_BAD if good else _GOOD)[draw("other", seed, number) % 5]
    names = ["bad", "good"] if both else ["good" if good else "bad"]
    return {"text": f"{text} {other}" if both else text, "labels": names}


def _text(number: int, seed: int, *, leaning: int) -> tuple[str, int, int]:
    """A text with its number of good and bad words; one of the two is 0."""
    length = 3 + draw("length", seed, number) % 14
    pool = _GOOD if leaning else _BAD
    telling = 1 + draw("telling", seed, number) % 3
    words = [_PLAIN[draw("plain", seed, number, place) % len(_PLAIN)] for place in range(length)]
    for place in range(telling):
        words.insert(
            draw("where", seed, number, place) % len(words), pool[draw("word", seed, number, place) % len(pool)]
        )
    return " ".join([*words, f"n{number}"]), telling if leaning else 0, 0 if leaning else telling


def _cell(value: Any) -> Any:
    return "|".join(value) if isinstance(value, list) else value
