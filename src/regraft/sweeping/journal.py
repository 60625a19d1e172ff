"""The journal of a sweep: who tries what, and what came of it. Optuna's own journal file, shared by processes.

    journal.jsonl   one JSON object a line, appended under a lock; nothing is ever changed
    workers/ID      held locked by a process for as long as it lives

What is tried is decided by the place of a trial in its stage, not by who tries it: a trial whose process was killed is
tried again at the same place, with the same values.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from regraft.run import storage
from regraft.sweeping.space import Point

_JOURNAL = "journal.jsonl"
_DEATHS = 3


@dataclass(frozen=True)
class Stage:
    """A part of a sweep: so many places, each with a point.

    ``sampler`` chooses the values of a place, and ``point`` asks it for them.
    """

    name: str
    places: int
    sampler: Callable[[int], BaseSampler]
    point: Callable[[Trial, int], Point]


@dataclass(frozen=True)
class Record:
    """What a place came to. ``state``: running, complete or failed, and then why."""

    place: int
    point: Point
    state: str
    found: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Claim:
    """A place that this process has taken."""

    place: int
    point: Point
    number: int


class Journal:
    """The journal of the sweep in a folder. Use it in a ``with`` block: for as long this process counts as alive."""

    def __init__(self, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder = folder
        self.worker = uuid.uuid4().hex[:8]
        with self._mine():
            _mend(folder / _JOURNAL)
        backend = JournalFileBackend(str(folder / _JOURNAL), lock_obj=_Lock(folder / ".append"))  # type: ignore[arg-type]
        self._storage = JournalStorage(backend)
        self._studies: dict[str, optuna.Study] = {}
        self._alive: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        workers = self.folder / "workers"
        workers.mkdir(exist_ok=True)
        with self._mine():
            for worker in workers.iterdir():
                if not _lives(worker):
                    worker.unlink(missing_ok=True)
            self._alive = _locked(workers / self.worker, wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._alive is not None:
            (self.folder / "workers" / self.worker).unlink(missing_ok=True)
            self._alive.close()

    @contextmanager
    def _mine(self) -> Iterator[None]:
        """One process at a time.

        Raises:
            ResourceError: the disk is full or fails.
        """
        with storage(self.folder / _JOURNAL), _held(self.folder / ".claim"):
            yield

    def keep(self, stage: str, key: str, make: Callable[[], Any]) -> Any:
        """What is kept of a stage under a name; made by the first who asks."""
        with self._mine():
            study = self._study(stage)
            if key not in study.user_attrs:
                study.set_user_attr(key, make())
            return study.user_attrs[key]

    def kept(self, stage: str, key: str) -> Any:
        """What is kept of a stage under a name, or None."""
        with self._mine():
            return self._study(stage).user_attrs.get(key)

    def claim(self, stage: Stage) -> Claim | None:
        """Take the first place that nobody has; None if there is none."""
        with self._mine():
            study = self._study(stage.name)
            self._bury(study)
            records = {record.place: record for record in _records(study)}
            place = next((place for place in range(stage.places) if place not in records), None)
            if place is None:
                return None
            before = next((t.params for t in study.get_trials() if _is_point(t, place)), None)
            study.sampler = stage.sampler(place) if before is None else Fixed(before)
            trial = study.ask()
            trial.set_user_attr("worker", self.worker)
            trial.set_user_attr("place", place)
            point = stage.point(trial, place)
            trial.set_user_attr("point", point)
            return Claim(place, point, trial.number)

    def complete(self, stage: str, claim: Claim, score: float, found: dict[str, Any]) -> None:
        """Say what a trial came to; ``score`` is larger for better."""
        with self._mine():
            study = self._study(stage)
            self._set(study, claim, "found", found)
            study.tell(claim.number, score)

    def fail(self, stage: str, claim: Claim, reason: str | None) -> None:
        """Say that a trial failed, and why; without a reason its place is free again."""
        with self._mine():
            study = self._study(stage)
            if reason is not None:
                self._set(study, claim, "reason", reason)
            study.tell(claim.number, state=TrialState.FAIL)

    def records(self, stage: str) -> list[Record]:
        """What is known of each place, in order."""
        with self._mine():
            study = self._study(stage)
            self._bury(study)
            return _records(study)

    def _set(self, study: optuna.Study, claim: Claim, key: str, value: Any) -> None:
        trial = study.get_trials(deepcopy=False)[claim.number]
        self._storage.set_trial_user_attr(trial._trial_id, key, value)

    def _study(self, name: str) -> optuna.Study:
        if name not in self._studies:
            known = optuna.get_all_study_names(self._storage)
            if name in known:
                self._studies[name] = optuna.load_study(storage=self._storage, study_name=name, sampler=Fixed({}))
            else:
                self._studies[name] = optuna.create_study(
                    storage=self._storage, study_name=name, direction="maximize", sampler=Fixed({})
                )
        return self._studies[name]

    def _bury(self, study: optuna.Study) -> None:
        """Free the places of processes that live no more; one that has cost several their lives counts as failed."""
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get("worker")
            if worker == self.worker or (worker and _lives(self.folder / "workers" / worker)):
                continue
            self._count_death(study, trial)
            study.tell(trial.number, state=TrialState.FAIL)
            if worker:
                (self.folder / "workers" / worker).unlink(missing_ok=True)

    def _count_death(self, study: optuna.Study, trial: FrozenTrial) -> None:
        place = trial.user_attrs.get("place")
        if place is None:  # killed before it was known
            return
        died = 1 + sum(other.user_attrs.get("died") == place for other in study.get_trials(deepcopy=False))
        self._storage.set_trial_user_attr(trial._trial_id, "died", place)
        if died >= _DEATHS:
            reason = f"{died} processes were killed at it: most likely memory"
            self._storage.set_trial_user_attr(trial._trial_id, "reason", reason)


class Fixed(BaseSampler):
    """Gives values that are known already."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        """Nothing is drawn together."""
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        """Nothing is drawn together."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        """The value that was given."""
        return self._values[param_name]


def _records(study: optuna.Study) -> list[Record]:
    found = [record for trial in study.get_trials(deepcopy=False) if (record := _record(trial)) is not None]
    return sorted(found, key=lambda record: record.place)


def _record(trial: FrozenTrial) -> Record | None:
    """What a trial says of its place; None where the place is free again."""
    told = trial.user_attrs
    if trial.state == TrialState.COMPLETE:
        return Record(told["place"], told["point"], "complete", {**told["found"], "signed": trial.value})
    if trial.state == TrialState.FAIL and "reason" in told:
        return Record(told["place"], told["point"], "failed", reason=told["reason"])
    if trial.state == TrialState.RUNNING and "point" in told:
        return Record(told["place"], told["point"], "running")
    return None


def _is_point(trial: FrozenTrial, place: int) -> bool:
    return trial.user_attrs.get("place") == place and "point" in trial.user_attrs


# Files


def _mend(path: Path) -> None:
    """Cut off a last line that a crash or a full disk left without its end."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def _lives(path: Path) -> bool:
    """Whether the process that holds a file is alive."""
    if not path.exists():
        return False
    file = _locked(path, wait=False)
    if file is None:
        return True
    file.close()
    return False


@contextmanager
def _held(path: Path) -> Iterator[None]:
    file = _locked(path, wait=True)
    assert file is not None
    with file:
        yield


def _locked(path: Path, *, wait: bool) -> IO[bytes] | None:
    """A file under a lock that ends with the process; None if another one has it and this one does not wait."""
    file = path.open("ab")
    try:
        # Not flock: the workers of a killed process inherit that and hold it for some seconds more.
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        file.close()
        if wait:
            raise
        return None
    return file


class _Lock:
    """The lock of the journal file. Optuna's own are files that a killed process leaves behind for 30 seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        self._file = _locked(self._path, wait=True)
        _mend(self._path.with_name(_JOURNAL))
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
