"""What a model says of examples: logits, streamed, in fp32, in the order of the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regraft.data.batches import within_budget
from regraft.evaluation.room import room
from regraft.pretrained import pooled_features
from regraft.tasks import Encoded, Inputs

_TOKENS = 16_384  # in one pass, padding included


def logits_of(
    model: nn.Module,
    inputs: Inputs,
    processor: Any,
    encoded: Sequence[Encoded],
    *,
    batch_size: int,
    poll: Callable[[], None] = lambda: None,
    run: Callable[[dict[str, Tensor], Sequence[int]], Any] | None = None,
) -> NDArray[np.float32]:
    """The logits of each example, [n, width].

    Examples are computed by length, so that little is padded. Many logits go to a temporary file, mapped into memory.

    Args:
        poll: called before each pass; may raise to stop.
        run: computes a batch, given the positions of its examples, where that is not left to the model.
    """

    def look(batch: dict[str, Tensor], places: Sequence[int]) -> Tensor:
        output: Tensor = (run(batch, places) if run else model(**batch))["logits"]
        return output

    return _gather(model, inputs, processor, encoded, look, batch_size=batch_size, poll=poll)


def features_of(
    model: nn.Module,
    inputs: Inputs,
    processor: Any,
    encoded: Sequence[Encoded],
    *,
    batch_size: int,
    poll: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """What a linear probe sees of each example: mean-pooled last hidden states, [n, hidden size]."""

    def look(batch: dict[str, Tensor], places: Sequence[int]) -> Tensor:  # noqa: ARG001
        return pooled_features(model, batch)

    return _gather(model, inputs, processor, encoded, look, batch_size=batch_size, poll=poll)


def _gather(
    model: nn.Module,
    inputs: Inputs,
    processor: Any,
    encoded: Sequence[Encoded],
    look: Callable[[dict[str, Tensor], Sequence[int]], Tensor],
    *,
    batch_size: int,
    poll: Callable[[], None],
) -> NDArray[np.float32]:
    model.eval()
    device = next(model.parameters()).device
    found: NDArray[np.float32] | None = None
    with torch.no_grad():
        for places in _runs([inputs.length(row) for row in encoded], batch_size):
            poll()
            batch = inputs.collate([encoded[place] for place in places], processor)
            moved = {name: tensor.to(device) for name, tensor in batch.items()}
            values = look(moved, places).float().cpu().numpy()
            found = room(len(encoded), values.shape[1], np.float32) if found is None else found
            found[places] = values
    return room(0, 1, np.float32) if found is None else found


def _runs(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    for start in range(0, len(ordered), batch_size):
        yield from within_budget(ordered[start : start + batch_size], lengths, max_tokens=_TOKENS)
