"""The run folder: the contract through which the upper rooms meet. Each writes its file; ``report`` shows them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import yaml

from regraft.errors import RecipeError, ResourceError


def cache_root() -> Path:
    """Where regraft keeps what can be made again: ``$REGRAFT_CACHE``, else ``~/.cache/regraft``."""
    given = os.environ.get("REGRAFT_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regraft"


@dataclass(frozen=True)
class Run:
    """One run folder. Paths only; nothing is opened until asked for."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.json"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.parquet"

    @property
    def quality(self) -> Path:
        return self.folder / "quality.json"

    @property
    def augmented(self) -> Path:
        """A picture of what training sees, where examples are varied."""
        return self.folder / "augmented.png"

    @property
    def augmented_texts(self) -> Path:
        """The same of texts, in words."""
        return self.folder / "augmented.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def record(self, event: str, **values: Any) -> None:
        """Append one line to ``events.jsonl``; a line is written whole or not at all."""
        line = json.dumps({"event": event, "time": _now(), **values}, ensure_ascii=False, allow_nan=True)
        with storage(self.events), self.events.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")  # a crash or a full disk cut the line before
            file.write(line.encode() + b"\n")

    def history(self) -> list[dict[str, Any]]:
        """All events so far. A last line cut short by a crash is left out."""
        if not self.events.exists():
            return []
        return list(_whole_lines(self.events))

    @property
    def ended(self) -> bool:
        """Whether the run came to its end, and what it leaves is there."""
        marks = [entry["event"] for entry in self.history() if entry["event"] in {"start", "end"}]
        return marks[-1:] == ["end"] and self.scores.exists() and self.model.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            RecipeError: another living process holds it.
        """
        path = self.folder / ".lock"
        with storage(path):
            file = path.open("a+", encoding="utf-8")
        with file:
            _hold(file, self.folder)
            yield


def _hold(file: TextIO, folder: Path) -> None:
    """Lock a file and write this process's id into it."""
    try:
        # Not flock: the workers of a killed process inherit that and hold it for some seconds more.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise RecipeError(
            f"{folder} is in use by process {file.read().strip() or 'unknown'}",
            fix="wait for it, or give this run another name (name=...)",
        ) from None
    with storage(folder / ".lock"):
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()


def create_run(output: Path, name: str | None, default_name: str) -> Run:
    """Make a new run folder: ``output/name``, or ``output/default_name-1``, ``-2``, … where no name is given.

    Raises:
        RecipeError: the named folder exists already.
        ResourceError: the folder cannot be made.
    """
    with storage(output):
        output.mkdir(parents=True, exist_ok=True)
        if name is None:
            return Run(_numbered(output, re.sub(r"[^\w.-]+", "-", default_name)))
        folder = output / name
        try:
            folder.mkdir()
        except FileExistsError:
            if folder.is_dir() and not any(not path.name.startswith(".") for path in folder.iterdir()):
                return Run(folder)  # whoever made it was killed before anything was written
            raise RecipeError(
                f"{folder} exists already",
                fix=f"continue it with `regraft resume {folder}`, or choose another name",
            ) from None
        return Run(folder)


def find_run(folder: str | Path) -> Run:
    """The run in ``folder``.

    Raises:
        RecipeError: there is none.
    """
    folder = Path(folder)
    if not (folder / "recipe.yaml").is_file():
        raise RecipeError(
            f"{folder} is not a run folder (it has no recipe.yaml)",
            fix="`regraft runs` lists the runs there are",
        )
    return Run(folder)


def list_runs(output: Path) -> list[dict[str, Any]]:
    """The runs in a folder, the newest first: name, task, strategy, and the score or how far they came."""
    folders = [path.parent for path in output.glob("*/recipe.yaml")]
    newest = sorted(folders, key=lambda folder: (folder / "recipe.yaml").stat().st_mtime, reverse=True)
    return [_told(Run(folder)) for folder in newest]


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole: a temporary one beside it, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage(path):
        try:
            write_durably(temporary, text.encode("utf-8"))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until its bytes are on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until what was made, renamed or removed in a folder is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """The JSON in ``path``.

    Raises:
        ResourceError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResourceError(f"{path} is missing", fix="has the run finished? `regraft resume` finishes it") from None
    except (OSError, ValueError) as error:
        raise ResourceError(f"{path} cannot be read: {error}") from None


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn an operating system error into a message that names the path."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"{error.filename or path}: {error.strerror or error}",
            fix="free some space or check the permissions",
        ) from error


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to write into. At the end it takes that name; where that fails, nothing is left of it.

    Raises:
        ResourceError: the disk is full or fails.
    """
    temporary = folder.parent / f".{folder.name}-{os.getpid()}"
    with storage(folder):
        try:
            yield temporary
            os.rename(temporary, folder)
        except Exception as error:  # safetensors and tokenizers tell of a failing disk in kinds of their own
            if "os error" not in str(error):
                raise
            raise OSError(0, str(error), str(folder)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _told(run: Run) -> dict[str, Any]:
    try:
        values = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))
        told = {"run": str(run.folder), "task": values["task"]["name"], "strategy": values["strategy"]["name"]}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {"run": str(run.folder), "task": "", "strategy": "", "state": "recipe.yaml is not one of a run"}
    if run.scores.exists():
        scores = read_json(run.scores)
        best = scores["test"][scores["primary"]]
        shown = [f"{best[key]:.3f}" if best[key] is not None else "undefined" for key in ("value", "low", "high")]
        state = f"{scores['primary']} {shown[0]} [{shown[1]}, {shown[2]}]"
        return {**told, "state": state, "scores": scores["test"]}
    steps = [event["step"] for event in run.history() if event["event"] == "checkpoint"]
    return {
        **told,
        "state": f"stopped; resumable from step {steps[-1]}" if steps else "stopped before the first checkpoint",
    }


def _numbered(output: Path, stem: str) -> Path:
    number = 1
    while True:
        try:
            folder = output / f"{stem}-{number}"
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value: Mapping[str, Any] = json.loads(line)
            except ValueError:
                continue
            yield dict(value)


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
