"""What a loop works on and what it says: its material, its state, and the events of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from regraft.device import Device
from regraft.frozen import Execution, Tap
from regraft.pretrained import Anatomy
from regraft.recipe import TrainingOptions
from regraft.strategies import Phase
from regraft.tasks import Answers, Loss, Task
from regraft.training.loader import Rows
from regraft.training.readout import Fit


@dataclass(frozen=True)
class Event:
    """Something that happened, for the event log, the progress line and whoever iterates."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a look at the validation data gave. ``score`` is larger for better; ``tie`` decides between equals.

    ``logits`` of the rows, [n, width], are for whoever wants an interval. ``only`` is the class that all rows are said
    to be of, where others are among them.
    """

    score: float
    tie: float
    loss: float
    values: dict[str, float | None]
    logits: NDArray[np.float32] | None = None
    only: str | None = None


@dataclass
class State:
    """Where a run stands, but for its tensors."""

    step: int = 0
    phase: int = 0
    epoch: int = 0
    batch: int = 0
    skipped: int = 0
    waited: int = 0
    best: dict[str, Any] | None = None
    frozen: str | None = None
    execution: dict[str, Any] | None = None  # how this phase is computed
    aside: list[dict[str, Any]] = field(default_factory=list)  # epochs whose weights were put aside, with their scores
    finished: bool = False


@dataclass(frozen=True)
class Material:
    """All that a loop works on."""

    model: nn.Module
    anatomy: Anatomy
    processor: Any
    task: Task
    answers: Answers
    loss: Loss
    rows: Rows
    phases: Sequence[Phase]
    options: TrainingOptions
    seed: int
    device: Device
    execution: Execution
    factor: Callable[[int, int], float]  # what rates are multiplied by, of a step and the steps of its phase
    fit: Fit | None  # of the last layer, where a phase can ask for it
    checkpoints: Path | None  # their folder; None where nobody will go on with this run
    wanted: Sequence[Tap]  # what else of the training rows is stored where rows are, for later
    known: dict[int, dict[str, Any]]  # how phases are computed, where that was decided in a run of the same kind
    origin: Mapping[str, str]  # hashes of what a checkpoint belongs to, by what it is called: the recipe, the data


def total_steps(rows: int, phases: Sequence[Phase], batch_size: int) -> int:
    """How many optimizer steps a run takes if it is not stopped early; what is fitted counts as one."""
    per_epoch = -(-rows // batch_size)
    return sum(1 if phase.fitted else phase.epochs * per_epoch for phase in phases)
