"""The rows of a data set at one tap: from the store where they are there, computed where they are not.

Both give the same bits, so whether there is a store, and what is in it, changes nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from regraft.errors import RecipeError, ResourceError
from regraft.frozen.prefix import Prefix, Tap, canonical_batches
from regraft.frozen.store import Store, make_room
from regraft.frozen.subject import Subject
from regraft.tasks import Encoded

_HELD = 1 << 28  # bytes up to which single rows are read once and held in memory
_TOGETHER = 8192  # examples that are added to a store at once; so many at most are lost when filling is stopped
_TOKENS = {"cpu": 4096, "cuda": 32_768}  # that are computed together while filling, padding included
# Of what is no text so many examples are computed together, never more or less. On a CPU with 16 one thread and two
# give the same bits too, as they do not with 4 or 8 (MobileNetV2, RegNet, ResNet-50).
_EXAMPLES = {"cpu": 16, "cuda": 64}


def read(
    subject: Subject,
    prefix: Prefix,
    encoded: Sequence[Encoded],
    wanted: Sequence[tuple[Tap, torch.dtype]],
    poll: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[Tensor]]]:
    """Compute rows at several taps in one pass.

    Yields:
        For each example its position and its rows at each tap, on the device; examples of a length come together.
    """
    taps = [tap for tap, _ in wanted]
    lengths = [subject.inputs.length(row) for row in encoded]
    kind = subject.device.device.type
    tokens = _TOKENS.get(kind, 8192)
    count = 1 if subject.inputs.alone else None if is_text(encoded) else _EXAMPLES.get(kind, 16)
    for size, places in canonical_batches(lengths, limit=subject.limit, tokens=tokens, most=count):
        poll()
        batch = subject.batch([encoded[place] for place in places], size=size)
        if count is not None:
            batch = {name: _repeated(tensor, count) for name, tensor in batch.items()}
        with subject.device.computing():
            found = prefix(batch, taps)
        kept = [[_as(rows, dtype) for rows in of_tap] for of_tap, (_, dtype) in zip(found, wanted, strict=True)]
        for position, place in enumerate(places):
            yield place, [of_tap[position] for of_tap in kept]


def is_text(encoded: Sequence[Encoded]) -> bool:
    """Whether examples are rows of tokens: what is computed of them are matrix products and no convolutions."""
    return bool(encoded) and "input_ids" in encoded[0]


def _repeated(tensor: Tensor, count: int) -> Tensor:
    """A batch of so many examples: the last one fills the places that are left."""
    return torch.cat([tensor, tensor[-1:].expand(count - len(tensor), *tensor.shape[1:])])


def _as(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows in another type, laid out as the store keeps them, so that what reads them gives the same bits.

    Raises:
        RecipeError: fp16 was asked for, and a number is too large for it.
    """
    kept = rows.to(dtype).contiguous()
    if dtype == torch.float16 and bool((kept.isinf() & rows.isfinite()).any()):
        raise RecipeError(
            f"cache.dtype=fp16 holds numbers up to 65504, and a hidden state is {float(rows.abs().max()):.3g}",
            fix="cache.dtype=auto, bf16 or fp32",
        )
    return kept


@dataclass
class FrozenRows:
    """The rows of ``encoded`` at ``tap``, by position.

    Args:
        store: where they are kept; None where they are computed each time.
        size: bytes of all of them together, roughly.
    """

    subject: Subject
    prefix: Prefix
    encoded: Sequence[Encoded]
    tap: Tap
    dtype: torch.dtype
    store: Store | None = None
    size: int = 0
    names: list[bytes] = field(default_factory=list)  # the keys, once they are known
    _held: Tensor | None = field(default=None, init=False, repr=False)  # all rows, where there is one of each example

    def ids(self) -> list[bytes]:
        """The keys of the rows."""
        if not self.names:
            self.names = [self.subject.inputs.key(row) for row in self.encoded]
        return self.names

    def __getitem__(self, places: Sequence[int]) -> list[Tensor]:
        """The rows of some examples, on the device, in the type that is computed in."""
        device = self.subject.device
        kept = self._computed(places) if self.store is None else self._kept(self.store, places)
        short = self.dtype == torch.bfloat16 and device.precision == "bf16"
        dtype = self.dtype if short else torch.float32
        if self.store is None or device.device.type == "cpu":
            return [rows.to(dtype) for rows in kept]
        together = device.pinned(torch.cat(kept)).to(device.device, non_blocking=True).to(dtype)
        return list(torch.split(together, [len(rows) for rows in kept]))

    def _kept(self, store: Store, places: Sequence[int]) -> list[Tensor]:
        """Rows as they lie in the store, in the type that they are kept in."""
        names = self.ids()
        if self.tap.reading == "all" or not names or len(names) * store[names[0]].nbytes > _HELD:
            return [store[names[place]] for place in places]
        if self._held is None:
            with torch.autocast("cpu", enabled=False):  # it refuses fp16 on a CPU
                self._held = torch.cat([store[name] for name in names])
        return list(torch.split(self._held[list(places)], 1))

    def _computed(self, places: Sequence[int]) -> list[Tensor]:
        chosen = [self.encoded[place] for place in places]
        found = dict(read(self.subject, self.prefix, chosen, [(self.tap, self.dtype)]))
        return [found[position][0] for position in range(len(places))]


def open_store(rows: FrozenRows, stack: ExitStack, root: Path) -> FrozenRows:
    """Rows with their store, which is open until the stack is closed; ``root`` is the folder of all stores."""
    rows.store = stack.enter_context(Store(root, rows.subject.key(rows.tap), rows.dtype))
    return rows


def fill(sets: Sequence[FrozenRows], poll: Callable[[], None], *, most: int) -> Iterator[tuple[int, int]]:
    """Add to the stores what they lack, all of them in one pass over the examples.

    Args:
        sets: taps of the same model on the same examples, each with its store.
        most: bytes that all stores together may take; others make room.

    Yields:
        How many examples are done, and of how many.

    Raises:
        ResourceError: there is no room for all; nothing was added.
        OSError: the disk is full or fails; what a store held before is as it was.
    """
    first = sets[0]
    stores = [rows.store for rows in sets if rows.store is not None]
    with ExitStack() as stack:
        for store in sorted(stores, key=lambda store: store.folder):  # in one order everywhere: nobody waits in a ring
            stack.enter_context(store.filling(poll))
        lacking = [set(store.missing(first.ids())) for store in stores]
        places = sorted(set().union(*lacking))
        if not places:
            return
        wanted = sum(rows.size * len(lacks) // len(first.encoded) for rows, lacks in zip(sets, lacking, strict=True))
        refused = make_room(stores[0].folder.parent, wanted, most=most, keep=[store.folder for store in stores])
        if refused is not None:
            raise ResourceError(refused, fix="raise cache.max_gb, or remove stores: `regraft cache clear`")
        yield 0, len(places)
        for start in range(0, len(places), _TOGETHER):
            part = places[start : start + _TOGETHER]
            for done in _added(sets, stores, lacking, part, poll):
                yield start + done, len(places)


def _added(
    sets: Sequence[FrozenRows],
    stores: Sequence[Store],
    lacking: Sequence[set[int]],
    places: Sequence[int],
    poll: Callable[[], None],
) -> Iterator[int]:
    """Add the rows of some examples; all of them are there in the end, or none."""
    first = sets[0]
    chosen = [first.encoded[place] for place in places]
    wanted = [(rows.tap, rows.dtype) for rows in sets]
    with ExitStack() as stack:
        adding = [stack.enter_context(store.adding()) for store in stores]
        for done, (position, found) in enumerate(read(first.subject, first.prefix, chosen, wanted, poll), start=1):
            place = places[position]
            for add, of_tap, lacks in zip(adding, found, lacking, strict=True):
                if place in lacks:
                    add(first.ids()[place], of_tap)
            yield done
