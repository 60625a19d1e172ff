"""R7: SIGTERM and SIGINT stop a run soon, with a checkpoint or nothing to save; going on changes no bit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from regraft import resume
from regraft.run import Run
from regraft.testing import toy_table
from tests.training.conftest import Unbroken
from tests.training.stage import Stage, assert_same_result, ended, ended_soon, launch, only_run, wait_until

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}

Moment = Callable[[Path, BaseProcess], object]


def _after(event: str, *, times: int = 1) -> Moment:
    def moment(output: Path, process: BaseProcess) -> object:
        def happened() -> bool:
            run = only_run(output)
            return run is not None and sum(past["event"] == event for past in run.history()) >= times

        return wait_until(happened, process)

    return moment


def _catches(process: BaseProcess, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for a signal: Linux tells in a mask."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & (1 << (number - 1)))


def _in_a_save(output: Path, process: BaseProcess) -> object:
    return wait_until(lambda: any(output.glob("*/checkpoints/.tmp-[0-9]*")), process)


MOMENTS: dict[str, Moment] = {
    "first batch": _after("start"),
    "mid accumulation": _after("step", times=3),
    "save": _in_a_save,
    "end of an epoch": _after("step", times=5),
    "validation": _after("validation"),
    "last step": _after("step", times=10),
    "evaluation": _after("frozen"),
}


@pytest.mark.parametrize(
    ("moment", "number", "delay"),
    [
        *((moment, (signal.SIGTERM, signal.SIGINT)[place % 2], 0.0) for place, moment in enumerate(MOMENTS)),
        *(
            pytest.param(moment, number, random.Random(str((moment, number))).uniform(0, 0.02), marks=pytest.mark.slow)
            for moment in MOMENTS
            for number in CODES
        ),
    ],
)
def test_a_signal_stops_a_run_that_can_go_on(
    stage: Stage, output: Path, unbroken: Unbroken, moment: str, number: signal.Signals, delay: float
) -> None:
    process = launch(output / "log", "tune", str(stage.recipe_file(output)), "--quiet")
    MOMENTS[moment](output, process)
    time.sleep(delay)
    os.kill(process.pid, number)
    assert ended_soon(process) == CODES[number]
    run = only_run(output)
    assert run is not None
    last = (output / "log").read_text().strip().splitlines()[-1]
    assert last.endswith(f"regraft resume {run.folder}")
    resume(run)
    assert_same_result(run, unbroken.result)


@pytest.fixture(scope="module")
def large(stage: Stage) -> Path:
    """A table that takes a second or more to read."""
    return toy_table(stage.folder / "large.csv", rows=15_000)


@pytest.mark.parametrize("number", CODES)
def test_a_signal_while_data_is_prepared_leaves_nothing(
    stage: Stage, output: Path, large: Path, number: signal.Signals
) -> None:
    log = output / "log"
    process = launch(log, "tune", str(stage.recipe_file(output, data=large)), "--quiet")
    wait_until(lambda: _catches(process, signal.SIGTERM), process)
    os.kill(process.pid, number)
    assert ended_soon(process) == CODES[number]
    assert "nothing to save" in log.read_text()
    assert only_run(output) is None


def test_a_second_signal_ends_at_once(stage: Stage, output: Path, large: Path) -> None:
    process = launch(output / "log", "tune", str(stage.recipe_file(output, data=large)), "--quiet")
    wait_until(lambda: _catches(process, signal.SIGTERM), process)
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):  # it finds both when it goes on
        os.kill(process.pid, number)
    assert ended_soon(process, seconds=0.2) == -signal.SIGTERM


def test_a_signal_while_resuming_prepares_says_how_to_resume(stage: Stage, output: Path, large: Path) -> None:
    log = output / "log"
    begun = launch(log, "tune", str(stage.recipe_file(output, data=large)), "--quiet")
    _after("step")(output, begun)
    begun.kill()
    ended(begun)
    run = only_run(output)
    assert run is not None
    log.unlink()
    process = launch(log, "resume", str(run.folder), "--quiet")
    wait_until(lambda: _catches(process, signal.SIGTERM), process)
    os.kill(process.pid, signal.SIGTERM)
    assert ended_soon(process) == 143
    assert log.read_text().strip().endswith(f"regraft resume {run.folder}")


def test_a_signal_after_the_last_poll_lets_the_run_end(stage: Stage, output: Path, unbroken: Unbroken) -> None:
    process = launch(output / "log", "tune", str(stage.recipe_file(output)), "--quiet")
    _after("saved")(output, process)
    os.kill(process.pid, signal.SIGTERM)
    assert ended_soon(process) in {0, 143, -signal.SIGTERM}
    run = only_run(output)
    assert run is not None
    resume(Run(run.folder))
    assert_same_result(run, unbroken.result)
