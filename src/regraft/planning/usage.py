"""What a run takes, as it can be measured: memory now and at its peak, and the seconds of each part."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

PARTS = ("preparing", "filling", "training", "validation", "saving", "evaluation")

_STATUS = Path("/proc/self/status")
_PART_OF = {
    "execution": "preparing",
    "frozen": "preparing",
    "step": "training",
    "fit": "training",
    "validation": "validation",
    "average": "validation",
    "interpolation": "validation",
    "checkpoint": "saving",
    "stage": "evaluation",
    "saved": "evaluation",
    "end": "evaluation",
}


def seconds_by_part(history: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """How long each part of a run took, from its recorded events; time in which it was stopped does not count."""
    found = dict.fromkeys(PARTS, 0.0)
    for part, seconds in parts(_gaps(history)):
        found[part] += seconds
    return {part: round(seconds, 3) for part, seconds in found.items()}


def parts(gaps: Iterable[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """The part that the seconds before each event belong to.

    Args:
        gaps: the name of each event, and the seconds since the one before it.
    """
    filling, held = False, 0.0
    for name, seconds in gaps:
        if name == "skipped":  # its step follows
            held += seconds
        elif name in ("fill", "execution"):
            yield "filling" if filling else "preparing", seconds
            filling = name == "fill"
        elif name in _PART_OF:
            yield _PART_OF[name], seconds + held
            held = 0.0


def resident() -> int:
    """Bytes of memory that this process holds now; on a GPU, those of its tensors."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return _book("VmRSS") or peak_memory()


def peak_memory() -> int:
    """The most bytes that this process held since ``reset_peak``, or since it began where that does not work.

    On a GPU, those of its tensors there.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _book("VmHWM") or largest * (1 if sys.platform == "darwin" else 1024)


def reset_peak() -> None:
    """Let the peak begin anew, where the system allows it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM


def process_seconds() -> float:
    """Seconds since this process began, imports included; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def _book(kind: str) -> int:
    """Bytes from Linux's own books; 0 elsewhere."""
    with suppress(OSError, StopIteration):
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1]) * 1024
    return 0


def _gaps(history: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    before: datetime | None = None
    for event in history:
        now = datetime.fromisoformat(event["time"])
        if before is not None and event["event"] not in ("start", "resume", "damaged"):
            yield event["event"], (now - before).total_seconds()
        before = now
