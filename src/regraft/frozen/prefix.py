"""The frozen bottom of a network, computed: rows of hidden states for each example, at one or several taps.

The bits of an example's rows depend on the example alone: it is computed padded to a length of its own, which
follows from its length, whoever is computed with it. So a row that was stored and one that is computed now are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.data.batches import padded
from regraft.frozen.patch import at_rest, forwards
from regraft.frozen.trace import Reading, edges, hidden_of, row_mask
from regraft.pretrained import encoder_of, mean_pool


@dataclass(frozen=True)
class Tap:
    """Where rows are taken, and which.

    ``height``: behind so many blocks; one more than there are means the backbone's output, with what follows the
    blocks (norms). ``reading``: all rows of an example, the first, the last, or their mean in fp32.
    """

    height: int
    reading: Reading = "all"


class _Reached(Exception):
    """Nothing above is needed."""


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
        found: dict[Tap, list[Tensor]] = {}

        def keep(height: int, hidden: Tensor) -> None:
            for tap in taps:
                if tap.height == height:
                    found[tap] = _read(hidden, row_mask(self._model, inputs, hidden), tap.reading)

        highest = max(tap.height for tap in taps)
        with torch.no_grad(), at_rest(self._model):
            if any(tap.height == 0 for tap in taps):
                raise ValueError("below the first block nothing is kept")
            with forwards(self._watched(keep, highest)):
                try:
                    if highest > len(self._blocks):
                        keep(highest, encoder_of(self._model)(**inputs).last_hidden_state)
                    else:
                        self._model(**inputs)
                except _Reached:
                    pass
        return [found[tap] for tap in taps]

    def _watched(self, keep: Callable[[int, Tensor], None], highest: int) -> dict[nn.Module, Callable[..., Any]]:
        watched = {}
        for height, (block, calls) in enumerate(zip(self._blocks, self._calls, strict=True), start=1):
            watched[block] = _watch(block.forward, calls, height, keep, last=height == highest)
        if self._blocks:
            watched[self._blocks[0]] = _in_short(watched[self._blocks[0]])
        return watched


def _watch(
    own: Callable[..., Any], calls: int, height: int, keep: Callable[[int, Tensor], None], *, last: bool
) -> Callable[..., Any]:
    left = calls

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        output = own(*args, **kwargs)
        left -= 1
        if left == 0:
            keep(height, hidden_of(output))
            if last:
                raise _Reached
        return output

    return forward


def _in_short(own: Callable[..., Any]) -> Callable[..., Any]:
    """Where products are computed in bf16, let the states between them be bf16 from the first block on: a tenth faster.

    Autocast leaves them in fp32 and casts them for every product.
    """

    def forward(hidden: Any, *args: Any, **kwargs: Any) -> Any:
        kind = hidden.device.type
        if torch.is_autocast_enabled(kind):
            hidden = hidden.to(torch.get_autocast_dtype(kind))
        return own(hidden, *args, **kwargs)

    return forward


def canonical_batches(lengths: Sequence[int], *, limit: int, tokens: int) -> Iterator[tuple[int, list[int]]]:
    """Batches of examples that are padded to the same length, and that length.

    Args:
        limit: the most that the model takes; no length is rounded beyond it.
        tokens: in a batch at most, padding included.
    """
    sizes = [padded(length, limit) for length in lengths]
    ordered = sorted(range(len(sizes)), key=lambda place: sizes[place])
    start = 0
    while start < len(ordered):
        size = sizes[ordered[start]]
        stop = start
        most = start + max(1, tokens // max(1, size))
        while stop < min(most, len(ordered)) and sizes[ordered[stop]] == size:
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
