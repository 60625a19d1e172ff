"""A saved model that hears or speaks is a plain transformers model: opened without regraft, it says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.contracts.plain import ask
from tests.contracts.runs import CELLS as EVERY
from tests.contracts.runs import Cell, Runs

pytestmark = pytest.mark.timeout(300)  # the first test makes all runs

OURS = "piper_vits"  # which transformers does not have
CELLS = [
    cell
    for cell in EVERY
    if cell.made_of_sounds and cell.strategy == "full" and cell.family != OURS and cell.head == "own"
]

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
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = weight.data.clone()
    model.eval()
    torch.manual_seed(0)
    with torch.inference_mode():
        if asked["opened_as"] == "AutoModelForTextToSpectrogram":
            found = model.generate_speech(**inputs)
        elif asked["opened_as"] == "AutoModelForTextToWaveform":
            found = model(**inputs).waveform
        else:
            found = model(**inputs).logits
    if asked["reader"] == "extractor":
        reader = transformers.AutoFeatureExtractor.from_pretrained(asked["folder"])
    else:
        reader = transformers.AutoTokenizer.from_pretrained(asked["folder"])
    print(json.dumps({
        "apart": (found - expected).abs().max().item() if found.shape == expected.shape else None,
        "missing": sorted(map(str, report["missing_keys"])), "unexpected": sorted(map(str, report["unexpected_keys"])),
        "labels": list(model.config.id2label.values()),
        "architectures": model.config.architectures,
        "tokens": reader("good bad")["input_ids"] if asked["reader"] == "tokenizer" else None,
    }))
assert not any(name.split(".")[0] == "regraft" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def opened(runs: Runs) -> dict[Cell, dict[str, Any]]:
    """What plain transformers says of each saved model."""
    return ask(PLAIN, CELLS, lambda cell: _question(cell, runs), runs.folder)


def _question(cell: Cell, runs: Runs) -> dict[str, Any]:
    outcome = runs[cell]
    inputs, expected = _spoken(cell, runs) if cell.speaks else _heard(cell, runs)
    file = Path(runs.folder, f"{cell}.sounds.safetensors")
    save_file({**inputs, "expected": expected.contiguous()}, file)
    reader = "tokenizer" if cell.speaks else "extractor"
    opened_as = outcome.tuned.task.auto_class
    return {"folder": str(outcome.run.model), "inputs": str(file), "opened_as": opened_as, "reader": reader}


def _heard(cell: Cell, runs: Runs) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two sounds of equal length as the model reads them, and what it says of them."""
    prepared, tuned = runs.prepared(cell), runs.loaded(cell)
    row = prepared.rows.encoded[0]
    inputs = tuned.task.inputs.collate([row, row], tuned.pretrained.processor)
    with torch.inference_mode():
        return inputs, tuned.pretrained.model(**inputs)["logits"]


def _spoken(cell: Cell, runs: Runs) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A text as the voice reads it, and what it says: a wave or a spectrogram."""
    tuned = runs.loaded(cell)
    (row,) = tuned.task.inputs.encode([{"text": "good bad"}], tuned.pretrained.processor, tuned.pretrained.config)
    inputs = tuned.task.inputs.collate([row], tuned.pretrained.processor)
    model: Any = tuned.pretrained.model
    torch.manual_seed(0)
    with torch.inference_mode():
        spoken = model.generate_speech(**inputs) if cell.family == "speecht5" else model.backbone(**inputs).waveform
    return inputs, spoken


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_says_the_same(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["apart"] is not None
    assert opened[cell]["apart"] <= 1e-5


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_misses_no_weight_and_knows_all(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert (opened[cell]["missing"], opened[cell]["unexpected"]) == ([], [])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.table == "classes"], ids=str)
def test_plain_transformers_knows_the_labels(cell: Cell, runs: Runs, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["labels"] == list(runs[cell].tuned.answers.names)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.speaks], ids=str)
def test_the_saved_tokenizer_of_a_voice_reads_the_same(
    cell: Cell, runs: Runs, opened: dict[Cell, dict[str, Any]]
) -> None:
    assert [opened[cell]["tokens"]] == runs[cell].tuned.pretrained.processor.tokens(["good bad"])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.speaks], ids=str)
def test_a_saved_voice_says_which_class_of_transformers_it_is(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    known = {"vits": ["VitsModel"], "speecht5": ["SpeechT5ForTextToSpeech"]}
    assert opened[cell]["architectures"] == known[cell.family]
