"""How the passes of a phase are computed: whole, or from the rows that leave the frozen bottom. Decided by proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regraft.device import require_memory
from regraft.errors import ResourceError
from regraft.frozen.frontier import Frontier, find_frontier
from regraft.frozen.patch import at_rest
from regraft.frozen.prefix import Prefix, Tap
from regraft.frozen.proof import Difference, Seen, difference, look, tolerance
from regraft.frozen.reading import attention_in
from regraft.frozen.rows import FrozenRows, fill, open_store
from regraft.frozen.subject import Subject
from regraft.frozen.tail import Shortcuts, Tail, stem_modules
from regraft.frozen.trace import Trace, trace_of
from regraft.recipe import CacheOptions
from regraft.tasks import Batch, Encoded, Loss

# What a model that does not fit raises when it is run in another way than it was written for.
UNFIT = (ValueError, RuntimeError, TypeError, IndexError, KeyError, AttributeError, AssertionError)

Runner = Callable[[Mapping[str, Tensor], Sequence[int]], Any]


@dataclass(frozen=True)
class Decision:
    """How a phase is computed, and why.

    ``from_rows``: whether the blocks below the frontier are given by rows; ``stored``: whether those are kept.
    """

    frontier: Frontier
    from_rows: bool
    reason: str
    tap: Tap = field(default_factory=lambda: Tap(0))
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    difference: Difference | None = None
    stored: bool = False
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for the plan, the event log and checkpoints."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Decision:
        """The decision that gave these values."""
        found = values["difference"]
        built = {
            "frontier": Frontier(**values["frontier"]),
            "tap": Tap(**values["tap"]),
            "shortcuts": Shortcuts(**values["shortcuts"]),
            "difference": None if found is None else Difference(**found),
        }
        return cls(**{**values, **built})


class Execution:
    """Runs a model, phase by phase, with as little work as its frozen part allows.

    Args:
        encoded: the training examples, by position.
        root: the folder of all stores.
    """

    def __init__(self, subject: Subject, encoded: Sequence[Encoded], options: CacheOptions, *, root: Path) -> None:
        self._subject, self._encoded, self._options, self._root = subject, encoded, options, root
        self._stack = ExitStack()
        self._tail: Tail | None = None
        self._rows: FrozenRows | None = None
        self._others: dict[int, FrozenRows] = {}
        self._sample: list[int] = []

    def __call__(self, inputs: Mapping[str, Tensor], places: Sequence[int]) -> Any:
        """What the model says of the training examples at ``places``, whose inputs are given too."""
        return self._run(inputs, places, self._rows)

    def of(self, encoded: Sequence[Encoded], poll: Callable[[], None]) -> Runner:
        """The same for other examples; their rows are kept where those of the training examples are.

        Args:
            encoded: the same list each time.
        """
        if self._rows is not None and id(encoded) not in self._others:
            self._others[id(encoded)] = self._kept(replace(self._rows, encoded=encoded, names=[]), poll)
        rows = self._others.get(id(encoded))
        return lambda inputs, places: self._run(inputs, places, rows)

    def _run(self, inputs: Mapping[str, Tensor], places: Sequence[int], rows: FrozenRows | None) -> Any:
        if self._tail is None:
            return self._subject.model(**inputs)
        return self._tail(inputs, None if rows is None else rows[places])

    def _kept(self, rows: FrozenRows, poll: Callable[[], None]) -> FrozenRows:
        """Rows of other examples, in the store of the training examples where it has room for them."""
        if rows.store is None:
            return rows
        share = self._units(rows.encoded, rows.tap) / self._units(self._encoded, rows.tap)
        rows.size = int(rows.size * share)
        try:
            for _ in fill([rows], poll, most=self._options.max_bytes):
                pass
        except (OSError, ResourceError):
            return replace(rows, store=None)
        return rows

    def close(self) -> None:
        """Let go of the store; the model runs whole from here on."""
        self._stack.close()
        self._others.clear()
        self._tail = self._rows = None

    def enter(
        self,
        batch: Batch,
        places: Sequence[int],
        loss: Loss,
        *,
        epochs: int,
        poll: Callable[[], None],
        also: Sequence[Tap] = (),
        known: Decision | None = None,
    ) -> Iterator[tuple[int, int] | Decision]:
        """Prepare for a phase. What is trainable is measured on the model as it is.

        Args:
            batch: a few training examples of different lengths; the proof is made on them.
            places: which ones.
            epochs: how often each row will be read.
            also: what else of the training examples is wanted later, and is stored in the same pass.
            known: what was decided when this phase began; it is kept, for another way would give other bits.

        Yields:
            How many rows are filled, and of how many; at last the decision.
        """
        self._sample = list(places)
        decision = self.decide(batch, loss) if known is None else self._again(known)
        if self._rows is None or not decision.from_rows:
            yield decision
            return
        declined = self._declined(epochs)
        if declined is None:
            try:
                yield from self._fill(self._rows, also, poll)
            except (OSError, ResourceError) as error:
                declined = _problem(error)
        if declined is not None:
            self._rows.store = None
            self._stack.close()
            yield replace(decision, reason=f"{decision.reason}; not stored: {declined}")
        else:
            yield replace(decision, stored=True, reason=decision.reason + _mended(self._rows))

    def _fill(self, rows: FrozenRows, also: Sequence[Tap], poll: Callable[[], None]) -> Iterator[tuple[int, int]]:
        """Fill the store of the phase, in the same pass those of other taps where there is room for all."""
        most = self._options.max_bytes
        open_store(rows, self._stack, self._root)
        more = self._more(also)
        try:
            yield from fill([rows, *more], poll, most=most)
        except ResourceError:
            if not more:
                raise
            yield from fill([rows], poll, most=most)

    def _more(self, taps: Sequence[Tap]) -> list[FrozenRows]:
        """The training examples at other taps, each with its store, where that can be opened."""
        assert self._rows is not None
        size = len(self._encoded) * self._subject.width * 4
        found = []
        for tap in taps:
            if (tap, torch.float32) == (self._rows.tap, self._rows.dtype):  # filled anyway, in the same store
                continue
            with suppress(OSError, ResourceError):
                rows = replace(self._rows, tap=tap, dtype=torch.float32, size=size)
                found.append(open_store(rows, self._stack, self._root))
        return found

    def decide(self, batch: Batch, loss: Loss) -> Decision:
        """Find the frontier, and prove on a batch that another way of computing gives what the whole model gives."""
        self.close()
        subject = self._subject
        frontier = find_frontier(subject.model, subject.anatomy)
        if not subject.blocks:
            return Decision(frontier, False, "the model has no blocks")
        failed = f"{frontier.above} trains below the first block" if frontier.blocks == 0 else "no way was proved"
        try:
            trace = self._traced()
            whole = look(subject.model, batch, loss, subject.device, lambda inputs: subject.model(**inputs))
        except UNFIT as error:
            require_memory(error)
            return Decision(frontier, False, _said(error))
        for tap, shortcuts in _candidates(frontier, trace, subject):
            try:
                decision = self._proved(frontier, trace, tap, shortcuts, batch, loss, whole)
            except UNFIT as error:
                require_memory(error)
                failed = _said(error)
                continue
            if decision.difference is not None and decision.difference.within(self._tolerance(tap)):
                return decision
            failed = f"from rows it differs by {decision.difference}"
        self.close()
        return Decision(frontier, False, failed)

    def _again(self, known: Decision) -> Decision:
        """Compute as was decided before."""
        self.close()
        if known.difference is not None:
            self._build(self._traced(), known.tap, known.shortcuts)
            if self._rows is not None:
                self._rows.size = known.bytes
        return replace(known, stored=False, reason=known.reason.partition(";")[0])

    def _traced(self) -> Trace:
        with at_rest(self._subject.model), self._subject.device.computing():
            return trace_of(self._subject.model, self._subject.blocks, self._few(3))

    def _few(self, count: int) -> dict[str, Tensor]:
        return self._subject.batch([self._encoded[place] for place in self._sample[-count:]])

    def _proved(
        self,
        frontier: Frontier,
        trace: Trace,
        tap: Tap,
        shortcuts: Shortcuts,
        batch: Batch,
        loss: Loss,
        whole: Seen,
    ) -> Decision:
        subject = self._subject
        tail = self._build(trace, tap, shortcuts)
        given = None if self._rows is None else self._rows[self._sample]
        fast = look(subject.model, batch, loss, subject.device, lambda inputs: tail(inputs, given))
        few = [self._encoded[place] for place in self._sample]
        size = sum(row.nbytes for row in given or ()) * self._units(self._encoded, tap) // self._units(few, tap)
        if self._rows is not None:
            self._rows.size = size
        short = self._dtype(tap) != torch.float32 or subject.device.precision == "bf16"
        found = difference(whole, fast, short=short)
        return Decision(frontier, bool(tap.height), "proved", tap, shortcuts, found, bytes=size)

    def _build(self, trace: Trace, tap: Tap, shortcuts: Shortcuts) -> Tail:
        subject = self._subject
        stem = stem_modules(subject.model, subject.anatomy) if shortcuts.bypass_stem else []
        self._tail = Tail(subject.model, subject.blocks, trace, tap, stem=stem, shortcuts=shortcuts)
        self._rows = None
        if tap.height:
            prefix = Prefix(subject.model, subject.blocks, trace.calls)
            self._rows = FrozenRows(subject, prefix, self._encoded, tap, self._dtype(tap))
            self._tail.learn_stem([self._few(2), self._few(3)])
        return self._tail

    def _dtype(self, tap: Tap) -> torch.dtype:
        asked = self._options.dtype
        if asked != "auto":
            return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]
        in_bf16 = self._subject.device.precision == "bf16" and tap.reading == "all"
        return torch.bfloat16 if in_bf16 else torch.float32

    def _tolerance(self, tap: Tap) -> Difference:
        return tolerance(self._dtype(tap), self._subject.device)

    def _units(self, encoded: Sequence[Encoded], tap: Tap) -> int:
        """What bytes go with: the tokens of examples, or the examples where there is one row of each."""
        units = len(encoded) if tap.reading != "all" else sum(map(self._subject.inputs.length, encoded))
        return max(1, units)

    def _declined(self, epochs: int) -> str | None:
        if self._options.store == "never":
            return "cache.store=never"
        if self._options.store == "auto" and epochs < 2:
            return "each row would be read once"
        return None


def _problem(error: OSError | ResourceError) -> str:
    return error.problem if isinstance(error, ResourceError) else error.strerror or str(error)


def _mended(rows: FrozenRows) -> str:
    """Damage that was found in the store, to be told."""
    damaged = 0 if rows.store is None else rows.store.damaged
    parts = "1 damaged part" if damaged == 1 else f"{damaged} damaged parts"
    return f"; {parts} of the store {'was' if damaged == 1 else 'were'} computed again" if damaged else ""


def _candidates(frontier: Frontier, trace: Trace, subject: Subject) -> Iterator[tuple[Tap, Shortcuts]]:
    """Ways to compute, the one that saves most first."""
    height = frontier.blocks
    if height == frontier.depth and trace.reads != "all":
        for alone in (True, False) if trace.reads != "mean" and _has_attention(subject) else (False,):
            for bypass, one_row in ((True, True), (True, False), (False, False)):
                yield Tap(height, trace.reads, alone), Shortcuts(bypass, one_row)
    reads = height < frontier.depth and trace.reads in ("first", "last") and _has_attention(subject)
    for read_rows in (True, False) if reads else (False,):
        for bypass in (True, False) if height else (False,):
            if height or read_rows:
                yield Tap(height), Shortcuts(bypass, read_rows=read_rows)


def _has_attention(subject: Subject) -> bool:
    try:
        attention_in(subject.blocks[-1])
    except ValueError:
        return False
    return True


def _said(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0]}" if first and not isinstance(error, ValueError) else "".join(first[:1])
