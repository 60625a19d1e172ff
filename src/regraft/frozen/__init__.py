"""Frozen parts are computed once: see README.md beside this file for the argument."""

from regraft.frozen.execution import UNFIT, Decision, Execution, Runner
from regraft.frozen.features import depth_taps, features
from regraft.frozen.frontier import Frontier, chain_of, find_frontier, known_norms, resting
from regraft.frozen.once import encoding_once
from regraft.frozen.patch import at_rest, forget_biases, forwards, statistics_at_rest
from regraft.frozen.prefix import Prefix, Tap
from regraft.frozen.rows import FrozenRows, fill, read
from regraft.frozen.store import Store, list_stores, make_room, remove_store, store_root
from regraft.frozen.subject import Subject
from regraft.frozen.trace import Trace, trace_of

__all__ = [
    "UNFIT",
    "Decision",
    "Execution",
    "Frontier",
    "FrozenRows",
    "Prefix",
    "Runner",
    "Store",
    "Subject",
    "Tap",
    "Trace",
    "at_rest",
    "chain_of",
    "depth_taps",
    "encoding_once",
    "features",
    "fill",
    "find_frontier",
    "forget_biases",
    "forwards",
    "known_norms",
    "list_stores",
    "make_room",
    "read",
    "remove_store",
    "resting",
    "statistics_at_rest",
    "store_root",
    "trace_of",
]
