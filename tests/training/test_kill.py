"""R1: killed with SIGKILL at any moment, a run goes on in a fresh process and ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from regraft import tune
from regraft.run import Run
from regraft.testing import tiny_model, toy_images, toy_table
from tests.training.conftest import Unbroken
from tests.training.stage import Stage, assert_same_result, ended, fresh, launch, only_run, result_of, wait_until

# What is killed, in rotation.
RECIPES = {
    "full": ("training.epochs=4",),
    "top-layers": ("strategy={name: top-layers, n: 1}", "training.epochs=4", "training.ema=0.9"),
    "images": ("task=image-classification", "training.epochs=4", "training.workers=2", "augmentation.policy=light"),
    "regression": ("task=text-regression", "training.epochs=4", "training.precision=bf16", "training.workers=1"),
}
IN_CI, SLOW = range(6), range(6, 26)

References = dict[str, Unbroken]
Strike = Callable[[BaseProcess, Run, Run], None]  # what is killed, its folder, and the folder of the unbroken run


@pytest.fixture(scope="module")
def references() -> References:
    """The runs that nobody kills, made when first asked for."""
    return {}


@pytest.mark.parametrize("number", [*IN_CI, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_killed_inside_a_save(stage: Stage, output: Path, references: References, number: int) -> None:
    _kill_and_resume(stage, output, references, number, _inside_a_save(random.Random(number)))


@pytest.mark.parametrize("number", [*IN_CI, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_killed_at_a_random_moment(stage: Stage, output: Path, references: References, number: int) -> None:
    _kill_and_resume(stage, output, references, number, _at_a_moment(random.Random(100 + number)))


def _kill_and_resume(stage: Stage, output: Path, references: References, number: int, strike: Strike) -> None:
    kind = list(RECIPES)[number % len(RECIPES)]
    places = {"data": _table(stage, kind), "model": _model(stage, kind)}
    if kind not in references:
        run = tune(stage.recipe(stage.folder / kind, *RECIPES[kind], **places)).run
        references[kind] = Unbroken(run, result_of(run))
    process = launch(output / "log", "tune", str(stage.recipe_file(output, *RECIPES[kind], **places)), "--quiet")
    run = wait_until(lambda: only_run(output), process)
    strike(process, run, references[kind].run)
    assert ended(process) == -signal.SIGKILL
    again = fresh("resume", str(run.folder), "--quiet")
    assert again.returncode == 0, again.stderr
    assert_same_result(run, references[kind].result)
    left = [path for path in run.folder.rglob(".*") if path.name != ".lock"]
    assert not left, f"leftovers of the killed process: {left}"


def _model(stage: Stage, kind: str) -> Path:
    if kind != "images":
        return stage.model
    folder = stage.folder / "resnet"
    return folder if folder.exists() else tiny_model(folder, family="resnet")


def _table(stage: Stage, kind: str) -> Path:
    if kind == "images":
        folder = stage.folder / "shapes"
        return folder if folder.exists() else toy_images(folder, images=48)
    if kind != "regression":
        return stage.table
    file = stage.folder / "numbers.csv"
    return file if file.exists() else toy_table(file, kind="numbers")


def _steady(run: Run) -> list[dict[str, Any]]:
    """The events that every run has; how many rows it fills depends on what is stored already."""
    return [past for past in run.history() if past["event"] != "fill"]


def _at_a_moment(chance: random.Random) -> Strike:
    """Kill anywhere between the first event and the last. The moment is taken from the unbroken run's clock, and
    found again by how many events there were before it, so that a busy machine does not shift it."""

    def strike(process: BaseProcess, run: Run, unbroken: Run) -> None:
        times = [datetime.fromisoformat(past["time"]).timestamp() for past in _steady(unbroken)]
        moment = chance.uniform(times[0], times[-1])
        before = sum(past <= moment for past in times)
        wait_until(lambda: len(_steady(run)) >= before, process)
        left = times[-1] - times[before - 1]
        time.sleep(min(moment - times[before - 1], left / 4))  # this run may be the faster one, and must not have ended
        os.kill(process.pid, signal.SIGKILL)

    return strike


def _inside_a_save(chance: random.Random) -> Strike:
    """Kill while a checkpoint is half written: freeze the process, look whether it is so, else let it go on."""

    def strike(process: BaseProcess, run: Run, unbroken: Run) -> None:
        for _ in range(chance.randrange(8)):
            wait_until(lambda: _half_written(run), process)
            wait_until(lambda: not _half_written(run), process)
        while True:
            assert wait_until(lambda: _half_written(run), process), "the run ended before it could be killed"
            time.sleep(chance.uniform(0, 0.006))
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, process)
            if _half_written(run):
                break
            os.kill(process.pid, signal.SIGCONT)
        os.kill(process.pid, signal.SIGKILL)

    return strike


def _half_written(run: Run) -> bool:
    """Whether a checkpoint is being written. The name of one that is being removed goes on with a word."""
    return any(run.checkpoints.glob(".tmp-[0-9]*"))
