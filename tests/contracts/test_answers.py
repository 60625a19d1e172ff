"""Whatever is combined: one model gives one answer, saved or not, alone or in a batch, by whichever way it is asked."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from regraft import Tuned, evaluate
from regraft.assessment import png
from regraft.sources import make_rows
from regraft.tasks import Encoded
from regraft.testing import (
    DETECTORS,
    FAMILIES,
    IMAGE_FAMILIES,
    LANGUAGE_MODELS,
    LISTENERS,
    SEGMENTERS,
    TRANSLATORS,
    VOICES,
)
from tests.contracts.runs import BY_FAMILY, BY_HEAD, CELLS, TABLES, Cell, Runs

NEAR = 1e-5
ONE_EACH = list(dict.fromkeys([*(cell for cell in BY_FAMILY if cell.strategy == "full"), *BY_HEAD,
                               *(Cell(task, table) for task, table in TABLES)]))  # fmt: skip


def _rows(runs: Runs, cell: Cell) -> list[dict[str, Any]]:
    """The test rows of a run, as its predictions list them."""
    return pq.read_table(runs[cell].run.predictions).to_pylist()


def _inputs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = ("text", "text_pair", "image", "source", "prompt", "messages", "audio")
    names = [name for name in columns if name in rows[0] and rows[0][name] is not None]
    return [{name: row[name] for name in names} for row in rows]


def _texts(runs: Runs, cell: Cell) -> list[dict[str, Any]]:
    """Texts of very different lengths, the longest cut; or images."""
    rows = _inputs(_rows(runs, cell))
    if cell.of_images or cell.of_sounds or cell.table == "conversations":
        return rows
    longest = {name: " ".join([text] * 30) for name, text in rows[0].items()}
    shortest = dict.fromkeys(rows[0], "good")
    return [*rows, longest, shortest]


def _encoded(tuned: Tuned, inputs: list[dict[str, Any]]) -> list[Encoded]:
    inputs = [tuned.parsed(values, number) for number, values in enumerate(inputs)]
    return tuned.task.inputs.encode(inputs, tuned.pretrained.processor, tuned.pretrained.config)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_loaded_model_predicts_the_same(cell: Cell, runs: Runs) -> None:
    inputs = _texts(runs, cell)
    loaded, tuned = runs.loaded(cell).predict(inputs), runs[cell].tuned.predict(inputs)
    assert [_told(answer) for answer in loaded] == [_near(answer) for answer in tuned]


@pytest.mark.parametrize("cell", ONE_EACH, ids=str)
@pytest.mark.parametrize("size", [1, 8, 64])
def test_the_batch_size_changes_nothing(cell: Cell, size: int, runs: Runs) -> None:
    tuned = runs[cell].tuned
    encoded = _encoded(tuned, _texts(runs, cell))
    apart = np.abs(tuned.logits(encoded, batch_size=size) - tuned.logits(encoded, batch_size=5))
    assert np.nanmax(apart) <= NEAR


@pytest.mark.parametrize("cell", ONE_EACH, ids=str)
def test_the_order_changes_nothing(cell: Cell, runs: Runs) -> None:
    tuned = runs[cell].tuned
    encoded = _encoded(tuned, _texts(runs, cell))
    order = random.Random(0).sample(range(len(encoded)), len(encoded))
    shuffled = tuned.logits([encoded[place] for place in order], batch_size=8)
    assert np.nanmax(np.abs(shuffled - tuned.logits(encoded, batch_size=8)[order])) <= NEAR


@pytest.mark.parametrize(
    "cell", [cell for cell in ONE_EACH if not (cell.of_images or cell.made_of_sounds or cell.writes)], ids=str
)
def test_padding_changes_nothing(cell: Cell, runs: Runs) -> None:
    """Each text alone, and beside one that is as long as a text can be."""
    tuned = runs.loaded(cell)
    encoded = _encoded(tuned, _texts(runs, cell))
    longest = max(encoded, key=tuned.task.inputs.length)
    for row in encoded:
        assert np.abs(_logits(tuned, [row]) - _logits(tuned, [row, longest])[:1]).max() <= NEAR


@pytest.mark.parametrize("cell", [cell for cell in ONE_EACH if cell.writes], ids=str)
def test_padding_does_not_change_how_likely_the_truth_is(cell: Cell, runs: Runs) -> None:
    """Each example alone, and beside the longest one."""
    tuned, prepared = runs.loaded(cell), runs.prepared(cell)
    encoded = make_rows(prepared.splits.train, tuned.task, tuned.answers, tuned.pretrained).encoded[:12]
    longest = max(encoded, key=tuned.task.inputs.length)
    for row in encoded:
        alone, beside = (tuned.logits(rows, write=False)[0] for rows in ([row], [row, longest]))
        assert alone == pytest.approx(beside, rel=NEAR, nan_ok=True)


def test_padding_on_the_left_changes_nothing(runs: Runs) -> None:
    """As the tokenizers of many decoders do it."""
    cell = Cell("text-classification", "classes", "full", "llama")
    tuned = Tuned.load(runs[cell].run.folder)
    tuned.pretrained.processor.padding_side = "left"
    encoded = _encoded(tuned, _texts(runs, cell))
    longest = max(encoded, key=tuned.task.inputs.length)
    for row in encoded:
        assert np.abs(_logits(tuned, [row]) - _logits(tuned, [row, longest])[:1]).max() <= NEAR


@torch.inference_mode()
def _logits(tuned: Tuned, encoded: list[Encoded]) -> Any:
    batch = tuned.task.inputs.collate(encoded, tuned.pretrained.processor)
    return tuned.pretrained.model(**batch)["logits"].numpy()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_evaluate_gives_the_scores_and_predictions_of_the_run(cell: Cell, runs: Runs) -> None:
    run, again = runs[cell].run, runs.folder / f"{cell}.parquet"
    scores = evaluate(run.folder, predictions=again)
    for name, score in runs[cell].scores["test"].items():
        assert scores["test"][name] == _near(score, within=1e-3), name  # a correlation of near-constants
    for row, answer in zip(_rows(runs, cell), pq.read_table(again).to_pylist(), strict=True):
        assert _heard(cell, answer, again.parent) == _near(_heard(cell, row, run.folder))


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.table != "passages"], ids=str)  # they have no answer
def test_predict_gives_the_predictions_of_the_run(cell: Cell, runs: Runs) -> None:
    rows = _rows(runs, cell)
    for row, answer in zip(rows, runs.loaded(cell).predict(_inputs(rows)), strict=True):
        row = _heard(cell, row, runs[cell].run.folder)
        assert _told(answer) == _near({name: row[name] for name in answer}, within=1e-4 if cell.speaks else NEAR)


def _heard(cell: Cell, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A row of the predictions with what its file holds, where it names one that was spoken."""
    if not cell.speaks:
        return row
    import soundfile

    samples, rate = soundfile.read(folder / row["prediction"], dtype="float32")
    return {**row, "prediction": samples.tolist(), "rate": rate, "seconds": round(len(samples) / rate, 3)}


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as the table of predictions has it."""
    if "rate" in answer:
        return {**answer, "prediction": list(map(float, answer["prediction"]))}
    answer = answer | ({"probabilities": list(answer["probabilities"].values())} if "probabilities" in answer else {})
    return answer | ({"mask": png(answer["mask"])} if isinstance(answer.get("mask"), np.ndarray) else {})


def _near(value: Any, *, within: float = NEAR) -> Any:
    """Equal but for the last bits of its numbers, which depend on where in memory the weights lie."""
    if isinstance(value, dict):
        told = _told(value) if isinstance(value.get("probabilities"), dict) or {"mask", "rate"} & {*value} else value
        return {name: _near(item, within=within) for name, item in told.items()}
    if isinstance(value, list):
        return [_near(item, within=within) for item in value]
    return pytest.approx(value, abs=within, nan_ok=True) if isinstance(value, float) else value


def test_every_family_is_among_the_cells() -> None:
    assert {cell.family for cell in ONE_EACH} == {
        *FAMILIES,
        *IMAGE_FAMILIES,
        *DETECTORS,
        *SEGMENTERS,
        *LANGUAGE_MODELS,
        *TRANSLATORS,
        *LISTENERS,
        *VOICES,
    }
