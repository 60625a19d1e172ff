"""Random answers to images, and what COCO's evaluation says of them."""

from __future__ import annotations

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster

Answers = tuple[np.ndarray, np.ndarray]


def boxes(
    n: int = 30, c: int = 4, *, most: int = 30, seed: int = 0, grid: int | None = None, steps: int | None = None
) -> Answers:
    """Detections near objects and anywhere, some of a class that has no object; crowds, and images without objects.

    Corners lie on a ``grid``, and scores are so many ``steps``, where these are given: then overlaps and scores tie.
    """
    rng = np.random.default_rng(seed)
    target, scores = np.empty(n, dtype=object), np.full((n, most, 6), -1.0)
    for row in range(n):
        objects = int(rng.poisson(3) * (rng.random() < 0.85))
        truth = np.column_stack([_anywhere(rng, objects), rng.integers(0, c, objects), rng.random(objects) < 0.15])
        target[row] = _on_grid(truth, grid)
        given = int(rng.integers(0, most + 1))
        said = np.column_stack([_anywhere(rng, given), rng.random(given), rng.integers(0, c + 1, given)])
        if objects:
            near = rng.random(given) < 0.5
            like = target[row][rng.integers(0, objects, given)]
            said[near, :4] = (like[:, :4] + rng.normal(0, 0.02, (given, 4)))[near]
            said[near, 5] = like[near, 4]
        said[:, 2:4] = np.maximum(said[:, 2:4], said[:, :2] + 1 / 16)
        said[:, 4] = np.round(said[:, 4] * steps) / steps if steps else said[:, 4]
        scores[row, :given] = _on_grid(said, grid)
    return target, scores


def _anywhere(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.random((count, 2)) * 0.6
    return np.hstack([corner, corner + 1 / 16 + rng.random((count, 2)) * 0.3])


def _on_grid(rows: np.ndarray, grid: int | None) -> np.ndarray:
    return np.column_stack([np.round(rows[:, :4] * grid) / grid, rows[:, 4:]]) if grid else rows


def masks(n: int = 30, c: int = 4, *, seed: int = 0, right: float = 0.7) -> Answers:
    """Pixels, most of them right; each image has some of the classes."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 1000, size=(n, c)) * (rng.random((n, c)) < 0.6)
    counts = np.zeros((n, c, c), dtype=np.int64)
    for row, label in np.ndindex(n, c):
        share = (1 - right) / c + right * (np.arange(c) == label)
        counts[row, label] = rng.multinomial(pixels[row, label], share / share.sum())
    return pixels, counts


def coco(target: np.ndarray, scores: np.ndarray, classes: int) -> COCOeval_faster:
    """The reference on the same boxes, in images of 1,000 x 1,000 pixels."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": row + 1, "width": 1000, "height": 1000} for row in range(len(target))],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
        "annotations": [
            {
                **_annotation(row, each[:4], each[4]),
                "iscrowd": int(each[5]),
                "area": 1e6 * np.prod(each[2:4] - each[:2]),
            }
            for row, objects in enumerate(target)
            for each in objects
        ],
    }
    for number, annotation in enumerate(truth.dataset["annotations"], start=1):
        annotation["id"] = number
    truth.createIndex()
    said = [
        {**_annotation(row, each[:4], each[5]), "score": float(each[4])}
        for row, given in enumerate(scores)
        for each in given
        if each[4] >= 0
    ]
    evaluated = COCOeval_faster(truth, truth.loadRes(said), iouType="bbox", print_function=lambda *_: None)
    evaluated.run()
    return evaluated


def _annotation(row: int, corners: np.ndarray, label: float) -> dict:
    x1, y1, x2, y2 = corners * 1000
    return {"image_id": row + 1, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
