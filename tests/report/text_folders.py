"""Run folders of tasks whose answers are written, and of sounds, as a run leaves them, made by hand for the tests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from regraft.evaluation import Outputs, Sampling, compose, majority
from regraft.run import Run

TASKS = {
    "translations": "translation",
    "completions": "text-generation",
    "conversations": "text-generation",
    "passages": "text-generation",
    "transcripts": "automatic-speech-recognition",
    "sounds": "audio-classification",
    "speech": "text-to-speech",
}
MODELS = {"translations": "bergamot-en-pt", "transcripts": "whisper-tiny.en", "speech": "joe", "sounds": "some-folder"}
COLUMNS = {
    "translations": ["source", "target"],
    "completions": ["prompt", "completion"],
    "conversations": ["messages"],
    "passages": ["text"],
    "transcripts": ["audio", "text"],
    "sounds": ["audio", "label"],
    "speech": ["text", "audio"],
}
TRUE = [
    "O sistema não é compatível com a versão.",
    "房子在河边，很安静。",
    "مرحبا بالعالم الجميل",
    "Modo de roaming",
    "Set the {host} to & save <b>it</b>",
]
TOLD = [
    "O sistema não é suportado com a versão.",
    "房子在山边，很安静。",
    "مرحبا العالم الجميل",
    "Modo de roaming",
    "Set host to & save <i>it</i>",
]
RATE = 8000


def write_text_run(
    folder: Path, kind: str, *, rows: int = 14, true: list[str] = TRUE, told: list[str] = TOLD, seconds: float = 0.4
) -> Run:
    """A finished run of one of ``TASKS``; sounds have so many seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    model = MODELS.get(kind, "smollm2-135m")
    recipe = f"task:\n  name: {TASKS[kind]}\nmodel:\n  name: {model}\ndata:\n  train: /home/somebody/pairs.csv\n"
    run.recipe.write_text(recipe, encoding="utf-8")
    run.plan.write_text(json.dumps(_plan(kind, rows)), encoding="utf-8")
    run.record("start", command="regraft tune pairs.yaml", environment={"torch": "2.13.0"})
    run.record("step", step=1, epoch=0.5, loss=1.0, learning_rate=1e-3, padding=0.1)
    run.record("end", seconds=3.0, best_step=1)
    answers = [_answer(kind, place, true, told) for place in range(rows)]
    if kind in {"transcripts", "sounds", "speech"}:
        for place, answer in enumerate(answers):
            _with_sounds(run.folder, kind, place, answer, seconds)
    scores = _scores(kind, answers)
    run.scores.write_text(json.dumps(scores, allow_nan=False), encoding="utf-8")
    where = [{"id": f"{(place * 7919) % 9973:032x}", "file": "pairs.csv", "row": place + 2} for place in range(rows)]
    table = pa.Table.from_pylist([{**place, **answer} for place, answer in zip(where, answers, strict=True)])
    pq.write_table(table, run.predictions)
    return run


def _plan(kind: str, rows: int) -> dict[str, Any]:
    sides = dict.fromkeys(("train", "validation", "test"), rows)
    lengths: dict[str, Any] = {} if kind == "passages" else {"min": 5, "mean": 49.5, "max": 1200}
    labels = {side: {"dog": rows, "rain": rows} for side in sides} if kind == "sounds" else None
    targets = None if kind == "sounds" else dict.fromkeys(sides, lengths)
    columns = {name: name for name in COLUMNS[kind]}
    return {
        "parameters": {"total": 10, "trainable": 10},
        "data": {**sides, "columns": columns, "labels": labels, "targets": targets, "bad_rows": [], "notes": []},
    }


def _answer(kind: str, place: int, true: list[str], told: list[str]) -> dict[str, Any]:
    truth, answer, loss = true[place % len(true)], told[place % len(told)], 0.1 + 0.7 * (place % 6)
    if kind == "sounds":
        return {"target": ("dog", "rain")[place % 2], "prediction": "dog", "confidence": 0.5 + 0.03 * place}
    if kind == "speech":
        return {"text": truth}
    if kind == "passages":
        return {"text": f"{place}: {truth}", "target": None, "prediction": None, "loss": loss}
    asked = {
        "translations": {"source": f"source {place}"},
        "completions": {"prompt": f"prompt {place} "},
        "conversations": {"messages": json.dumps(_turns(place, truth), ensure_ascii=False)},
        "transcripts": {},
    }[kind]
    return {**asked, "target": truth, "prediction": answer, "loss": math.nan if place == 3 else loss}


def _turns(place: int, truth: str) -> list[dict[str, str]]:
    said = [
        ("system", "be kind"),
        *[("user", f"question {place}"), ("assistant", "so it is")] * 4,
        ("user", "and now?"),
    ]
    return [{"role": role, "content": text} for role, text in [*said, ("assistant", truth), ("user", "thank you")]]


def _with_sounds(folder: Path, kind: str, place: int, answer: dict[str, Any], seconds: float) -> None:
    """Write the sounds of a row and name them in it."""
    recorded = _sound(folder / "sounds" / f"clip {place}.wav", 200 + 20 * place, seconds)
    if kind == "speech":
        made = _sound(folder / "speech" / f"{place}.wav", 300 + 20 * place, seconds)
        answer.update(target=str(recorded), prediction=str(made.relative_to(folder)))
    else:
        answer["audio"] = str(recorded)


def _sound(path: Path, pitch: float, seconds: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * pitch * times), RATE)
    return path


def _scores(kind: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    if kind in {"transcripts", "speech"}:
        return _by_hand(kind, len(answers))
    if kind == "sounds":
        truth = np.array([answer["target"] == "rain" for answer in answers]).astype(int)
        test = Outputs(truth, np.tile([1.0, -1.0], (len(answers), 1)))
        guess = {"majority": majority("classes", truth, len(truth), 2)}
        return compose("classes", "accuracy", labels=["dog", "rain"], test=test, validation=None, baselines=guess,
                       sampling=Sampling(resamples=50))  # fmt: skip
    truths = np.array([answer["target"] or "" for answer in answers], dtype=np.dtypes.StringDType())
    said = np.empty((len(answers), 3), dtype=object)
    for place, answer in enumerate(answers):
        asked = math.isfinite(answer["loss"])
        said[place] = [answer["prediction"], 9 * answer["loss"] if asked else 0.0, 9 if asked else 0]
    worse = said.copy()
    worse[:, 1] = [2 * each for each in said[:, 1]]
    if kind != "passages":
        worse[:, 0] = "no"
    found: Any = "completions" if kind == "conversations" else kind
    primary = "chrf" if kind == "translations" else "perplexity"
    return compose(found, primary, labels=[], test=Outputs(truths, said), validation=None,
                   baselines={"untouched": worse}, sampling=Sampling(resamples=50))  # fmt: skip


def _by_hand(kind: str, rows: int) -> dict[str, Any]:
    names = ("wer", "cer", "perplexity") if kind == "transcripts" else ("cer",)
    ours = {name: {"value": 0.123, "low": 0.101, "high": 0.147} for name in names}
    theirs = {name: {"value": 0.345, "low": 0.301, "high": 0.387} for name in names}
    return {
        "kind": kind, "primary": names[0], "higher_is_better": False, "rows": rows, "confidence": 0.95, "labels": [],
        "test": ours, "validation": ours, "baselines": {"untouched": theirs},
        "comparison": {"baseline": "untouched", "difference": 0.2, "p": 0.001,
                       "verdict": "tuning helped: 0.12 against 0.35 for the model before tuning, p = 0.001"},
        "signatures": dict.fromkeys(("wer", "cer"), "small letters, no punctuation") if kind == "transcripts" else {},
    }  # fmt: skip
