"""Pooled vectors of examples at any depth, from the store where they are there: what probes and rankings look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regraft.errors import ResourceError
from regraft.frozen.fields import backbone_of
from regraft.frozen.prefix import Prefix, Tap
from regraft.frozen.rows import FrozenRows, fill, open_store, read
from regraft.frozen.subject import Subject
from regraft.frozen.trace import trace_of
from regraft.recipe import CacheOptions
from regraft.tasks import Encoded


def depth_taps(subject: Subject) -> list[Tap]:
    """The mean of each example's rows behind every block, and at last behind what follows the blocks.

    A model that has no module for its backbone does not give the last of these.
    """
    most = len(subject.blocks) + (backbone_of(subject.model) is not None)
    return [Tap(height, "mean") for height in range(1, most + 1)]


def features(
    subject: Subject,
    encoded: Sequence[Encoded],
    taps: Sequence[Tap],
    options: CacheOptions,
    *,
    root: Path,
    poll: Callable[[], None] = lambda: None,
) -> list[NDArray[np.float32]]:
    """What leaves a model at some taps, each example as one vector; one pass for all taps that are not stored yet.

    Args:
        taps: with a reading that gives one row.
        root: the folder of all stores.

    Returns:
        For each tap [n, width], in the order of the examples.
    """
    prefix = Prefix(subject.model, subject.blocks, _calls(subject, encoded))
    size = len(encoded) * subject.width * 4
    sets = [FrozenRows(subject, prefix, encoded, tap, torch.float32, size=size) for tap in taps]
    with ExitStack() as stack:
        if options.store != "never" and _stored(sets, stack, options, root, poll):
            return [_stacked(rows[range(len(encoded))]) for rows in sets]
    computed = dict(read(subject, prefix, encoded, [(tap, torch.float32) for tap in taps], poll))
    return [_stacked([computed[place][index] for place in range(len(encoded))]) for index in range(len(taps))]


def _calls(subject: Subject, encoded: Sequence[Encoded]) -> Sequence[int]:
    """How often each block runs; once where that cannot be seen."""
    if encoded and subject.blocks:
        with suppress(ValueError):
            return trace_of(subject.model.eval(), subject.blocks, subject.batch(encoded[:2])).calls
    return [1] * len(subject.blocks)


def _stored(
    sets: Sequence[FrozenRows], stack: ExitStack, options: CacheOptions, root: Path, poll: Callable[[], None]
) -> bool:
    """Open and fill the stores; False where the disk has no room for them."""
    try:
        opened = [open_store(rows, stack, root) for rows in sets]
        for _ in fill(opened, poll, most=options.max_bytes):
            pass
    except (OSError, ResourceError):
        return False
    return True


def _stacked(rows: Sequence[torch.Tensor]) -> NDArray[np.float32]:
    return np.concatenate([row.float().cpu().numpy() for row in rows]) if rows else np.zeros((0, 1), dtype=np.float32)
