"""A stage for runs: a tiny model, toy tables and recipes; runs in this process, in a forked one, and in a fresh one."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from regraft.frozen import Execution
from regraft.preparation import Prepared
from regraft.recipe import Recipe, make_recipe, to_yaml
from regraft.run import Run
from regraft.testing import WORDS, tiny_model, toy_table
from regraft.training import Loop, Poll, Verdict, checkpoint
from regraft.tuning import make_loop

# What a recipe of these tests says if nothing else is asked for: many saves, dropout on, two passes a step.
_BASE: dict[str, Any] = {
    "task": "text-classification",
    "data": {"split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
    "strategy": {"name": "full", "learning_rate": 1e-3},
    "training": {"epochs": 2, "precision": "fp32", "accumulation": 2, "checkpoint": {"every": 2}},
    "evaluation": {"resamples": 100},
    "seed": 7,
}

_PRELOADED = [
    "regraft.cli",
    "regraft.cli._outcome",
    "regraft.cli._progress",
    "regraft.report",
    "regraft.tuning",
    "sklearn.linear_model",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
]


@dataclass(frozen=True)
class Stage:
    """A folder with a tiny model and a toy table."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def table(self) -> Path:
        return self.folder / "reviews.csv"

    def recipe(self, output: Path, *overrides: str, data: Path | None = None, model: Path | None = None) -> Recipe:
        """The usual recipe, with overrides as on the command line."""
        values = copy.deepcopy(_BASE)
        values["data"]["train"] = str(data or self.table)
        values["model"] = {"name": str(model or self.model)}
        values["output"] = str(output)
        return make_recipe(values, overrides)

    def recipe_file(self, output: Path, *overrides: str, **places: Path) -> Path:
        """The same, as a file."""
        output.mkdir(parents=True, exist_ok=True)
        file = output / "asked.yaml"
        file.write_text(to_yaml(self.recipe(output, *overrides, **places)), encoding="utf-8")
        return file


def make_stage(folder: Path, *, rows: int = 120, **config: int) -> Stage:
    """A model that knows the words of the table."""
    tiny_model(folder / "model", words=WORDS, **config)
    toy_table(folder / "reviews.csv", rows=rows)
    return Stage(folder)


def result_of(run: Run) -> dict[str, Any]:
    """All that must be equal to the bit: weights, the last checkpoint's tensors, scores, predictions."""
    last = last_checkpoint(run)
    files = {f"checkpoint/{path.name}": path.read_bytes() for path in sorted(last.glob("*.safetensors"))}
    return {
        "last": last.name,
        **files,
        "weights": (run.model / "model.safetensors").read_bytes(),
        "scores": json.loads(run.scores.read_text(encoding="utf-8")),
        "predictions": pq.read_table(run.predictions).to_pylist(),
    }


def assert_same_result(run: Run, expected: dict[str, Any]) -> None:
    """Equal to the bit; a failure says in what not."""
    found = result_of(run)
    different = [name for name in {*expected, *found} if expected.get(name) != found.get(name)]
    assert not different, f"{run.folder}: differs in {sorted(different)}"


def last_checkpoint(run: Run) -> Path:
    """The newest checkpoint's folder."""
    return max(run.checkpoints.glob("step-*"))


def only_run(output: Path) -> Run | None:
    """The one run in ``output`` that has begun, if any."""
    found = [Run(path.parent) for path in output.glob("*/recipe.yaml")]
    assert len(found) < 2
    return found[0] if found else None


# Runs in other processes


def fresh(*words: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    """A command of regraft in a new interpreter."""
    code = "from regraft.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def launch(log: Path, *words: str, **environment: str) -> BaseProcess:
    """A command of regraft in a process forked from one that has imported all there is to import, so within 0.1 s."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_command, args=(str(log), words, environment))
    process.start()
    return process


def _command(log: str, words: tuple[str, ...], environment: dict[str, str]) -> None:
    from regraft.cli import main

    os.environ.update(environment)

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    multiprocessing.set_start_method("fork", force=True)  # as it is where nothing was launched like this
    sys.argv = ["regraft", *words]
    os.write(out, b"ready\n")
    main()


def wait_until(happened: Callable[[], Any], process: BaseProcess, *, seconds: float = 150, every: float = 0.002) -> Any:
    """What ``happened`` gives once it is true; None if the process ends before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = happened()
        if found:
            return found
        if not process.is_alive():
            return happened() or None
        time.sleep(every)
    raise AssertionError("it did not happen in time")


def ended(process: BaseProcess, *, seconds: float = 150) -> int:
    """The exit code; an error if the process takes longer."""
    process.join(seconds)
    assert process.exitcode is not None, f"still running after {seconds} s"
    return process.exitcode


def ended_soon(process: BaseProcess, *, seconds: float = 5) -> int:
    """The exit code; an error if the process works for longer than that. Its own clock counts, not the wall's, so
    that a busy machine fails no test."""
    before = working = _worked(process)
    while process.is_alive():
        working = max(working, _worked(process))
        assert working - before < seconds, f"still at work after {seconds} s"
        time.sleep(0.01)
    return ended(process)


def _worked(process: BaseProcess) -> float:
    """Seconds of processor time that a process has used; 0 when it is gone."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


# The loop by itself


def loop_of(prepared: Prepared, checkpoints: Path, *, stop: Poll = lambda: None) -> tuple[Loop, torch.nn.Module]:
    """A loop over a copy of the prepared model; it is scored by something that depends on every weight."""
    model = copy.deepcopy(prepared.pretrained.model)
    copied = replace(prepared, pretrained=replace(prepared.pretrained, model=model))

    def validate(execution: Execution) -> Verdict:
        stop()
        total = float(sum(value.detach().double().sum() for value in model.parameters()))
        stop()
        return Verdict(score=total, tie=0.0, loss=0.0, values={"total": total})

    return make_loop(copied, checkpoints, validate=validate, stop=stop), model


def bits(model: torch.nn.Module, checkpoints: Path) -> dict[str, bytes]:
    """The model's weights and the newest checkpoint's tensors."""
    folder = max(checkpoints.glob("step-*"))
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    return weights | {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def saved_steps(checkpoints: Path) -> list[int]:
    """The steps of all checkpoints there are."""
    return sorted(int(path.name.removeprefix("step-")) for path in checkpoints.glob("step-*"))


def change(folder: Path, file: str, alter: Callable[[dict[str, Any]], None]) -> None:
    """Alter a checkpoint's state, or the tensors of one file, and seal it again as if nothing had happened."""
    path = folder / file
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        alter(content)
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        tensors = load_file(path)
        alter(tensors)
        save_file(tensors, path)
    checkpoint.seal(folder)
