"""R6: on a disk that is really full a run stops with exit code 5 and goes on when there is space again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from regraft import resume, tune_events
from regraft.errors import ResourceError
from regraft.run import Run
from tests.training.conftest import Unbroken
from tests.training.stage import Stage, assert_same_result, ended, launch, wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if made.returncode:
        pytest.skip(f"a disk cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path, *, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free - leave)))
    return ballast


@pytest.mark.parametrize(
    ("moment", "at", "leave", "where"),
    [
        pytest.param("checkpoint", 4, 100_000, "checkpoints", id="checkpoint"),
        pytest.param("stage", "scored the baselines", 60_000, "model", id="model"),
        pytest.param("saved", None, 4096, "", id="predictions and scores"),
    ],
)
def test_a_full_disk_stops_the_run_which_then_goes_on(
    stage: Stage, small_disk: Path, unbroken: Unbroken, moment: str, at: object, leave: int, where: str
) -> None:
    events = tune_events(stage.recipe(small_disk, "name=cut"))
    for event in events:
        if event.name == moment and at in {None, event.values.get("step"), event.values.get("doing")}:
            break
    ballast = _fill(small_disk, leave=leave)
    with pytest.raises(ResourceError, match="space") as caught:
        list(events)
    assert caught.value.exit_code == 5
    assert str(small_disk / "cut" / where) in caught.value.problem
    run = Run(small_disk / "cut")
    assert not [path for path in run.folder.rglob(".*") if path.name != ".lock"], "nothing half written stays"
    ballast.unlink()
    resume(run)
    assert_same_result(run, unbroken.result)


def test_a_disk_that_is_full_down_to_the_last_byte_leaves_the_event_log_readable(
    stage: Stage, small_disk: Path, unbroken: Unbroken
) -> None:
    events = tune_events(stage.recipe(small_disk, "name=cut"))
    next(event for event in events if event.name == "checkpoint")
    ballast = _fill(small_disk, leave=0)
    with pytest.raises(ResourceError):
        list(events)
    ballast.unlink()
    run = Run(small_disk / "cut")
    resume(run)
    assert_same_result(run, unbroken.result)
    assert [event["event"] for event in run.history()].count("resume") == 1


def test_the_command_ends_with_5_and_says_what_to_do(stage: Stage, small_disk: Path, tmp_path: Path) -> None:
    process = launch(tmp_path / "log", "tune", str(stage.recipe_file(small_disk)), "--quiet")
    wait_until(lambda: any(small_disk.glob("*/checkpoints/step-*")), process)
    os.kill(process.pid, signal.SIGSTOP)
    _fill(small_disk, leave=100_000)
    os.kill(process.pid, signal.SIGCONT)
    code = ended(process)
    log = (tmp_path / "log").read_text()
    assert code == 5, log
    assert "Traceback" not in log
    assert "free some space" in log
    assert "regraft resume" in log


def test_too_small_a_disk_is_told_before_anything_is_trained(stage: Stage, small_disk: Path) -> None:
    with pytest.raises(ResourceError, match="the checkpoints need"):
        list(tune_events(stage.recipe(small_disk, "training.checkpoint.keep=40")))
