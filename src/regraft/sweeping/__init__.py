"""Sweeps: many ways to tune are tried, and the best is compared over seeds.

    space      the ``sweep:`` part of a recipe file, and the recipe of each point
    journal    optuna's journal: who tries what; a killed process's place is taken by another
    trial      train and score on the validation rows, data and model shared within a process
    sweep      the search, then the seeds, in one process or several
    outcome    the table and the winner over seeds

What is frozen alike is computed once for all trials: the key of a stored row is what decides its bytes.
"""

from regraft.sweeping.space import RangeOptions, SweepOptions, read_sweep
from regraft.sweeping.sweep import Sweep, begin, find_sweep, short, sweep_events, words

__all__ = [
    "RangeOptions",
    "Sweep",
    "SweepOptions",
    "begin",
    "find_sweep",
    "read_sweep",
    "short",
    "sweep_events",
    "words",
]
