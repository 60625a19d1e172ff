"""What happens, on stderr: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from regraft.training import Event

T = TypeVar("T")
_EVERY = 10.0  # seconds between plain lines
_GRAVE = ("damaged", "collapsed")  # events that are told however quiet it is to be


def follow(events: Generator[Event, None, T], *, quiet: bool) -> T:
    """Show the events of a run as they come; gives back what the run gives."""
    watcher: _Lines | _Bar = _Bar() if sys.stderr.isatty() and not quiet else _Lines(quiet=quiet)
    with watcher:
        while True:
            try:
                event = next(events)
            except StopIteration as ended:
                result: T = ended.value
                return result
            watcher.show(event)


class _Lines:
    """Plain lines, not too many."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._total = 0
        self._begun = time.monotonic()
        self._first: int | None = None
        self._last = 0.0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, event: Event) -> None:
        if event.name == "plan":
            self._total = event.values["steps"]
        if event.name == "step":
            self._step(event.values)
        elif not self._quiet or event.name in _GRAVE:
            for line in told(event):
                self.write(line)

    def write(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _step(self, values: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._begun = values["step"], now
        if self._quiet or now - self._last < _EVERY:
            return
        self._last = now
        done = values["step"] - self._first
        left = (now - self._begun) / done * (self._total - values["step"]) if done else None
        remaining = f", {_clock(left)} left" if left is not None else ""
        progress = f"step {values['step']} of {self._total}: loss {values['loss']:.4f}"
        self.write(f"{progress}, rate {values['learning_rate']:.2e}{remaining}")


class _Bar(_Lines):
    """A bar with the time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("tuning"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar = self._progress.add_task("tuning", total=None, loss="", visible=False)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def write(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def _step(self, values: dict[str, Any]) -> None:
        self._progress.update(
            self._bar,
            completed=values["step"],
            total=self._total,
            loss=f"loss {values['loss']:.4f}",
            visible=True,
        )


def told(event: Event) -> list[str]:
    """An event as lines for people."""
    from regraft.cli._show import counted, plan_lines, untouched

    values = event.values
    if event.name == "plan":
        return list(plan_lines(values))
    if event.name == "validation":
        scores = ", ".join(
            f"{name} {value:.3f}" for name, value in list(values["scores"].items())[:4] if value is not None
        )
        alike = f"; all rows are said to be {values['only']!r}" if "only" in values else ""
        when = "fitted" if values.get("fitted") else f"epoch {values['epoch']:g}"
        return [f"{when}: {scores}{' (best so far)' if values['best'] else ''}{alike}"]
    if event.name == "quality":
        return [f"data: {each['told']}" for each in values["findings"] if each["level"] != "note"]
    if event.name == "collapsed":
        return [*(f"not learned: {each}" for each in values["seen"]), *(f"  try {each}" for each in values["tries"])]
    messages: dict[str, Callable[[], str]] = {
        "resume": lambda: f"resuming from {values['from'] or 'the start'}",
        "damaged": lambda: f"passed over a damaged checkpoint: {values['checkpoint']}",
        "skipped": lambda: f"skipped: {values['reason']}",
        "execution": lambda: _executed(values),
        "fill": lambda: f"storing what leaves the frozen part of {values['of']:,} rows" if values["done"] == 0 else "",
        "fit": lambda: _fitted(values),
        "frozen": lambda: (
            f"proved: {values['tensors']} frozen tensors are bit for bit what they were" if values["tensors"] else ""
        ),
        "untouched": lambda: untouched(values),
        "average": lambda: f"averaged {len(values['epochs'])} of {counted(values['of'], 'epoch')}: {values['epochs']}",
        "interpolation": lambda: f"pretrained weights go {values['share']:g} of the way to where tuning took them",
        "stage": lambda: values["doing"],
        "saved": lambda: f"saved; opened again, it answers {counted(values['rows'], 'row')} as before",
    }
    line = messages[event.name]() if event.name in messages else ""
    return [line] if line else []


def _fitted(values: dict[str, Any]) -> str:
    """What a last layer was made of, and what was chosen for it."""
    rows = f"{values['rows']:,} training rows"
    if "k" in values:
        return f"the last layer keeps {rows}, of which the nearest {values['k']} answer"
    return f"the last layer is fitted to {rows}, held back by {values['penalty']:g}"


def _executed(values: dict[str, Any]) -> str:
    """How a phase is computed, where that is not simply the whole model."""
    if not values["from_rows"]:
        return ""
    frontier = values["frontier"]
    where = "from stored rows" if values["stored"] else "from rows that are computed each time"
    return f"{frontier['blocks']} of {frontier['depth']} blocks are frozen and are not run again: {where}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
