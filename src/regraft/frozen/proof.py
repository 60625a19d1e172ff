"""The proof that a way of computing gives what the whole model gives: output, loss and every gradient, on one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.device import Device
from regraft.frozen.patch import at_rest
from regraft.frozen.trace import tensors_in
from regraft.tasks import Batch, Loss

_FAINT = 0.1  # outputs count as of this size at least: a fresh head says next to nothing, and its noise means nothing
# Gradients shorter than this share of the whole gradient count as of that length, for they may be mere noise: in fp32,
# and where something is rounded to 16 bits.
_SMALL, _SMALL_SHORT = 1e-2, 1e-1

# What rounding may cost, by the type of the rows or of the products, whichever is coarser: output, loss, gradient.
_TOLERANCES = {
    torch.float32: (1e-4, 1e-4, 1e-3),
    torch.float16: (1e-2, 1e-2, 3e-2),
    torch.bfloat16: (5e-2, 5e-2, 2e-1),
}


@dataclass(frozen=True)
class Difference:
    """Relative differences: the largest of the outputs, of the loss, and the largest of the parameters' gradients."""

    output: float
    loss: float
    gradient: float

    def within(self, limit: Difference) -> bool:
        """Whether none of the three is larger."""
        return self.output <= limit.output and self.loss <= limit.loss and self.gradient <= limit.gradient

    def __str__(self) -> str:
        return f"{self.output:.1e} in the output, {self.loss:.1e} in the loss, {self.gradient:.1e} in the gradient"


@dataclass(frozen=True)
class Seen:
    """What a pass gave. Of the outputs only what the loss depends on: the states of padding are not among it."""

    outputs: list[Tensor]
    loss: Tensor
    gradients: dict[str, Tensor]


def tolerance(rows: torch.dtype, device: Device) -> Difference:
    """The difference that rounding explains, by the type of the rows and the precision of the device."""
    limits = [_TOLERANCES[rows], _TOLERANCES[torch.bfloat16 if device.precision == "bf16" else torch.float32]]
    return Difference(*(max(values) for values in zip(*limits, strict=True)))


def look(
    model: nn.Module, batch: Batch, loss: Loss, device: Device, run: Callable[[Mapping[str, Tensor]], Any]
) -> Seen:
    """One pass forward and back without dropout. No gradient is left behind.

    What is drawn at rest too (SpeechT5 drops numbers always, VITS draws what it says) is drawn alike each time. The
    losses count unevenly: those of two classes pull a fresh head in opposite directions, and what is left of equal
    pulls is mere rounding.
    """
    inputs, target = device.move(batch.inputs), batch.target.to(device.device)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with at_rest(model), torch.random.fork_rng(devices=device.generators):
        torch.manual_seed(0)
        with torch.enable_grad(), device.computing():
            output = run(inputs)
            losses = loss.function(output, target).float()
            value = (losses * _unevenly(losses)).sum() / batch.units
        said = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        slopes = torch.autograd.grad(value, [*trained.values(), *said], allow_unused=True)
    found = {name: slope.float() for name, slope in zip(trained, slopes, strict=False) if slope is not None}
    counted = [
        torch.where(slope == 0, 0.0, tensor.detach().float())
        for tensor, slope in zip(said, slopes[len(trained) :], strict=True)
        if slope is not None
    ]
    return Seen(counted, value.detach(), found)


def difference(whole: Seen, fast: Seen, *, short: bool = False) -> Difference:
    """How far a pass is from that of the whole model.

    Args:
        short: whether rows or products are of 16 bits.

    Raises:
        ValueError: they do not even give the same things.
    """
    if [value.shape for value in whole.outputs] != [value.shape for value in fast.outputs]:
        raise ValueError("from rows it gives outputs of other shapes")
    least = (_SMALL_SHORT if short else _SMALL) * _norm(whole.gradients.values())
    slopes = [
        _distance(whole.gradients.get(name), fast.gradients.get(name), at_least=least)
        for name in sorted({*whole.gradients, *fast.gradients})
    ]
    outputs = [float((a - b).abs().max() / a.abs().max().clamp(min=_FAINT)) for a, b in _pairs(whole, fast)]
    loss = float((whole.loss - fast.loss).abs() / whole.loss.abs().clamp(min=1e-6))
    return Difference(_largest(outputs), _largest([loss]), _largest(slopes))


def _unevenly(losses: Tensor) -> Tensor:
    """Weights that fall from 1 to a sixteenth."""
    return 0.5 ** torch.linspace(0, 4, losses.numel(), device=losses.device).view(losses.shape)


def _largest(values: Sequence[float]) -> float:
    """The largest; without bound if one is not a number, which ``max`` may pass over."""
    return max(values, default=0.0) if all(math.isfinite(value) for value in values) else math.inf


def _pairs(whole: Seen, fast: Seen) -> list[tuple[Tensor, Tensor]]:
    return [(a, b) for a, b in zip(whole.outputs, fast.outputs, strict=True) if a.numel()]


def _norm(tensors: Any) -> float:
    return float(sum(float(tensor.pow(2).sum()) for tensor in tensors) ** 0.5)


def _distance(whole: Tensor | None, fast: Tensor | None, *, at_least: float) -> float:
    """The length of the difference over that of the whole's gradient. One that is missing counts as zeros."""
    if whole is None or fast is None:
        present = whole if whole is not None else fast
        return 0.0 if present is None else _norm([present]) / max(at_least, 1e-12)
    return _norm([whole - fast]) / max(_norm([whole]), at_least, 1e-12)
