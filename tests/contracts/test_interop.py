"""A saved model is a plain transformers model: opened in a process without regraft it gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from regraft import Tuned
from regraft.tasks import WritingTask
from tests.contracts.plain import ask
from tests.contracts.runs import CELLS as EVERY
from tests.contracts.runs import Cell, Runs

pytestmark = pytest.mark.timeout(300)  # the first test makes all runs

# Reads lines of JSON, one for each folder, and answers each with a line.
PLAIN = """
import json, sys
import torch, transformers
from safetensors.torch import load_file

torch.set_num_threads(int(sys.argv[1]))
transformers.logging.set_verbosity_error()
for line in sys.stdin:
    asked = json.loads(line)
    inputs = load_file(asked["inputs"])
    expected = inputs.pop("expected")
    model, report = getattr(transformers, asked["opened_as"]).from_pretrained(asked["folder"], output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked["folder"])
    with torch.inference_mode():
        output = model.eval()(**inputs)
    found = output.logits if asked["opened_as"] != "AutoModel" else output.last_hidden_state
    print(json.dumps({
        "apart": ((found - expected).abs() / expected.abs().clamp(min=1)).max().item(),
        "shapes": found.shape == expected.shape,
        "missing": sorted(map(str, report["missing_keys"])), "unexpected": sorted(map(str, report["unexpected_keys"])),
        "labels": list(model.config.id2label.values()),
        "tokens": tokenizer(asked["text"])["input_ids"],
        "answer": transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)(asked["text"])[0]
        if asked["opened_as"].endswith("SequenceClassification") else None,
    }))
assert not any(name.split(".")[0] == "regraft" for name in sys.modules)
"""
TEXT = "the film was superb and the plot was dull"
# Plain peft opens an adapter on a model that it is given: see tests/pretrained/test_adapters.py.
CELLS = [cell for cell in EVERY if not (cell.of_images or cell.made_of_sounds or cell.adapts)]


@pytest.fixture(scope="module")
def opened(runs: Runs) -> dict[Cell, dict[str, Any]]:
    """What plain transformers says of each saved model."""
    return ask(PLAIN, CELLS, lambda cell: _question(cell, runs), runs.folder)


def _question(cell: Cell, runs: Runs) -> dict[str, Any]:
    outcome = runs[cell]
    inputs, expected = _computed(runs.loaded(cell))
    file = Path(runs.folder, f"{cell}.inputs.safetensors")
    save_file({**inputs, "expected": expected.contiguous()}, file)
    opened_as = "AutoModel" if cell.head == "mean" else outcome.tuned.task.auto_class
    return {"folder": str(outcome.run.model), "inputs": str(file), "opened_as": opened_as, "text": TEXT}


@torch.inference_mode()
def _computed(tuned: Tuned) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A batch, and what our model says of it: logits, or the states below a pooled head."""
    task, pretrained = tuned.task, tuned.pretrained
    if isinstance(task, WritingTask):
        return _written(tuned)
    texts = [{"text": TEXT}, {"text": "bad"}, {"text": f"{TEXT} " * 3}]
    batch = task.inputs.collate(
        task.inputs.encode(texts, pretrained.processor, pretrained.config), pretrained.processor
    )
    model = pretrained.model.eval()
    if pretrained.head == "mean":
        return batch, model.base_model(**batch).last_hidden_state  # type: ignore[operator]
    return batch, model(**batch)["logits"]


def _written(tuned: Tuned) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A batch of a model that writes, with the truth before each token where there is a decoder."""
    task, pretrained = tuned.task, tuned.pretrained
    column = task.inputs.columns()[0]
    read = [{column.name: task.inputs.given(column, text)} for text in (TEXT, "bad", f"{TEXT} " * 3)]
    encoded = task.inputs.encode(read, pretrained.processor, pretrained.config)
    if pretrained.config.is_encoder_decoder:
        encoded = [{**row, "decoder_input_ids": row["input_ids"][:4]} for row in encoded]
    batch = task.inputs.collate(encoded, pretrained.processor)
    return batch, pretrained.model.eval()(**batch)["logits"]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_gives_the_same_bits(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["shapes"]
    # With one output torch multiplies by a vector, and rounds by how that lies in memory: a mapped file is not aligned.
    # The terms of a fitted layer may be larger than their sum.
    one_output = len(opened[cell]["labels"]) == 1 and cell.head == "own" and not cell.writes
    assert opened[cell]["apart"] <= (1e-5 if one_output else 0)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_misses_no_weight_and_knows_all(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert (opened[cell]["missing"], opened[cell]["unexpected"]) == ([], [])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.writes], ids=str)
def test_plain_transformers_knows_the_labels(cell: Cell, runs: Runs, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["labels"] == list(runs[cell].tuned.answers.names)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_saved_tokenizer_gives_the_same_tokens(cell: Cell, runs: Runs, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["tokens"] == runs[cell].tuned.pretrained.processor(TEXT)["input_ids"]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.head == "own" and not cell.writes], ids=str)
def test_a_pipeline_gives_the_same_answer(cell: Cell, runs: Runs, opened: dict[Cell, dict[str, Any]]) -> None:
    tuned, answer = runs[cell].tuned, opened[cell]["answer"]
    ours = tuned.predict(TEXT)[0]
    if "confidence" not in ours:
        folded = not tuned.answers.scale  # a head without a bias cannot hold the mean of the targets
        assert not folded or answer["score"] == pytest.approx(ours["prediction"], rel=1e-5, abs=1e-5)
        return
    assert answer["label"] == max(ours["probabilities"], key=ours["probabilities"].__getitem__)


def test_the_pooled_head_is_one_linear_layer_on_the_mean(runs: Runs) -> None:
    from safetensors.torch import load_file

    from regraft.pretrained import mean_pool

    outcome = runs[Cell("text-classification", "classes", head="mean")]
    batch, hidden = _computed(outcome.tuned)
    head = load_file(outcome.run.model / "head.safetensors")
    logits = mean_pool(hidden, batch["attention_mask"]) @ head["weight"].T + head["bias"]
    with torch.inference_mode():
        expected = outcome.tuned.pretrained.model(**batch)["logits"]
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)
