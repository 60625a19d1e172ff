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


def gather(
    model: nn.Module,
    inputs: Inputs,
    processor: Any,
    encoded: Sequence[Encoded],
    look: Callable[[dict[str, Tensor], Sequence[int]], Tensor],
    *,
    batch_size: int,
    poll: Callable[[], None] = lambda: None,
    blank: bool = False,
) -> NDArray[Any]:
    """What is kept of what the model says of each example, [n, width].

    Examples are computed by length, so that little is padded. Many numbers go to a temporary file, mapped into memory.

    Args:
        look: what is kept of a batch, [batch, width], given its inputs and the positions of its examples.
        poll: called before each pass; may raise to stop.
        blank: whether the inputs are not looked at.
    """
    model.eval()
    device = next(model.parameters()).device
    found: NDArray[Any] | None = None
    with torch.no_grad():
        lengths = [inputs.length(row) for row in encoded]
        for places in scored_passes(lengths, batch_size, alike=inputs.alike(encoded)):
            poll()
            chosen = [encoded[place] for place in places]
            batch = inputs.blank(chosen, processor) if blank else None
            batch = inputs.collate(chosen, processor) if batch is None else batch
            moved = {name: tensor.to(device) for name, tensor in batch.items()}
            kept = look(moved, places)
            values = (kept.float() if kept.is_floating_point() else kept).cpu().numpy()
            if found is None:
                found = room(len(encoded), values[0].size, values.dtype).reshape(len(encoded), *values.shape[1:])
            found[places] = values
    return room(0, 1, np.float32) if found is None else found


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

    return gather(model, inputs, processor, encoded, look, batch_size=batch_size, poll=poll)


def scored_passes(lengths: Sequence[int], batch_size: int, *, alike: bool) -> Iterator[list[int]]:
    """The positions of the examples of each pass, by length.

    Args:
        alike: whether only examples of one length go together.
    """
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    for start in range(0, len(ordered), batch_size):
        yield from within_budget(ordered[start : start + batch_size], lengths, max_tokens=_TOKENS, alike=alike)
