"""How the passes of a phase are computed: whole, or from the rows that leave the frozen bottom. Decided by proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regraft.device import require_memory
from regraft.errors import ResourceError
from regraft.frozen.fields import Fields, backbone_of, fields_of
from regraft.frozen.frontier import Frontier, find_frontier
from regraft.frozen.patch import at_rest
from regraft.frozen.prefix import Prefix, Tap
from regraft.frozen.proof import Difference, Seen, difference, look, tolerance
from regraft.frozen.reading import attention_in
from regraft.frozen.rows import FrozenRows, fill, is_text, open_store
from regraft.frozen.subject import Subject
from regraft.frozen.tail import Shortcuts, Tail, stem_modules
from regraft.frozen.trace import Trace, trace_of
from regraft.recipe import CacheOptions
from regraft.tasks import Batch, Encoded, Loss

# What a model that does not fit raises when it is run in another way than it was written for.
UNFIT = (ValueError, RuntimeError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Runner:
    """A model on some examples, its frozen part given by their rows where that was proved.

    ``tail`` is None where the model runs whole, ``rows`` where nothing is frozen from the bottom.
    """

    model: nn.Module
    tail: Tail | None
    rows: FrozenRows | None

    def __call__(self, inputs: Mapping[str, Tensor], places: Sequence[int]) -> Any:
        """What the model says of the examples at ``places``, whose inputs are given too."""
        return self.model(**inputs) if self.tail is None else self.tail(inputs, self._rows(places))

    def standing(self, inputs: Mapping[str, Tensor], places: Sequence[int]) -> AbstractContextManager[None]:
        """While this lasts, rows stand for the encoder of these examples, whatever is asked of the decoder.

        A model that has no encoder beside its decoder runs whole: what it reads next is no row.
        """
        if self.tail is None or not getattr(self.model.config, "is_encoder_decoder", False):
            return nullcontext()
        return self.tail.standing(inputs, self._rows(places))

    def _rows(self, places: Sequence[int]) -> list[Tensor] | None:
        return None if self.rows is None else self.rows[places]


@dataclass(frozen=True)
class Decision:
    """How a phase is computed, and why.

    ``from_rows``: whether the blocks below the frontier are given by rows; ``stored``: whether those are kept.
    ``blank``: whether the model is then given ``Inputs.blank``, since it does not look at its inputs.
    """

    frontier: Frontier
    from_rows: bool
    reason: str
    tap: Tap = field(default_factory=lambda: Tap(0))
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    difference: Difference | None = None
    stored: bool = False
    bytes: int = 0
    blank: bool = False

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
        self._blank = False

    @property
    def looks_at_inputs(self) -> bool:
        """Whether a batch must hold what the examples say; else ``Inputs.blank`` will do, for training and validation.

        Where it does not look, rows stand for the examples. Those that are not stored are computed from the encoded
        examples themselves, in this process.
        """
        return not self._blank

    def __call__(self, inputs: Mapping[str, Tensor], places: Sequence[int]) -> Any:
        """What the model says of the training examples at ``places``, whose inputs are given too.

        The inputs may be blank where ``looks_at_inputs`` is false.
        """
        return self._runner(self._rows)(inputs, places)

    def of(self, encoded: Sequence[Encoded], poll: Callable[[], None]) -> Runner:
        """The same for other examples; their rows are kept where those of the training examples are.

        Args:
            encoded: the same list each time.
        """
        if self._rows is not None and id(encoded) not in self._others:
            self._others[id(encoded)] = self._kept(replace(self._rows, encoded=encoded, names=[]), poll)
        return self._runner(self._others.get(id(encoded)))

    def _runner(self, rows: FrozenRows | None) -> Runner:
        return Runner(self._subject.model, self._tail, rows)

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
        self._blank = False

    def enter(
        self,
        batch: Batch,
        places: Sequence[int],
        loss: Loss,
        *,
        poll: Callable[[], None],
        reads: int = 1,
        also: Sequence[Tap] = (),
        known: Decision | None = None,
    ) -> Iterator[tuple[int, int] | Decision]:
        """Prepare for a phase. What is trainable is measured on the model as it is.

        Args:
            batch: a few training examples of different lengths; the proof is made on them. Not blank.
            places: which ones.
            reads: how often each row will be read: once an epoch, less where examples have several views and an
                epoch reads one of them.
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
        declined = self._declined(reads)
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
        if self._unequal():
            return Decision(frontier, False, "sounds of unequal length cannot be padded for it, and so not be stored")
        try:
            whole = look(subject.model, batch, loss, subject.device, lambda inputs: subject.model(**inputs))
        except UNFIT as error:
            require_memory(error)
            return Decision(frontier, False, _said(error))
        trace, failed = self._seen(frontier)
        fields = self._fields() if trace is None or trace.reads in ("all", "mean") else None
        for tap, shortcuts in _candidates(frontier, trace, fields, subject):
            for blank in self._blanks(tap):
                try:
                    decision = self._proved(frontier, trace, tap, shortcuts, blank, batch, loss, whole)
                except UNFIT as error:
                    require_memory(error)
                    failed = _said(error)
                    continue
                if decision.difference is not None and decision.difference.within(self._tolerance(tap)):
                    self._blank = decision.blank
                    return decision
                failed = f"from rows it differs by {decision.difference}"
        self.close()
        return Decision(frontier, False, failed)

    def _unequal(self) -> bool:
        """Whether examples may not be padded, and are of different lengths."""
        inputs = self._subject.inputs
        return inputs.alike(self._encoded) and len({inputs.length(row) for row in self._encoded}) > 1

    def _seen(self, frontier: Frontier) -> tuple[Trace | None, str]:
        """How the model runs through its blocks, and why it is run whole if no way is proved."""
        if not self._subject.blocks:
            return None, "the model has no blocks"
        below = f"{frontier.above} trains below the first block"
        try:
            trace = self._traced()
        except UNFIT as error:
            require_memory(error)
            return None, below if frontier.blocks == 0 else _said(error)
        if frontier.blocks == 0:
            return trace, below
        if any(height < frontier.blocks for height in trace.apart):
            return trace, "what several of its frozen blocks give is read, as by a feature pyramid"
        return trace, "no way was proved"

    def _fields(self) -> Fields | None:
        """What the head reads of the output of a backbone that is frozen as a whole, if that is all it reads."""
        backbone = backbone_of(self._subject.model)
        if backbone is None or is_text(self._encoded) or any(each.requires_grad for each in backbone.parameters()):
            return None
        try:
            return self._looked_up()
        except UNFIT as error:
            require_memory(error)
            return None

    def _looked_up(self) -> Fields:
        with at_rest(self._subject.model), self._subject.device.computing():
            return fields_of(self._subject.model, self._few(3))

    def _blanks(self, tap: Tap) -> list[dict[str, Tensor] | None]:
        """What the model may be given from rows: first inputs that say nothing, then true ones."""
        encoded = [self._encoded[place] for place in self._sample]
        blank = self._subject.inputs.blank(encoded, self._subject.processor) if tap.height else None
        return [None] if blank is None else [blank, None]

    def _again(self, known: Decision) -> Decision:
        """Compute as was decided before."""
        self.close()
        if known.difference is not None:
            self._build(None if known.tap.fields else self._traced(), known.tap, known.shortcuts)
            self._blank = known.blank
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
        trace: Trace | None,
        tap: Tap,
        shortcuts: Shortcuts,
        blank: dict[str, Tensor] | None,
        batch: Batch,
        loss: Loss,
        whole: Seen,
    ) -> Decision:
        subject = self._subject
        tail = self._build(trace, tap, shortcuts)
        given = None if self._rows is None else self._rows[self._sample]
        tried = batch if blank is None else replace(batch, inputs=blank)
        fast = look(subject.model, tried, loss, subject.device, lambda inputs: tail(inputs, given))
        few = [self._encoded[place] for place in self._sample]
        size = sum(row.nbytes for row in given or ()) * self._units(self._encoded, tap) // self._units(few, tap)
        if self._rows is not None:
            self._rows.size = size
        short = self._dtype(tap) != torch.float32 or subject.device.precision == "bf16"
        found = difference(whole, fast, short=short)
        known = blank is not None
        return Decision(frontier, bool(tap.height), "proved", tap, shortcuts, found, bytes=size, blank=known)

    def _build(self, trace: Trace | None, tap: Tap, shortcuts: Shortcuts) -> Tail:
        subject = self._subject
        stem = stem_modules(subject.model, subject.anatomy) if shortcuts.bypass_stem else []
        fields = self._looked_up() if tap.fields else None
        tail = Tail(subject.model, subject.blocks, trace, tap, stem=stem, shortcuts=shortcuts, fields=fields)
        self._tail, self._rows = tail, None
        if tap.height:
            calls = [1] * len(subject.blocks) if trace is None else trace.calls
            prefix = Prefix(subject.model, subject.blocks, calls)
            self._rows = FrozenRows(subject, prefix, self._encoded, tap, self._dtype(tap))
            if not tap.fields:
                tail.learn_stem([self._few(2), self._few(3)])
        return tail

    def _dtype(self, tap: Tap) -> torch.dtype:
        asked = self._options.dtype
        if asked != "auto":
            return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]
        in_bf16 = self._subject.device.precision == "bf16" and tap.reading in ("all", "maps")
        return torch.bfloat16 if in_bf16 else torch.float32

    def _tolerance(self, tap: Tap) -> Difference:
        return tolerance(self._dtype(tap), self._subject.device)

    def _units(self, encoded: Sequence[Encoded], tap: Tap) -> int:
        """What bytes go with: the tokens of examples, or the examples where there is one row of each."""
        units = len(encoded) if tap.reading != "all" else sum(map(self._subject.inputs.length, encoded))
        return max(1, units)

    def _declined(self, reads: int) -> str | None:
        if self._options.store == "never":
            return "cache.store=never"
        if self._options.store == "auto" and reads < 2:
            return "each row would be read once"
        return None


def _problem(error: OSError | ResourceError) -> str:
    return error.problem if isinstance(error, ResourceError) else error.strerror or str(error)


def _mended(rows: FrozenRows) -> str:
    """Damage that was found in the store, to be told."""
    damaged = 0 if rows.store is None else rows.store.damaged
    parts = "1 damaged part" if damaged == 1 else f"{damaged} damaged parts"
    return f"; {parts} of the store {'was' if damaged == 1 else 'were'} computed again" if damaged else ""


def _candidates(
    frontier: Frontier, trace: Trace | None, fields: Fields | None, subject: Subject
) -> Iterator[tuple[Tap, Shortcuts]]:
    """Ways to compute, the one that saves most first."""
    output = Tap(len(subject.blocks) + 1, "pooled" if fields and fields.single else "maps")
    if fields is not None and fields.single:
        yield replace(output, fields=fields.names), Shortcuts()
    if trace is not None:
        yield from _from_blocks(frontier, trace, subject)
    if fields is not None and not fields.single:
        yield replace(output, fields=fields.names), Shortcuts()


def _from_blocks(frontier: Frontier, trace: Trace, subject: Subject) -> Iterator[tuple[Tap, Shortcuts]]:
    """Ways where what leaves a block stands for the blocks below it."""
    height = frontier.blocks
    if any(lower < height for lower in trace.apart):
        return
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
