"""Tiny models and toy data, for those who add tasks and strategies. Everything here is small, real and reproducible."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.errors import RecipeError
from regraft.fingerprint import draw
from regraft.pretrained.tiny import (
    BACKBONES,
    DETECTORS,
    FAMILIES,
    IMAGE_FAMILIES,
    LANGUAGE_MODELS,
    LISTENERS,
    SEGMENTERS,
    TRANSLATORS,
    VOICES,
    tiny_model,
)

__all__ = [
    "BACKBONES",
    "DETECTORS",
    "FAMILIES",
    "IMAGE_FAMILIES",
    "LANGUAGE_MODELS",
    "LISTENERS",
    "SEGMENTERS",
    "SHAPES",
    "TRANSLATORS",
    "VOICES",
    "WORDS",
    "tiny_model",
    "toy_images",
    "toy_sounds",
    "toy_table",
]

_GOOD = ("good", "great", "fine", "lovely", "superb")
_BAD = ("bad", "awful", "poor", "dull", "dreadful")
_PLAIN = ("the", "a", "film", "plot", "scene", "actor", "was", "is", "and", "very", "story", "end", "with", "of")
WORDS = (*_GOOD, *_BAD, *_PLAIN)
SHAPES = ("disc", "square")
_COLOURS = {"disc": (220, 60, 60), "square": (60, 90, 220)}
_SIDE = 48  # pixels of a toy image


def toy_table(file: str | Path, *, rows: int = 120, kind: str = "classes", seed: int = 0) -> Path:
    """Write a table of made-up reviews that a tiny model can learn.

    Args:
        file: ``.csv`` or ``.jsonl``.
        kind: "classes" (label good or bad), "labels" (which of good and bad occurs), "numbers" (good minus bad words),
            "pairs" (do text and text_pair agree), "translations" (source and target: each word has its other word),
            "completions" (prompt and completion), "conversations" (messages), "passages" (text alone).

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
    if kind in _WRITTEN:
        return _WRITTEN[kind](text, "good" if good > bad else "bad")
    if kind == "numbers":
        return {"text": text, "score": good - bad}
    if kind == "labels":
        return _mixed(number, seed, text, good)
    if kind == "pairs":
        other, good_too, _ = _text(number + 1_000_000, seed, leaning=draw("pair", seed, number) % 2)
        return {"text": text, "text_pair": other, "label": "same" if bool(good) == bool(good_too) else "other"}
    return {"text": text, "label": "good" if good > bad else "bad"}


def _translated(text: str, label: str) -> dict[str, Any]:  # noqa: ARG001
    """Every word of a kind becomes the first of its kind."""
    pools = ((_GOOD, _BAD[0]), (_BAD, _GOOD[0]))
    words = [next((other for pool, other in pools if word in pool), None) for word in text.split()]
    return {"source": text, "target": " ".join(word for word in words if word)}


def _conversation(text: str, label: str) -> dict[str, Any]:
    turns = [("user", text), ("assistant", label), ("user", "and the plot"), ("assistant", f"was {label}")]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


_WRITTEN: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "translations": _translated,
    "completions": lambda text, label: {"prompt": f"{text} was", "completion": f" {label} and {label}"},
    "conversations": _conversation,
    "passages": lambda text, label: {"text": text},  # noqa: ARG005
}


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


# Images


@dataclass(frozen=True)
class _Shape:
    name: str
    box: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels


def toy_images(folder: str | Path, *, kind: str = "classes", images: int = 60, seed: int = 0) -> Path:
    """Draw discs and squares on noise, which a tiny model can learn to tell apart and to find.

    Args:
        kind: "classes" (a folder for each class), "labels" (metadata.jsonl: which shapes occur), "numbers"
            (metadata.csv: how far to the right the shape is, -1 to 1), "boxes" (instances.json in COCO form, with
            outlines), "masks" (images, masks and classes.txt).

    Returns:
        What a recipe names: the folder, or for boxes the json file.

    Raises:
        RecipeError: the folder exists already.
    """
    folder = Path(folder)
    if folder.exists():
        raise RecipeError(f"{folder} exists already", fix="name another folder: toy data replace nothing")
    drawn = [_shapes(number, seed, several=kind in ("labels", "boxes", "masks")) for number in range(images)]
    names = [_place(kind, number, shapes) for number, shapes in enumerate(drawn)]
    for number, (name, shapes) in enumerate(zip(names, drawn, strict=True)):
        _write(folder / name, _pixels(number, seed, shapes))
        if kind == "masks":
            _write(folder / name.replace("images", "masks", 1), _mask(shapes))
    return _described(folder, kind, names, drawn)


def _place(kind: str, number: int, shapes: Sequence[_Shape]) -> str:
    inside = {"classes": shapes[0].name, "boxes": "images", "masks": "images"}.get(kind)
    name = f"{number:04d}.png"
    return f"{inside}/{name}" if inside else name


def _described(folder: Path, kind: str, names: Sequence[str], drawn: Sequence[Sequence[_Shape]]) -> Path:
    """What lies beside the images."""
    if kind == "labels":
        rows = [
            {"file_name": name, "labels": sorted({shape.name for shape in shapes})}
            for name, shapes in zip(names, drawn, strict=True)
        ]
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "numbers":
        lines = [f"{name},{_right(shapes[0]):.4f}\n" for name, shapes in zip(names, drawn, strict=True)]
        (folder / "metadata.csv").write_text("".join(["file_name,score\n", *lines]), encoding="utf-8")
    elif kind == "masks":
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in ("background", *SHAPES)), encoding="utf-8")
    elif kind == "boxes":
        file = folder / "instances.json"
        file.write_text(json.dumps(_coco(names, drawn)), encoding="utf-8")
        return file
    return folder


def _shapes(number: int, seed: int, *, several: bool) -> list[_Shape]:
    """One shape, or with ``several`` one or two that do not touch."""
    count = 1 + (number // 2) % 2 if several else 1
    width = _SIDE // count
    found = []
    for place in range(count):
        side = 14 + draw("side", seed, number, place) % 9
        left = place * width + draw("left", seed, number, place) % (width - side)
        top = draw("top", seed, number, place) % (_SIDE - side)
        name = SHAPES[(number + place * (draw("other", seed, number) % 2)) % 2]
        found.append(_Shape(name, (left, top, left + side, top + side)))
    return found


def _covered(shape: _Shape) -> NDArray[np.bool_]:
    """Which pixels a shape covers, [side, side]."""
    left, top, right, bottom = shape.box
    rows, columns = np.mgrid[:_SIDE, :_SIDE] + 0.5
    if shape.name == "square":
        covered = (columns > left) & (columns < right) & (rows > top) & (rows < bottom)
    else:
        covered = np.hypot(columns - (left + right) / 2, rows - (top + bottom) / 2) < (right - left) / 2
    return np.asarray(covered)


def _pixels(number: int, seed: int, shapes: Sequence[_Shape]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(draw("noise", seed, number) % (1 << 32))
    pixels = noise.integers(60, 160, (_SIDE, _SIDE, 3)).astype(np.uint8)
    for shape in shapes:
        pixels[_covered(shape)] = _COLOURS[shape.name]
    return pixels


def _mask(shapes: Sequence[_Shape]) -> NDArray[np.uint8]:
    mask = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    for shape in shapes:
        mask[_covered(shape)] = 1 + SHAPES.index(shape.name)
    return mask


def _right(shape: _Shape) -> float:
    """How far to the right the middle of a shape is: -1 at the left edge, 1 at the right."""
    return (shape.box[0] + shape.box[2]) / _SIDE - 1


def _coco(names: Sequence[str], drawn: Sequence[Sequence[_Shape]]) -> dict[str, Any]:
    annotations = [
        {
            "id": number * 10 + place,
            "image_id": number,
            "category_id": 1 + SHAPES.index(shape.name),
            "bbox": [left, top, right - left, bottom - top],
            "area": int(_covered(shape).sum()),
            "segmentation": [_outline(shape)],
            "iscrowd": 0,
        }
        for number, shapes in enumerate(drawn)
        for place, shape in enumerate(shapes)
        for left, top, right, bottom in [shape.box]
    ]
    return {
        "images": [
            {"id": number, "file_name": Path(name).name, "width": _SIDE, "height": _SIDE}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": 1 + place, "name": name} for place, name in enumerate(SHAPES)],
        "annotations": annotations,
    }


def _outline(shape: _Shape) -> list[float]:
    """A polygon x, y, x, y, … around a shape."""
    left, top, right, bottom = shape.box
    if shape.name == "square":
        return [float(value) for value in (left, top, right, top, right, bottom, left, bottom)]
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    radius = (right - left) / 2
    points = np.stack([(left + right) / 2 + radius * np.cos(turns), (top + bottom) / 2 + radius * np.sin(turns)], 1)
    return [round(float(value), 2) for value in points.reshape(-1)]


def _write(file: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


# Sounds

_RATE = 8000  # samples a second
_TONES = {"good": 1200.0, "bad": 300.0}  # Hz


def toy_sounds(folder: str | Path, *, kind: str = "classes", sounds: int = 60, seed: int = 0) -> Path:
    """Record tones, high for good and low for bad, which a tiny model can learn to tell apart and to write down.

    Args:
        kind: "classes" (a folder for each class, of one tone each), "transcripts" (metadata.csv: the words of one to
            four tones), "speech" (the same, with a word of its own in each text, so that no two are alike).

    Raises:
        RecipeError: the folder exists already.
    """
    import soundfile

    folder = Path(folder)
    if folder.exists():
        raise RecipeError(f"{folder} exists already", fix="name another folder: toy data replace nothing")
    rows = []
    for number in range(sounds):
        words = _said(number, seed, several=kind != "classes")
        name = f"{words[0]}/{number:04d}.flac" if kind == "classes" else f"{number:04d}.flac"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, _played(number, seed, words), _RATE)
        rows.append(f"{name},{' '.join([*words, *([_name_of(number)] if kind == 'speech' else [])])}\n")
    if kind != "classes":
        (folder / "metadata.csv").write_text("".join(["file_name,text\n", *rows]), encoding="utf-8")
    return folder


def _name_of(number: int) -> str:
    """A number as a word: 0 is "a", 27 is "bb"."""
    letter = chr(ord("a") + number % 26)
    return letter if number < 26 else _name_of(number // 26 - 1) + letter


def _said(number: int, seed: int, *, several: bool) -> list[str]:
    count = 1 + draw("tones", seed, number) % 4 if several else 1
    return [("good", "bad")[(number + draw("tone", seed, number, place) * (place > 0)) % 2] for place in range(count)]


def _played(number: int, seed: int, words: Sequence[str]) -> NDArray[np.float32]:
    """float32 [n]: a tone for each word with a pause behind it, and some noise."""
    chance = np.random.default_rng(draw("recording", seed, number) % (1 << 32))
    parts = []
    for word in words:
        times = np.arange(int(_RATE * chance.uniform(0.12, 0.25))) / _RATE
        tone = 0.5 * np.sin(2 * np.pi * _TONES[word] * chance.uniform(0.95, 1.05) * times)
        parts += [tone, np.zeros(int(_RATE * chance.uniform(0.05, 0.12)))]
    samples = np.concatenate(parts)
    return np.asarray(samples + 0.01 * chance.standard_normal(len(samples)), dtype=np.float32)
