"""What is refused: a run in use, a recipe, data or a model that changed between stop and resume, a disk too small."""

from __future__ import annotations

import os
import shutil
import signal
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from regraft import resume, tune, tune_events
from regraft.errors import CheckpointError, RecipeError, ResourceError
from regraft.run import Run, find_run
from regraft.testing import WORDS, tiny_model
from regraft.training import checkpoint
from tests.training.conftest import Unbroken
from tests.training.stage import Stage, assert_same_result, ended, fresh, launch, only_run, wait_until


@pytest.fixture
def stopped(stage: Stage, output: Path, tmp_path: Path) -> Callable[..., Run]:
    """A run that was stopped, over a table and a model of its own."""

    def stop(*overrides: str) -> Run:
        data = shutil.copy(stage.table, tmp_path / "reviews.csv")
        model = shutil.copytree(stage.model, tmp_path / "model")
        events = tune_events(stage.recipe(output, "name=cut", *overrides, data=data, model=model))
        next(event for event in events if event.name == "checkpoint")
        events.close()
        return Run(output / "cut")

    return stop


def test_a_run_in_use_is_refused_with_the_process_that_uses_it(stage: Stage, output: Path) -> None:
    process = launch(output / "log", "tune", str(stage.recipe_file(output)), "--quiet")
    run = wait_until(lambda: only_run(output), process)
    wait_until(run.events.exists, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(RecipeError, match=f"in use by process {process.pid}"):
            resume(run)
        refused = fresh("resume", str(run.folder), "--quiet")
        assert refused.returncode == 2
        assert f"in use by process {process.pid}" in refused.stderr
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert ended(process) == 0


def test_a_killed_run_is_not_in_use_while_its_workers_live_on(stage: Stage, output: Path) -> None:
    options = ("training.workers=2", "training.epochs=20", "name=cut")
    process = launch(output / "log", "tune", str(stage.recipe_file(output, *options)), "--quiet")
    wait_until(lambda: any(event["event"] == "step" for event in Run(output / "cut").history()), process)
    workers = wait_until(lambda: psutil.Process(process.pid).children(), process)
    for worker in workers:
        worker.suspend()
    process.kill()
    ended(process)
    try:
        with Run(output / "cut").locked():
            pass
    finally:
        for worker in workers:
            worker.kill()


def test_a_stale_lock_file_is_no_lock(stage: Stage, output: Path, stopped: Callable[..., Run]) -> None:
    run = stopped()
    (run.folder / ".lock").write_text("1")
    resume(run)
    assert run.scores.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("seed: 7", "seed: 8", id="seed"),
        pytest.param("epochs: 2", "epochs: 3", id="epochs"),
        pytest.param("batch_size: 16", "batch_size: 8", id="batch size"),
        pytest.param("learning_rate: 0.001", "learning_rate: 0.002", id="learning rate"),
        pytest.param("accumulation: 2", "accumulation: 1", id="accumulation, which rounds otherwise"),
    ],
)
def test_a_recipe_edited_after_the_stop_is_refused(stopped: Callable[..., Run], key: str, value: str) -> None:
    run = stopped()
    text = run.recipe.read_text(encoding="utf-8")
    assert key in text
    run.recipe.write_text(text.replace(key, value), encoding="utf-8")
    with pytest.raises(CheckpointError, match="recipe has changed") as caught:
        resume(run)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers: 0", "workers: 1"),
        ("every: 2", "every: 3"),
        ("keep: 2", "keep: 5"),
        ("resamples: 100", "resamples: 200"),
    ],
)
def test_what_does_not_touch_the_weights_may_be_edited(
    stopped: Callable[..., Run], unbroken: Unbroken, key: str, value: str
) -> None:
    run = stopped()
    text = run.recipe.read_text(encoding="utf-8")
    assert key in text
    run.recipe.write_text(text.replace(key, value), encoding="utf-8")
    resume(run)
    assert (run.model / "model.safetensors").read_bytes() == unbroken.result["weights"]


def test_data_that_changed_after_the_stop_is_refused(stopped: Callable[..., Run], tmp_path: Path) -> None:
    run = stopped()
    with (tmp_path / "reviews.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"a good film number{number},good\n" for number in range(10))
    with pytest.raises(CheckpointError, match="data has changed"):
        resume(run)


def test_labels_that_changed_after_the_stop_are_refused(stopped: Callable[..., Run], tmp_path: Path) -> None:
    run = stopped()
    table = tmp_path / "reviews.csv"
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    swapped = {"good": "bad", "bad": "good"}
    parts = [line.rsplit(",", 1) for line in lines]
    table.write_text(
        "\n".join([header, *(f"{text},{swapped[label]}" for text, label in parts)]) + "\n", encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match="data has changed"):
        resume(run)


@pytest.mark.parametrize("strategy", ["full", "linear-probe"])
def test_another_pretrained_model_is_refused(stopped: Callable[..., Run], tmp_path: Path, strategy: str) -> None:
    run = stopped(f"strategy={strategy}")
    tiny_model(tmp_path / "model", words=WORDS, seed=1)
    with pytest.raises(CheckpointError, match="pretrained model has changed"):
        resume(run)


def _free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - free, free))


def test_a_disk_that_cannot_hold_the_checkpoints_is_told_before_training(
    stage: Stage, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _free(monkeypatch, 10**5)
    with pytest.raises(ResourceError, match="MB") as caught:
        tune(stage.recipe(output, "name=small"))
    assert caught.value.exit_code == 5
    assert not any(event["event"] == "step" for event in Run(output / "small").history())


def test_checkpoints_that_are_there_need_no_space_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, 1000)
    (tmp_path / "step-00000001").mkdir()
    (tmp_path / "step-00000001" / "weights.safetensors").write_bytes(bytes(3000))
    checkpoint.require_space(tmp_path, 1000, copies=4)
    with pytest.raises(ResourceError):
        checkpoint.require_space(tmp_path, 1001, copies=4)


def test_a_named_folder_that_was_made_and_not_begun_can_be_used(stage: Stage, output: Path) -> None:
    (output / "mine").mkdir()
    (output / "mine" / ".lock").write_text("123")
    assert tune(stage.recipe(output, "name=mine")).run.scores.exists()


def test_a_named_folder_with_something_in_it_is_refused(stage: Stage, output: Path, unbroken: Unbroken) -> None:
    (output / "mine").mkdir()
    (output / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(RecipeError, match="exists already"):
        tune(stage.recipe(output, "name=mine"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not a run folder"):
        find_run(tmp_path)


def test_resuming_a_finished_run_gives_it_again(stage: Stage, output: Path, unbroken: Unbroken) -> None:
    run = tune(stage.recipe(output, "name=done")).run
    resume(run)
    assert_same_result(run, unbroken.result)


def test_a_line_cut_short_in_the_event_log_spoils_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.record("first")
    with run.events.open("a") as file:
        file.write('{"event": "cut sh')
    run.record("second", value=1)
    assert [event["event"] for event in run.history()] == ["first", "second"]
