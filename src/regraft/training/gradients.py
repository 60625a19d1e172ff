"""How strongly the task pulls each part of a pretrained model, as a few training rows show it before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from regraft.data.batches import passes
from regraft.frozen import at_rest
from regraft.pretrained import Pretrained
from regraft.tasks import Answers, Batch, Loss, Task
from regraft.training.loader import Rows
from regraft.training.readout import Fit, put, readout_of, watching

_ROWS = 64  # that are looked at
_MOST = 4096  # tokens of a pass


def relative_gradients(
    model: Pretrained, task: Task, answers: Answers, rows: Rows, loss: Loss, *, fit: Fit | None
) -> dict[str, float]:
    """Of each part of the anatomy ``|gradient| / |weights|``, over the loss of up to 64 training rows.

    Lee et al., Surgical Fine-Tuning, 2023, https://arxiv.org/abs/2210.11466. A head that starts from random numbers
    pulls anywhere: where it ends with a linear layer that can be fitted, it is fitted to these rows for as long as is
    looked. Nothing is changed.

    Args:
        fit: of the last layer; None where it is not to be fitted.
    """
    module, anatomy = model.model, model.anatomy
    places = sorted({round(share) for share in np.linspace(0, len(rows.encoded) - 1, _ROWS)})
    cut = passes(places, rows.lengths, accumulation=1, max_tokens=_MOST, alike=rows.alike)
    batches = [rows.batch(members, task, answers, model.processor) for members in cut]
    learns = {name: value for name, value in module.named_parameters() if value.is_floating_point()}
    sums = {name: torch.zeros_like(value) for name, value in learns.items()}
    with at_rest(module), _fitted(model, batches, fit):
        for batch in batches:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                value = loss.function(module(**batch.inputs), batch.target).sum()
                slopes = torch.autograd.grad(value, [*learns.values()], allow_unused=True)
            for name, slope in zip(learns, slopes, strict=True):
                if slope is not None:
                    sums[name] += slope
    return {
        part: _ratio([(sums[name], learns[name]) for name in names if name in learns])
        for part, names in anatomy.parts.items()
    }


@contextmanager
def _fitted(model: Pretrained, batches: list[Batch], fit: Fit | None) -> Iterator[None]:
    """The last layer as it fits these rows, for as long as this lasts."""
    anatomy = model.anatomy
    if fit is None or len(anatomy.readout) != 2 or not anatomy.new.issuperset(anatomy.readout):
        yield
        return
    readout = readout_of(model.model, anatomy)
    assert isinstance(readout, nn.Linear)
    before = [value.detach().clone() for value in (readout.weight, readout.bias)]
    with torch.no_grad(), watching(model.model, anatomy) as seen:
        for batch in batches:
            model.model(**batch.inputs)
    features = np.concatenate([given.float().numpy() for given, _ in seen])
    weight, bias, _ = fit(features, np.concatenate([batch.target.numpy() for batch in batches]))
    put(readout, weight, bias)
    try:
        yield
    finally:
        with torch.no_grad():
            readout.weight.copy_(before[0])
            readout.bias.copy_(before[1])


def _ratio(found: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    pull = sum(float(slope.double().square().sum()) for slope, _ in found)
    size = sum(float(weight.detach().double().square().sum()) for _, weight in found)
    return (pull / size) ** 0.5 if size else 0.0
