"""Checkpoints that are whole or are not there.

A checkpoint is written into a temporary folder, each file flushed to the disk, a manifest with the size and SHA-256
of every file last; then the folder is renamed. A crash at any moment leaves the older checkpoints as they were and at
most a temporary folder, which the next start removes.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from regraft.errors import CheckpointError, ResourceError
from regraft.fingerprint import digest, file_sha256
from regraft.run import sync_folder, write_durably

_MANIFEST = "manifest.json"
_STATE = "state.json"
_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was verified: every file is there with the size and hash it was written with."""

    folder: Path
    step: int
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file; empty if the checkpoint has no such file."""
        from safetensors.torch import load_file

        path = self.folder / f"{name}.safetensors"
        return load_file(path) if path.exists() else {}


def publish(parent: Path, step: int, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write a checkpoint whole.

    Args:
        parent: the folder of all checkpoints.
        state: plain JSON values.
        tensors: for each file its tensors; a file without tensors is left out.

    Returns:
        The folder ``step-…``. One that is there already and whole is kept: what it holds follows from its step.

    Raises:
        ResourceError: the disk is full or fails; earlier checkpoints are untouched.
    """
    final = parent / _name(step)
    if final.exists() and _problem(final) is None:
        return final
    temporary = parent / f"{_TEMPORARY}{step}-{uuid.uuid4().hex[:8]}"
    with _storage(parent):
        try:
            temporary.mkdir(parents=True)
            _write_files(temporary, state, tensors)
            if final.exists():
                shutil.rmtree(final)  # damaged, as was found above
            os.rename(temporary, final)
            sync_folder(parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


def newest(parent: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, as is the best that it refers to; and why newer ones were passed over."""
    passed_over = []
    for folder in sorted(parent.glob("step-*"), reverse=True):
        try:
            checkpoint = open_checkpoint(folder)
            best = _best_of(folder)
            if best is not None and best != folder.name:
                open_checkpoint(parent / best)
        except CheckpointError as error:
            passed_over.append(f"{folder.name}: {error.problem}")
            continue
        return checkpoint, passed_over
    return None, passed_over


def open_checkpoint(folder: Path) -> Checkpoint:
    """Verify a checkpoint and read its state.

    Raises:
        CheckpointError: naming the file that is missing or damaged.
    """
    problem = _problem(folder)
    if problem is not None:
        raise CheckpointError(problem, fix="`regraft resume` goes on from the one before it")
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    return Checkpoint(folder, int(state["step"]), state)


def prune(parent: Path, *, keep: int, newest: int) -> None:
    """Remove all but the newest ``keep`` checkpoints and the best that these refer to.

    Args:
        newest: the step just published. What lies beyond it was passed over as damaged and keeps nothing from
            being kept; it is replaced when its step comes again.
    """
    folders = sorted((f for f in parent.glob("step-*") if f.name <= _name(newest)), reverse=True)
    bests = {_best_of(folder) for folder in folders[:keep]}
    for folder in folders[keep:]:
        if folder.name not in bests:
            doomed = folder.with_name(f"{_TEMPORARY}{folder.name}-{uuid.uuid4().hex[:8]}")
            os.rename(folder, doomed)  # so that a crash half way leaves no checkpoint with holes
            shutil.rmtree(doomed, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what a crash left behind."""
    for folder in parent.glob(f"**/{_TEMPORARY}*"):
        shutil.rmtree(folder, ignore_errors=True)


def require_space(parent: Path, size: int, *, copies: int, beside: int = 0) -> None:
    """Stop before training if the disk cannot hold ``copies`` checkpoints of ``size`` bytes, those there included.

    Args:
        beside: bytes of what else is kept in folders there.

    Raises:
        ResourceError: saying how much is needed and how much is free.
    """
    with _storage(parent):
        parent.mkdir(parents=True, exist_ok=True)
        held = sum(path.stat().st_size for form in ("step-*/*", "*/step-*/*") for path in parent.glob(form))
        free = shutil.disk_usage(parent).free + held
    needed = size * copies + beside
    if needed > free:
        raise ResourceError(
            f"{parent}: the checkpoints need {needed / 1e6:,.0f} MB and there is room for {free / 1e6:,.0f} MB",
            fix="free some space, choose another disk with output=…, or keep fewer with training.checkpoint.keep=1",
        )


def seal(folder: Path) -> None:
    """Write the manifest: the size and SHA-256 of every other file, and its own."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
        if path.name != _MANIFEST
    }
    write_durably(folder / _MANIFEST, json.dumps({"files": files, "sha256": digest(files)}, indent=1).encode())
    sync_folder(folder)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _best_of(folder: Path) -> str | None:
    """The folder of the best checkpoint that one refers to; None if there is none, or it cannot be read."""
    try:
        best = json.loads((folder / _STATE).read_text(encoding="utf-8"))["best"]
        return None if best is None else _name(int(best["step"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_files(folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    for name, group in tensors.items():
        if group:
            _write_tensors(folder / f"{name}.safetensors", group)
    write_durably(folder / _STATE, json.dumps(state, indent=1).encode())
    seal(folder)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(0, str(error), str(path)) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file; None if nothing is."""
    path = folder / _MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = content["files"]
        if content["sha256"] != digest(files):
            return f"{path} is damaged"
        entries = [(folder / name, int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()]
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{path} is damaged"
    if _STATE not in files:
        return f"{path} is damaged (it does not list {_STATE})"
    return next((problem for entry in entries if (problem := _file_problem(*entry))), None)


def _file_problem(path: Path, size: int, sha256: str) -> str | None:
    try:
        found = path.stat().st_size
        if found != size:
            return f"{path} has {found} bytes instead of {size}"
        if file_sha256(path) != sha256:
            return f"{path} has changed since it was written (its SHA-256 differs)"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"{error.filename or folder}: {error.strerror or error}; nothing was written, the earlier ones are whole",
            fix="free some space or check the disk, then `regraft resume`",
        ) from error
