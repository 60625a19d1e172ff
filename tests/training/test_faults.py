"""R5: whichever call to the operating system fails in a save, the one before loads and nothing is half there."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from regraft.errors import ResourceError
from regraft.training import checkpoint
from tests.training.stage import saved_steps

TENSORS = {"weights": {"a": torch.arange(8.0)}, "optimizer": {"a.step": torch.ones(())}}


class Faults:
    """The n-th call to the operating system fails; the others work."""

    def __init__(self, number: int, at: int) -> None:
        self.number, self.at, self.calls = number, at, 0
        self.failed = ""

    def check(self, name: str, path: object) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.failed = name
            where = () if isinstance(path, int) else (str(path),)  # a handle has no name
            raise OSError(self.number, os.strerror(self.number), *where)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **named: Any) -> Any:
            self.check(name, path)
            return function(path, *more, **named)

        return call

    def around_open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            self.check("open", path)
            file = function(path, mode, *more, **named)
            if "w" not in mode:
                return file
            write = file.write
            return _Writer(file, lambda text: (self.check("write", path), write(text))[1])

        return call

    def around_save(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensors: Any, path: Any, *more: Any) -> Any:
            try:
                self.check("write", path)
            except OSError as error:
                raise SafetensorError(
                    f"Error while serializing: I/O error: {error.strerror} (os error {error.errno})"
                ) from None
            return function(tensors, path, *more)

        return call


class _Writer:
    """A file whose writes are watched."""

    def __init__(self, file: Any, write: Callable[[str], Any]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _publish(parent: Path, faults: Faults) -> ResourceError | None:
    """Publish step 2; the error, if there was one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", faults.around_open(builtins.open))
        patch.setattr(safetensors.torch, "save_file", faults.around_save(safetensors.torch.save_file))
        for name in ("fsync", "rename", "mkdir", "open"):
            patch.setattr(os, name, faults.around(name, getattr(os, name)))
        try:
            checkpoint.publish(parent, 2, {"step": 2, "best": None}, TENSORS)
        except ResourceError as error:
            return error
    return None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=["ENOSPC", "EIO", "EACCES"])
def test_every_failing_call_leaves_what_was_there(tmp_path: Path, number: int) -> None:
    parent = tmp_path / "checkpoints"
    checkpoint.publish(parent, 1, {"step": 1, "best": None}, TENSORS)
    failed = []
    for at in range(1, 100):
        faults = Faults(number, at)
        error = _publish(parent, faults)
        if not faults.failed:
            break
        assert error is not None
        assert error.exit_code == 5
        assert str(parent) in error.problem, "the message names the path"
        assert os.strerror(number) in error.problem
        failed.append(faults.failed)
        found, passed_over = checkpoint.newest(parent)
        assert found is not None
        assert not passed_over, "a checkpoint is whole or it is not there"
        assert not list(parent.glob(".tmp-*"))
        if found.step == 2:  # only where the last call failed, which makes the rename survive a power cut
            assert faults.failed in {"open", "fsync"}
            checkpoint.prune(parent, keep=1, newest=1)
            for file in (parent / "step-00000002").iterdir():
                file.unlink()
            (parent / "step-00000002").rmdir()
    assert saved_steps(parent) == [1, 2], "the loop ended with a save that passed"
    assert {"mkdir", "open", "write", "fsync", "rename"} <= set(failed)
    assert len(failed) > 15


def _fails(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_failing_removal_of_old_ones_is_no_harm_to_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        checkpoint.publish(tmp_path, step, {"step": step, "best": None}, TENSORS)
    monkeypatch.setattr(os, "unlink", _fails)
    checkpoint.prune(tmp_path, keep=1, newest=3)
    assert saved_steps(tmp_path) == [3]
    monkeypatch.undo()
    checkpoint.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
