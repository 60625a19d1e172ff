"""Inputs of which little can be learned: cut, empty, of one colour, silent; and rows that could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from regraft.data import BadRow
from regraft.quality.findings import Finding, Item, Place, Row, place_of, rows_in_words, strongest
from regraft.quality.pictures import Glance
from regraft.training import Poll

_QUIET = 1e-4  # of the loudest that a sound can be
_HEARD = 16_000  # samples a second, of a sound that is looked at


def unreadable(bad: Sequence[BadRow]) -> Iterator[Finding]:
    """Rows that were left out, and why."""
    if bad:
        items = [Item((Place("", row.file, row.row, "", ""),), 1.0, row.reason) for row in bad]
        yield Finding(
            "unreadable",
            "warning",
            f"{rows_in_words(len(bad))} cannot be used.",
            "correct what is listed",
            len(bad),
            strongest(items),
        )


def empty(rows: Sequence[Row], seen: Sequence[Glance] | None, poll: Poll) -> Iterator[Finding]:
    """Texts without a letter, images of one colour, silent sounds.

    Args:
        seen: of images what was seen of each.
    """
    found = []
    for place, row in enumerate(rows):
        poll()
        if seen is not None:
            reason = "one colour" if seen[place].plain else None
        else:
            reason = next(filter(None, map(_emptiness, row.example.inputs.values())), None)
        if reason is not None:
            found.append(Item((place_of(row),), 1.0, reason))
    if found:
        several = len(found) == 1
        yield Finding(
            "empty-inputs",
            "warning",
            f"{rows_in_words(len(found))} hold{'s' if several else ''} nothing to learn from.",
            "leave them out, or see why they are empty",
            len(found),
            strongest(found),
        )


def cut(rows: Sequence[Row], lengths: Sequence[int], limit: int) -> Iterator[Finding]:
    """Texts of which only the beginning is read.

    Args:
        lengths: of each as the model reads it, in tokens.
        limit: how many are read at most; 0 for no limit.
    """
    full = [place for place, length in enumerate(lengths) if limit and length >= limit]
    if full and isinstance(next(iter(rows[0].example.inputs.values())), str):
        yield Finding(
            "truncated",
            "note",
            f"{rows_in_words(len(full))} fill{'s' if len(full) == 1 else ''} the {limit} tokens that are read; what is "
            "beyond is cut.",
            "raise task.max_length if the model takes more, or shorten the texts",
            len(full),
            strongest([Item((place_of(rows[place]),), 1.0) for place in full]),
        )


def _emptiness(value: Any) -> str | None:
    if isinstance(value, str):
        return None if any(sign.isalnum() for sign in value) else "no letter or digit"
    if hasattr(value, "samples"):
        return "silent" if float(np.abs(value.samples(_HEARD)).max(initial=0.0)) < _QUIET else None
    return None
