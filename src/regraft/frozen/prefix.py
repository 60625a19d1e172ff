"""The frozen bottom of a network, computed: rows of hidden states for each example, at one or several taps.

The bits of an example's rows depend on the example alone: it is computed padded to a length of its own, which
follows from its length, whoever is computed with it. So a row that was stored and one that is computed now are equal.
Convolutions are another kernel for another number of examples, so what goes through them is computed in passes of one
fixed number; within such a pass, the place and the neighbours of an example do not change its bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.data.batches import padded
from regraft.frozen.fields import output_of_backbone, rows_of
from regraft.frozen.patch import Forward, Stopped, at_rest, forwards
from regraft.frozen.reading import reading_rows
from regraft.frozen.trace import Reading, edges, hidden_of, row_mask
from regraft.pretrained import encoder_of, mean_pool


@dataclass(frozen=True)
class Tap:
    """Where rows are taken, and which.

    ``height``: behind so many blocks; one more than there are means the backbone's output, with what follows the
    blocks (norms). ``reading``: all rows of an example, the first, the last, or their mean in fp32; of states on a grid
    [channels, height, width] all or the mean. ``alone``: what follows the attention of the block is computed for the
    first or last row alone. "pooled" and "maps" are what the head reads of the backbone's output: ``fields`` of it, one
    vector or more.
    """

    height: int
    reading: Reading = "all"
    alone: bool = False
    fields: str = ""


_TIMES = 8  # how often a row that is read alone is computed: in so many rows its bits depend on its example alone


class Prefix:
    """A model's blocks from the bottom up.

    Args:
        blocks: in the order in which they run.
        calls: how often each runs in a pass.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], calls: Sequence[int]) -> None:
        self._model, self._blocks, self._calls = model, tuple(blocks), tuple(calls)

    def __call__(self, inputs: Mapping[str, Tensor], taps: Sequence[Tap]) -> list[list[Tensor]]:
        """The rows of each example, for each tap: [rows, …], 1 row where they are reduced. One pass for all taps.

        Raises:
            ValueError: the rows of examples cannot be told from padding.
        """
        if any(tap.height == 0 for tap in taps):
            raise ValueError("below the first block nothing is kept")
        seen = _Pass(self._model, inputs, taps)
        with torch.no_grad(), at_rest(self._model), forwards(self._watched(seen)):
            if any(tap.fields for tap in taps):
                seen.keep_output(output_of_backbone(self._model, inputs))
            elif seen.highest > len(self._blocks):
                seen.keep(seen.highest, encoder_of(self._model)(**inputs).last_hidden_state)
            else:
                with suppress(Stopped):
                    self._model(**inputs)
        return [seen.found[tap] for tap in taps]

    def _watched(self, seen: _Pass) -> dict[nn.Module, Forward]:
        watched = {}
        for height, (block, calls) in enumerate(zip(self._blocks, self._calls, strict=True), start=1):
            watched[block] = _at_last(block.forward, calls, seen.through(block, height))
        if self._blocks:
            watched[self._blocks[0]] = _in_short(watched[self._blocks[0]])
        return watched


class _Pass:
    """One pass from the bottom up, and the rows found in it."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor], taps: Sequence[Tap]) -> None:
        self._model, self._inputs, self._taps = model, inputs, taps
        self.highest = max(tap.height for tap in taps)
        self.found: dict[Tap, list[Tensor]] = {}

    def through(self, block: nn.Module, height: int) -> Forward:
        """A block's forward that keeps what leaves it, and ends the pass behind the highest."""
        own = block.forward
        alone = next((tap for tap in self._taps if tap.height == height and tap.alone), None)
        wanted = any(tap.height == height and not tap.alone for tap in self._taps)
        whole = height < self.highest or wanted

        def forward(*args: Any, **kwargs: Any) -> Any:
            if alone is None:
                output = own(*args, **kwargs)
            else:
                last = alone.reading == "last"
                reading = reading_rows(
                    block, own, self._model, self._inputs, last=last, times=_TIMES, few_queries=False, whole=whole
                )
                _, read, output = reading(*args, **kwargs)
                self.found[alone] = list(hidden_of(read)[:, :1])
            if wanted:
                self.keep(height, hidden_of(output))
            if height == self.highest:
                raise Stopped(args, kwargs)
            return output

        return forward

    def keep_output(self, output: Any) -> None:
        """Read what leaves the backbone."""
        self.found |= {tap: rows_of(output, tap.fields) for tap in self._taps if tap.fields}
        if any(tap.height == self.highest and not tap.fields for tap in self._taps):
            self.keep(self.highest, output.last_hidden_state)

    def keep(self, height: int, hidden: Tensor) -> None:
        """Read what leaves a block, [batch, rows, …]."""
        for tap in self._taps:
            if tap.height == height and not tap.alone and not tap.fields:
                self.found[tap] = _read(hidden, row_mask(self._model, self._inputs, hidden), tap.reading)


def _at_last(own: Forward, calls: int, then: Forward) -> Forward:
    """A block's own forward, but for the last of so many calls."""
    left = calls

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        return then(*args, **kwargs) if left == 0 else own(*args, **kwargs)

    return forward


def _in_short(own: Forward) -> Forward:
    """Where products are computed in bf16, let the states between them be bf16 from the first block on: a tenth faster.

    Autocast leaves them in fp32 and casts them for every product.
    """

    def forward(hidden: Any, *args: Any, **kwargs: Any) -> Any:
        kind = hidden.device.type
        if torch.is_autocast_enabled(kind):
            hidden = hidden.to(torch.get_autocast_dtype(kind))
        return own(hidden, *args, **kwargs)

    return forward


def canonical_batches(
    lengths: Sequence[int], *, limit: int, tokens: int, most: int | None = None
) -> Iterator[tuple[int, list[int]]]:
    """Batches of examples that are padded to the same length, and that length.

    Args:
        limit: the most that the model takes; no length is rounded beyond it.
        tokens: in a batch at most, padding included.
        most: examples in a batch, in place of ``tokens``.
    """
    sizes = [padded(length, limit) for length in lengths]
    ordered = sorted(range(len(sizes)), key=lambda place: sizes[place])
    start = 0
    while start < len(ordered):
        size = sizes[ordered[start]]
        stop = start
        end = start + (most or max(1, tokens // max(1, size)))
        while stop < min(end, len(ordered)) and sizes[ordered[stop]] == size:
            stop += 1
        yield size, ordered[start:stop]
        start = stop


def _read(hidden: Tensor, mask: Tensor, reading: Reading) -> list[Tensor]:
    if reading == "all":
        return [rows[kept] for rows, kept in zip(hidden, mask, strict=True)]
    if reading == "mean":
        return list(mean_pool(hidden, mask).unsqueeze(1))
    places = edges(mask, last=reading == "last")
    return list(hidden[torch.arange(len(hidden), device=hidden.device), places].unsqueeze(1))
