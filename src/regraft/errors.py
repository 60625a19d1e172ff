"""The tree of errors. Each knows its exit code.

    RegraftError                 1
    ├── RecipeError              2   the recipe, or the command line
    ├── DataError                3   a data file, or a row in it
    ├── TrainingError            4   training failed
    │   └── NotFiniteError           a loss or gradient is not a number
    ├── ResourceError            5   disk or memory is short, or something needed is not here
    │   ├── OutOfMemoryError         a training pass does not fit into memory
    │   └── CheckpointError          a checkpoint is damaged
    ├── RefusedError             6   refused for security
    ├── QualityError             7   the data does not pass the gate
    └── Interrupted        130 / 143 stopped by SIGINT or SIGTERM

A message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

import signal


class RegraftError(Exception):
    """The root: whatever regraft raises for a reason outside its own code."""

    exit_code = 1

    def __init__(self, problem: str, *, fix: str = "") -> None:
        super().__init__(f"{problem}\n  → {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix


class RecipeError(RegraftError):
    """The recipe or the command line asks for something that does not exist or does not fit."""

    exit_code = 2


class DataError(RegraftError):
    """A data file, or a row in it, cannot be used; the message names file, row and column."""

    exit_code = 3


class TrainingError(RegraftError):
    """Training could not go on."""

    exit_code = 4


class NotFiniteError(TrainingError):
    """A loss or a gradient is infinite or not a number; the message names step and rows."""


class ResourceError(RegraftError):
    """Disk or memory is short, or something that is needed is not on this machine."""

    exit_code = 5


class OutOfMemoryError(ResourceError):
    """A training pass does not fit into memory."""


class CheckpointError(ResourceError):
    """A checkpoint is damaged or does not belong to this run; the message names the file."""


class RefusedError(RegraftError):
    """Refused for security: nothing of it was loaded or run."""

    exit_code = 6


class QualityError(RegraftError):
    """Something was found in the data that makes scores untrue, and the recipe lets no run begin then."""

    exit_code = 7


class Interrupted(RegraftError):
    """A signal stopped the run; what had been published is whole."""

    def __init__(self, signum: int, problem: str, *, fix: str = "") -> None:
        super().__init__(problem, fix=fix)
        self.signum = signum
        self.exit_code = 130 if signum == signal.SIGINT else 143
