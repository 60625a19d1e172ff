"""R3: the comparison of resumed runs is not blind. Whatever is taken from a checkpoint changes the result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft import resume, tune_events
from regraft.errors import CheckpointError
from regraft.preparation import Prepared, prepare
from regraft.run import Run
from regraft.training import checkpoint
from tests.training.stage import Stage, bits, change, loop_of

Alter = Callable[[dict[str, Any]], None]


def _zeroed(key: str) -> Alter:
    def alter(tensors: dict[str, Any]) -> None:
        for name in tensors:
            if name.endswith(f".{key}"):
                tensors[name] = torch.zeros_like(tensors[name])

    return alter


def _dropped(key: str) -> Alter:
    def alter(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.endswith(f".{key}")]:
            del tensors[name]

    return alter


def _moved(key: str, by: int) -> Alter:
    def alter(state: dict[str, Any]) -> None:
        state[key] += by

    return alter


def _one_bit_of_one_tensor(tensors: dict[str, Any]) -> None:
    name = max(tensors)
    tensors[name].view(torch.int32).view(-1)[0] ^= 1


def _one_bit_of_the_average(tensors: dict[str, Any]) -> None:
    """A bit from the middle of a value's digits: the lowest would be averaged away before the run ends."""
    name = max(tensors)
    tensors[name].view(torch.int32).view(-1)[0] ^= 1 << 12


def _nothing(_: dict[str, Any]) -> None:
    pass


@pytest.fixture(scope="module")
def prepared(stage: Stage) -> Prepared:
    return prepare(stage.recipe(stage.folder, "training.ema=0.9"))


@pytest.fixture(scope="module")
def middle(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a run that got as far as the second step of its second epoch."""
    folder = tmp_path_factory.mktemp("middle")
    loop, _ = loop_of(prepared, folder)
    for event in loop.events():
        if event.name == "checkpoint" and event.values["step"] == 6:
            break
    return folder


def _goes_on(prepared: Prepared, middle: Path, folder: Path, file: str, alter: Alter) -> dict[str, bytes]:
    shutil.copytree(middle, folder)
    change(folder / "step-00000006", file, alter)
    found = checkpoint.open_checkpoint(folder / "step-00000006")
    loop, model = loop_of(prepared, folder)
    loop.resume(found)
    list(loop.events())
    loop.use_best()
    return bits(model, folder)


def test_a_checkpoint_sealed_again_unchanged_changes_nothing(prepared: Prepared, middle: Path, tmp_path: Path) -> None:
    first = _goes_on(prepared, middle, tmp_path / "a", "state.json", _nothing)
    assert first == _goes_on(prepared, middle, tmp_path / "b", "weights.safetensors", _nothing)


@pytest.mark.parametrize(
    ("file", "alter"),
    [
        pytest.param("optimizer.safetensors", _zeroed("exp_avg"), id="first moment zeroed"),
        pytest.param("optimizer.safetensors", _zeroed("exp_avg_sq"), id="second moment zeroed"),
        pytest.param("optimizer.safetensors", _zeroed("step"), id="optimizer step zeroed"),
        pytest.param("optimizer.safetensors", lambda tensors: tensors.clear(), id="optimizer emptied"),
        pytest.param("weights.safetensors", _one_bit_of_one_tensor, id="one bit of one weight"),
        pytest.param("average.safetensors", _one_bit_of_the_average, id="one bit of the average"),
        pytest.param("state.json", _moved("batch", 1), id="data position forward"),
        pytest.param("state.json", _moved("batch", -1), id="data position back"),
        pytest.param("state.json", _moved("epoch", -1), id="epoch back"),
        pytest.param("state.json", _moved("step", 1), id="step, and with it the dropout masks"),
    ],
)
def test_what_is_changed_in_a_checkpoint_changes_the_result(
    prepared: Prepared, middle: Path, tmp_path: Path, file: str, alter: Alter
) -> None:
    expected = _goes_on(prepared, middle, tmp_path / "untouched", "state.json", _nothing)
    try:
        found = _goes_on(prepared, middle, tmp_path / "changed", file, alter)
    except CheckpointError:
        return  # refused: as good
    assert found != expected


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq", "step"])
def test_an_optimizer_state_with_a_hole_is_refused(prepared: Prepared, middle: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match=key):
        _goes_on(prepared, middle, tmp_path / "changed", "optimizer.safetensors", _dropped(key))


def test_a_missing_weight_is_refused(prepared: Prepared, middle: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="classifier.weight"):
        _goes_on(
            prepared,
            middle,
            tmp_path / "changed",
            "weights.safetensors",
            lambda tensors: tensors.pop("classifier.weight"),
        )


def test_another_seed_in_the_recipe_is_refused(stage: Stage, output: Path) -> None:
    events = tune_events(stage.recipe(output, "name=seeded"))
    next(event for event in events if event.name == "checkpoint")
    events.close()
    run = Run(output / "seeded")
    run.recipe.write_text(run.recipe.read_text(encoding="utf-8").replace("seed: 7", "seed: 8"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="recipe has changed"):
        resume(run)
