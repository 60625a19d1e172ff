"""Killed while it fills, two at a time, on a full disk: no wrong row is read, and a run ends with the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from regraft import resume, tune, tune_events
from regraft.recipe import Recipe
from regraft.run import Run
from tests.training.stage import Stage, assert_same_result, ended, launch, make_stage, only_run, result_of, wait_until
from tests.training.test_disk import small_disk

__all__ = ["small_disk"]  # a fixture

_TOP = "strategy={name: top-layers, n: 1}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A model and a table that take a moment to fill a store with."""
    return make_stage(tmp_path_factory.mktemp("stage"), rows=600)


@pytest.fixture(scope="module")
def without_store(stage: Stage) -> dict[str, Any]:
    """What a run gives that has no store."""
    return _kept(tune(_recipe(stage, stage.folder / "runs", "cache.store=never")).run)


def _recipe(stage: Stage, output: Path, *more: str) -> Recipe:
    return stage.recipe(output, _TOP, *more)


def _kept(run: Run) -> dict[str, Any]:
    return {name: value for name, value in result_of(run).items() if name not in {"scores"}}


def _same(run: Run, expected: dict[str, Any]) -> None:
    assert_same_result(run, {**expected, "scores": result_of(run)["scores"]})


@pytest.mark.parametrize("number", range(4))
def test_killed_while_it_fills_a_run_goes_on(
    stage: Stage, without_store: dict[str, Any], tmp_path: Path, number: int
) -> None:
    store, output = tmp_path / "store", tmp_path / "runs"
    recipe = stage.recipe_file(output, _TOP)
    process = launch(output / "log", "tune", str(recipe), "--quiet", REGRAFT_STORE=str(store))
    assert wait_until(lambda: any(store.glob("*/.tmp-*/rows.bin")), process, every=0.0005), "it has not filled"
    time.sleep(random.Random(number).uniform(0, 0.02))
    os.kill(process.pid, signal.SIGKILL)
    assert ended(process) == -signal.SIGKILL
    run = only_run(output)
    assert run is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_STORE", str(store))
        resume(run)
    _same(run, without_store)
    assert not list(store.glob("*/.tmp-*"))


def test_two_runs_that_share_a_store_end_as_one_alone(
    stage: Stage, without_store: dict[str, Any], tmp_path: Path
) -> None:
    store, outputs = tmp_path / "store", [tmp_path / "a", tmp_path / "b"]
    files = [stage.recipe_file(output, _TOP) for output in outputs]
    processes = [
        launch(output / "log", "tune", str(file), "--quiet", REGRAFT_STORE=str(store))
        for output, file in zip(outputs, files, strict=True)
    ]
    assert [ended(process) for process in processes] == [0, 0]
    for output in outputs:
        run = only_run(output)
        assert run is not None
        _same(run, without_store)
    boundary = [path for path in store.glob("*/segment-*/rows.bin") if path.stat().st_size > 1_000_000]
    assert len(boundary) == 1 or len({path.parent.parent for path in boundary}) == len(boundary), "filled twice"


@pytest.mark.parametrize("moment", ["before", "while it fills"])
def test_on_a_full_disk_a_run_goes_on_without_the_store(
    stage: Stage, without_store: dict[str, Any], small_disk: Path, tmp_path: Path, moment: str
) -> None:
    if moment == "before":
        _ballast(small_disk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_STORE", str(small_disk / "store"))
        events = tune_events(_recipe(stage, tmp_path / "runs"))
        decision: dict[str, Any] = {}
        while True:
            try:
                event = next(events)
            except StopIteration as stopped:
                run = stopped.value.run
                break
            if event.name == "fill" and event.values["done"] == 0:
                _ballast(small_disk)
            if event.name == "execution":
                decision = event.values
    assert decision["from_rows"]
    assert not decision["stored"]
    assert "disk" in decision["reason"] or "space" in decision["reason"]
    _same(run, without_store)
    assert not list(small_disk.glob("store/*/segment-*/*"))


def _ballast(disk: Path) -> None:
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - 4096)))
