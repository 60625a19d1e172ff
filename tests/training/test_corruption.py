"""R4: a damaged checkpoint is found out before anything is trained, the file is named, and the one before is used."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regraft import resume, tune_events
from regraft.run import Run
from regraft.training import checkpoint
from tests.training.conftest import Unbroken
from tests.training.stage import Stage, assert_same_result, saved_steps

FILES = ("manifest.json", "state.json", "weights.safetensors", "optimizer.safetensors", "average.safetensors")
Damage = Callable[[Path], None]


def _truncated(share: float) -> Damage:
    return lambda file: file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def _flipped(chance: random.Random) -> Damage:
    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)

    return damage


def _damages(flips: int) -> Iterator[tuple[str, Damage]]:
    """Ten truncations (the first empties the file), a lost byte, a byte too many, a deletion, and flipped bits."""
    for tenth in range(10):
        yield f"truncated to {tenth} tenths", _truncated(tenth / 10)
    yield "last byte lost", lambda file: file.write_bytes(file.read_bytes()[:-1])
    yield "deleted", Path.unlink
    for number in range(flips):
        yield f"bit {number} flipped", _flipped(random.Random(number))


@pytest.fixture(scope="module")
def begun(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was abandoned in its second epoch."""
    output = tmp_path_factory.mktemp("begun")
    events = tune_events(stage.recipe(output, "name=begun", "training.ema=0.9"))
    next(event for event in events if event.name == "checkpoint" and event.values["step"] == 8)
    events.close()
    return Run(output / "begun")


def _detected(begun: Run, folder: Path, file: str, damage: Damage) -> bool:
    """Whether the damage is found, told with the file's name, and the checkpoint before it is chosen."""
    shutil.copytree(begun.checkpoints, folder)
    last, before = sorted(folder.glob("step-*"))[:-3:-1]
    damage(last / file)
    found, passed_over = checkpoint.newest(folder)
    shutil.rmtree(folder)
    return found is not None and found.folder == before and len(passed_over) == 1 and str(last / file) in passed_over[0]


@pytest.mark.parametrize("file", FILES)
def test_every_damage_is_found_and_the_one_before_is_used(begun: Run, tmp_path: Path, file: str) -> None:
    for name, damage in _damages(flips=8):
        assert _detected(begun, tmp_path / "copy", file, damage), f"{file}, {name}"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_five_hundred_flipped_bits_are_found(begun: Run, tmp_path: Path, file: str) -> None:
    for name, damage in _damages(flips=500):
        assert _detected(begun, tmp_path / "copy", file, damage), f"{file}, {name}"


def test_a_manifest_that_is_json_of_another_kind_is_damage(begun: Run, tmp_path: Path) -> None:
    for content in ("[]", "{}", '{"files": []}', '{"files": {}}', '{"files": {"state.json": 3}}', "null", "[" * 5000):
        damage = lambda file, content=content: file.write_text(content)  # noqa: E731
        assert _detected(begun, tmp_path / "copy", "manifest.json", damage), content


def test_where_all_are_damaged_there_is_none(begun: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(begun.checkpoints, tmp_path / "copy")
    for file in folder.glob("step-*/weights.safetensors"):
        file.write_bytes(b"")
    found, passed_over = checkpoint.newest(folder)
    assert found is None
    assert len(passed_over) == len(saved_steps(folder))


@pytest.mark.parametrize("file", ["manifest.json", "optimizer.safetensors"])
def test_a_run_with_a_damaged_checkpoint_ends_with_the_same_bits(
    stage: Stage, output: Path, unbroken: Unbroken, file: str
) -> None:
    run = _abandoned(stage, output, at=8)
    _flipped(random.Random(1))(max(run.checkpoints.glob("step-*")) / file)
    resume(run)
    assert_same_result(run, unbroken.result)
    told = [event["checkpoint"] for event in run.history() if event["event"] == "damaged"]
    assert len(told) == 1
    assert file in told[0]


def test_a_run_with_only_damaged_checkpoints_begins_anew(stage: Stage, output: Path, unbroken: Unbroken) -> None:
    run = _abandoned(stage, output, at=8)
    for file in run.checkpoints.glob("step-*/state.json"):
        file.unlink()
    resume(run)
    assert_same_result(run, unbroken.result)


def test_damaged_newer_checkpoints_keep_no_whole_one_from_being_kept(stage: Stage, output: Path) -> None:
    run = _abandoned(stage, output, "training.checkpoint={every: 1, keep: 2}", at=9)
    last = saved_steps(run.checkpoints)[-1]
    shutil.rmtree(run.checkpoints / f"step-{last:08d}" / "state.json", ignore_errors=True)
    for step in saved_steps(run.checkpoints)[-2:]:
        (run.checkpoints / f"step-{step:08d}" / "manifest.json").write_text("")
    assert checkpoint.newest(run.checkpoints)[0] is not None, "the best is still whole"
    checkpoint.publish(run.checkpoints, 7, {"step": 7, "best": None}, {})
    checkpoint.prune(run.checkpoints, keep=1, newest=7)
    found, _ = checkpoint.newest(run.checkpoints)
    assert found is not None
    assert found.step == 7


def _abandoned(stage: Stage, output: Path, *overrides: str, at: int) -> Run:
    events = tune_events(stage.recipe(output, "name=cut", *overrides))
    next(event for event in events if event.name == "checkpoint" and event.values["step"] == at)
    events.close()
    return Run(output / "cut")
