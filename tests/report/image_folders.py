"""Run folders of image tasks as a run leaves them, with real tiny images, written by hand for the tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from regraft.evaluation import Outputs, Sampling, compose, majority, probabilities
from regraft.evaluation.baselines import majority_masks
from regraft.run import Run

TASKS = {
    "classes": "image-classification",
    "labels": "image-classification",
    "numbers": "image-regression",
    "boxes": "object-detection",
    "masks": "image-segmentation",
}
LABELS = {
    "classes": ["cat", "dog", "狗熊"],
    "labels": ["cat", "dog", "狗熊"],
    "numbers": ["age"],
    "boxes": ["cat", "dog"],
    "masks": ["background", "cat", "dog"],
}
WIDTH, HEIGHT = 96, 72


def write_image_run(
    folder: Path, kind: str, *, rows: int = 14, labels: list[str] | None = None, name: str = "photo {}.png"
) -> Run:
    """A finished run on images; ``name`` is that of its files, with a place for a number."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    labels, run = labels or LABELS[kind], Run(folder)
    recipe = f"task:\n  name: {TASKS[kind]}\nmodel:\n  name: efficientnet-lite0\ndata:\n  train: /home/somebody/pets\n"
    run.recipe.write_text(recipe, encoding="utf-8")
    run.plan.write_text(json.dumps(_plan(kind, labels, rows)), encoding="utf-8")
    run.record("start", command="regraft tune pets.yaml", environment={"torch": "2.13.0"})
    run.record("step", step=1, epoch=0.5, loss=1.0, learning_rate=1e-3, padding=1.0)
    run.record("end", seconds=3.0, best_step=1)
    rng = np.random.default_rng(0)
    paths = [_photo(images / name.format(place), rng) for place in range(rows)]
    test, answers = _ANSWERS[kind](images, labels, rows, rng)
    baselines = {"majority": _majority(kind, test, rows, len(labels))}
    primary = {"numbers": "r2", "boxes": "map_50", "masks": "mean_iou"}.get(kind, "accuracy")
    scores = compose(
        kind, primary, labels=labels, test=test, validation=None, baselines=baselines, sampling=Sampling(resamples=100)
    )
    run.scores.write_text(json.dumps(scores, allow_nan=False), encoding="utf-8")
    where = [
        {"id": f"{(place * 7919) % 9973:032x}", "file": "pets.csv", "row": place + 2, "image": str(path)}
        for place, path in enumerate(paths)
    ]
    table = pa.Table.from_pylist([{**place, **answer} for place, answer in zip(where, answers, strict=True)])
    pq.write_table(table, run.predictions)
    return run


def _plan(kind: str, labels: list[str], rows: int) -> dict[str, Any]:
    sides = {side: dict.fromkeys(labels, rows) for side in ("train", "validation", "test")}
    spread = {side: {"min": 0.0, "mean": 0.5, "max": 1.0, "std": 0.1} for side in sides}
    counted = kind in {"classes", "labels"}
    targets = None if counted else spread if kind == "numbers" else sides
    data = {**dict.fromkeys(sides, rows), "labels": sides if counted else None, "targets": targets, "notes": []}
    return {"parameters": {"total": 10, "trainable": 10}, "data": data}


def _photo(path: Path, rng: np.random.Generator) -> Path:
    smooth = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(smooth).resize((WIDTH, HEIGHT)).save(path)
    return path


def _majority(kind: str, test: Outputs, rows: int, width: int) -> Any:
    if kind == "masks":
        return majority_masks(test.target, test.target)
    return majority(kind, test.target, rows, width)


def _classes(_: Path, labels: list[str], rows: int, rng: np.random.Generator) -> tuple[Outputs, list[dict[str, Any]]]:
    truth = rng.integers(0, len(labels), rows)
    test = Outputs(truth, 2 * np.eye(len(labels))[truth] + rng.normal(0, 1.5, (rows, len(labels))))
    said = probabilities(test.logits, "classes")
    return test, [
        {"target": labels[true], "prediction": labels[row.argmax()], "confidence": float(row.max())}
        for true, row in zip(truth, said, strict=True)
    ]


def _several(_: Path, labels: list[str], rows: int, rng: np.random.Generator) -> tuple[Outputs, list[dict[str, Any]]]:
    truth = rng.random((rows, len(labels))) < 0.4
    test = Outputs(truth, 6 * (truth - 0.5) + rng.normal(0, 3, truth.shape))
    said = probabilities(test.logits, "labels")
    return test, [
        {
            "target": [name for name, on in zip(labels, true, strict=True) if on],
            "prediction": [name for name, share in zip(labels, row, strict=True) if share >= 0.5],
            "confidence": float(row.max()),
        }
        for true, row in zip(truth, said, strict=True)
    ]


def _numbers(_: Path, labels: list[str], rows: int, rng: np.random.Generator) -> tuple[Outputs, list[dict[str, Any]]]:
    truth = rng.normal(size=(rows, len(labels)))
    said = truth + rng.normal(0, 0.2, truth.shape)
    answers = [{"target": float(t[0]), "prediction": float(s[0])} for t, s in zip(truth, said, strict=True)]
    return Outputs(truth, said), answers


def _boxes(_: Path, labels: list[str], rows: int, rng: np.random.Generator) -> tuple[Outputs, list[dict[str, Any]]]:
    """Objects of which some are found, some missed, and some boxes that are false."""
    size, target, said = np.array([WIDTH, HEIGHT] * 2), np.empty(rows, dtype=object), np.full((rows, 6, 6), -1.0)
    answers = []
    for place in range(rows):
        corners = rng.uniform(0.05, 0.6, (2, 2))
        true = np.column_stack([corners, corners + 0.3, rng.integers(0, len(labels), 2), np.zeros(2)])
        target[place] = true
        near = true[0, :4] + rng.normal(0, 0.01, 4)
        said[place, 0] = [*near, 0.9, true[0, 4]]
        if place % 2:
            said[place, 1] = [0.7, 0.7, 0.95, 0.99, 0.4, 0]
        told = [row for row in said[place] if row[4] >= 0]
        answers.append({
            "target": [{"label": labels[int(row[4])], "box": (row[:4] * size).tolist()} for row in true],
            "prediction": [
                {"label": labels[int(row[5])], "box": (row[:4] * size).tolist(), "score": float(row[4])}
                for row in told
            ],
        })  # fmt: skip
    return Outputs(target, said), answers


def _masks(
    images: Path, labels: list[str], rows: int, rng: np.random.Generator
) -> tuple[Outputs, list[dict[str, Any]]]:
    """A true rectangle of a class, and a predicted one that is moved the further the later the row."""
    counts, answers = np.zeros((rows, len(labels), len(labels)), dtype=np.int64), []
    for place in range(rows):
        number = 1 + place % (len(labels) - 1)
        true, said = (np.zeros((HEIGHT, WIDTH), dtype=np.uint8) for _ in range(2))
        true[20:50, 20:50] = number
        true[:4] = 255
        said[20:50, 20 + 2 * place : 50 + 2 * place] = number
        counted = true != 255
        np.add.at(counts[place], (true[counted], said[counted]), 1)
        path = images / f"mask {place}.png"
        Image.fromarray(true).save(path)
        packed = io.BytesIO()
        Image.fromarray(said).save(packed, "PNG")
        told = [{"label": labels[0], "share": 0.8}, {"label": labels[number], "share": 0.2}]
        answers.append({"target": str(path), "prediction": told, "mask": packed.getvalue()})
    return Outputs(counts.sum(axis=2), counts), answers


_ANSWERS = {"classes": _classes, "labels": _several, "numbers": _numbers, "boxes": _boxes, "masks": _masks}
