"""Run folders as a run leaves them, written by hand for the tests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regraft.evaluation import Outputs, Sampling, compose, majority, probabilities
from regraft.run import Run

TEXTS = [
    "A film of quiet power that stays with you long after the lights come up.",
    "The plot is thinner than the popcorn bag, and about as nourishing.",
    "这部电影节奏缓慢，但结尾令人感动。",
    "Not bad, not good; two hours that could have been a postcard, saved here and there by a supporting cast that "
    "seems to have wandered in from a better picture and cannot find the way out.",
]


def write_run(
    folder: Path, kind: str, *, labels: list[str] | None = None, rows: int = 300, texts: list[str] = TEXTS
) -> Run:
    """A finished run of one kind of answers, as large as asked."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        labels or {"classes": ["negative", "positive"], "labels": ["fun", "long", "剧情"], "numbers": ["score"]}[kind]
    )
    run = Run(folder)
    run.recipe.write_text(_recipe(kind), encoding="utf-8")
    run.plan.write_text(json.dumps(_plan(kind, names)), encoding="utf-8")
    for event in _events(kind):
        name = event.pop("event")
        run.record(name, **event)
    test = _answers(kind, rows, len(names), seed=0)
    run.scores.write_text(json.dumps(_scores(kind, names, test), allow_nan=False), encoding="utf-8")
    _write_predictions(run, kind, names, test, texts)
    return run


def _recipe(kind: str) -> str:
    task = "text-regression" if kind == "numbers" else "text-classification"
    return f"task:\n  name: {task}\nmodel:\n  name: minilm\ndata:\n  train: /home/somebody/reviews.csv\nseed: 0\n"


def _plan(kind: str, names: list[str]) -> dict[str, Any]:
    counts = {name: max(1, 400 // (place + 1)) for place, name in enumerate(names)}
    sides = {"train": 1.0, "validation": 0.125, "test": 0.125}
    spread = {"min": -3.8, "mean": 0.2, "max": 3.9, "std": 1.4}
    blocks = [
        {"name": f"blocks[{k}]", "parameters": 1_774_464, "trainable": 1_774_464 if k > 2 else 0,
         "learning_rate": [1e-5 * (k - 2), 1e-5 * (k - 2)] if k > 2 else None}
        for k in range(6)
    ]  # fmt: skip
    return {
        "strategy": {"name": "top-layers", "options": {"n": 3, "learning_rate": 3e-5}},
        "model": {"name": "minilm", "class": "BertForSequenceClassification", "parameters": 22_714_000},
        "loss": {"name": "cross-entropy", "reason": "one label a row; the labels are even"},
        "precision": {"name": "fp32", "reason": "this processor is not faster in bf16"},
        "parameters": {"total": 22_714_000, "trainable": 5_472_000},
        "tree": [
            {"name": "embeddings", "parameters": 11_919_360, "trainable": 0, "learning_rate": None},
            *blocks,
            {"name": "head", "parameters": 148_610, "trainable": 148_610, "learning_rate": [5e-5, 1e-4]},
        ],
        "data": {
            "train": 8484, "validation": 1060, "test": 1061,
            "columns": {"text": "review", "label": "stars"},
            "labels": None if kind == "numbers" else {
                side: {name: max(1, round(number * part)) for name, number in counts.items()}
                for side, part in sides.items()
            },
            "targets": dict.fromkeys(sides, spread) if kind == "numbers" else None,
            "bad_rows": [{"file": "reviews.csv", "row": 17, "column": "stars", "reason": "is empty"}],
            "notes": ["3 rows are in the data twice; both copies are on one side"],
        },
        "steps": 798,
    }  # fmt: skip


def _events(kind: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    metric = {"classes": "accuracy", "labels": "macro_f1", "numbers": "spearman"}[kind]
    events: list[dict[str, Any]] = [
        {"event": "start", "command": "regraft tune recipe.yaml training.epochs=3",
         "environment": {"regraft": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "system": "Linux x86_64"}}
    ]  # fmt: skip
    for step in range(1, 799):
        if step == 500:
            events.append({"event": "resume", "step": 480, "from": "step-000480"})
        progress = step / 798
        events.append({
            "event": "step", "step": step, "epoch": 3 * progress, "padding": 0.04, "grad_norm": 1.5 + rng.gamma(2, 0.4),
            "loss": 0.25 + 0.45 * math.exp(-3 * progress) + 0.06 * rng.normal(),
            "learning_rate": 3e-5 * min(progress / 0.1, (1 - progress) / 0.9),
        })  # fmt: skip
        if step % 133 == 0:
            score = 0.7 + 0.11 * progress - 0.04 * progress**4
            events.append({"event": "validation", "step": step, "epoch": 3 * progress, "scores": {metric: score},
                           "loss": 0.4 + 0.2 * (progress - 0.6) ** 2, "best": 0.5 < progress < 0.7})  # fmt: skip
    events.append(
        {"event": "skipped", "step": 77, "rows": ["reviews.csv, row 9"], "reason": "step 77: the loss is not finite"}
    )
    events.append({"event": "frozen", "tensors": 53, "identical": True})
    return [*events, {"event": "end", "seconds": 412.3, "best_step": 532}]


def _answers(kind: str, rows: int, width: int, *, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    if kind == "numbers":
        target = rng.normal(size=(rows, 1))
        return Outputs(target, 0.8 * target + 0.5 * rng.normal(size=(rows, 1)))
    if kind == "labels":
        truth = rng.random((rows, width)) < 0.4
        return Outputs(truth, 6 * (truth - 0.5) + rng.normal(0, 3, (rows, width)))
    chosen = rng.integers(0, width, rows)
    return Outputs(chosen, 5 * np.eye(width)[chosen] + rng.normal(0, 3, (rows, width)))


def _scores(kind: str, names: list[str], test: Outputs) -> dict[str, Any]:
    train, rows = _answers(kind, 400, len(names), seed=1).target, len(test.target)
    weaker = test.logits + np.random.default_rng(5).normal(0, 0.5 if kind == "numbers" else 2.5, test.logits.shape)
    return compose(
        kind,
        {"classes": "accuracy", "labels": "macro_f1", "numbers": "spearman"}[kind],
        labels=names,
        test=test,
        validation=_answers(kind, 200, len(names), seed=2),
        baselines={"majority": majority(kind, train, rows, len(names)), "linear_probe": probabilities(weaker, kind)},
        sampling=Sampling(resamples=100),
    )


def _write_predictions(run: Run, kind: str, names: list[str], test: Outputs, texts: list[str]) -> None:
    scores = probabilities(test.logits, kind)
    rows = []
    for place, (target, row) in enumerate(zip(test.target, scores, strict=True)):
        rows.append({
            "id": f"{place:032x}", "file": "reviews.csv", "row": place + 2,
            "text": texts[place % len(texts)], "text_pair": None,
            "target": _told(kind, names, target), "prediction": _answer(kind, names, row),
            "confidence": None if kind == "numbers" else float(row.max()),
            "probabilities": None if kind == "numbers" else row.astype(np.float32).tolist(),
        })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), run.predictions)


def _told(kind: str, names: list[str], target: Any) -> Any:
    if kind == "numbers":
        return float(target[0])
    return names[target] if kind == "classes" else [name for name, on in zip(names, target, strict=True) if on]


def _answer(kind: str, names: list[str], row: Any) -> Any:
    if kind == "numbers":
        return float(row[0])
    return names[row.argmax()] if kind == "classes" else [n for n, p in zip(names, row, strict=True) if p >= 0.5]
