"""A saved image model is a plain transformers model: opened without regraft (or its backbone), it gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.contracts.plain import ask
from tests.contracts.runs import CELLS as EVERY
from tests.contracts.runs import Cell, Runs

pytestmark = pytest.mark.timeout(600)  # the first test makes all runs

CELLS = [cell for cell in EVERY if cell.of_images and cell.strategy == "full"]
KEYS = ("logits", "pred_boxes", "class_queries_logits", "masks_queries_logits", "last_hidden_state")

# Reads lines of JSON, one for each folder, and answers each with a line.
PLAIN = """
import json, sys
import torch, transformers
from safetensors.torch import load_file

torch.set_num_threads(int(sys.argv[1]))
transformers.logging.set_verbosity_error()
for line in sys.stdin:
    asked = json.loads(line)
    given = load_file(asked["inputs"])
    image = given.pop("image").numpy()
    model, report = getattr(transformers, asked["opened_as"]).from_pretrained(asked["folder"], output_loading_info=True)
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = weight.data.clone()
    processor = transformers.AutoImageProcessor.from_pretrained(asked["folder"])
    seen = processor(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    pixels = given.pop("pixel_values")
    with torch.inference_mode():
        # Laid out as regraft's: a new batch norm that has seen hardly any variance makes large numbers of rounding.
        output = model.eval().to(memory_format=torch.channels_last)(pixel_values=pixels)
    print(json.dumps({
        "apart": {name: (output[name] - value).abs().max().item() for name, value in given.items()},
        "missing": sorted(map(str, report["missing_keys"])), "unexpected": sorted(map(str, report["unexpected_keys"])),
        "labels": list(model.config.id2label.values()),
        "pixels": (seen - pixels).abs().max().item() if seen.shape == pixels.shape else None,
    }))
assert not any(name.split(".")[0] == "regraft" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def opened(runs: Runs) -> dict[Cell, dict[str, Any]]:
    """What plain transformers says of each saved model."""
    return ask(PLAIN, CELLS, lambda cell: _question(cell, runs), runs.folder)


def _question(cell: Cell, runs: Runs) -> dict[str, Any]:
    outcome, tuned = runs[cell], runs.loaded(cell)
    opened = tuned.pretrained
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    encoded = tuned.task.inputs.encode([tuned.parsed({"image": image}, 1)], opened.processor, opened.config)
    batch = tuned.task.inputs.collate(encoded, opened.processor)
    own = opened.head == "own"
    with torch.inference_mode():
        output = (opened.model if own else opened.model.base_model)(**batch)  # type: ignore[operator]
    expected = {name: output[name].contiguous() for name in KEYS if output.get(name) is not None}
    file = Path(runs.folder, f"{cell}.inputs.safetensors")
    save_file({**batch, **(expected if own else {"last_hidden_state": expected["last_hidden_state"]}),
               "image": torch.from_numpy(image)}, file)  # fmt: skip
    task_class = "AutoModelForUniversalSegmentation" if cell.family == "mask2former" else tuned.task.auto_class
    opened_as = task_class if own else "AutoModel"
    return {"folder": str(outcome.run.model), "inputs": str(file), "opened_as": opened_as}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_says_the_same_of_an_image(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["apart"]
    assert max(opened[cell]["apart"].values()) <= 1e-5


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_misses_no_weight(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert (opened[cell]["missing"], opened[cell]["unexpected"]) == ([], [])


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_plain_transformers_knows_the_labels(cell: Cell, runs: Runs, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["labels"] == list(runs[cell].tuned.answers.names)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.task == "image-classification"], ids=str)
def test_the_saved_processor_makes_the_same_pixels(cell: Cell, opened: dict[Cell, dict[str, Any]]) -> None:
    assert opened[cell]["pixels"] == 0
