"""The passes of one optimizer step: what the model says in each, with its noise, and what its gradient is.

Every random number follows from the seed, the step and the pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from regraft.device import Device
from regraft.fingerprint import draw
from regraft.frozen import statistics_at_rest
from regraft.strategies import Phase
from regraft.tasks import Batch, Loss
from regraft.training.material import Material
from regraft.training.readout import readout_of
from regraft.training.regularizers import disagreement, mixing, mixture
from regraft.training.signals import Poll


@dataclass(frozen=True)
class Passes:
    """Those of step ``number`` of a run; ``loss`` is what the phase is for."""

    material: Material
    phase: Phase
    loss: Loss
    number: int
    stop: Poll

    def gradients(self, batches: Sequence[Batch], places: Sequence[Sequence[int]]) -> list[Tensor]:
        """Add up the gradients of the passes of this step. Returns the losses of each pass."""
        pairs = self.phase.objective == "contrastive" and len(batches) > 1
        return (self._of_pairs if pairs else self._one_by_one)(batches, places)

    def _one_by_one(self, batches: Sequence[Batch], places: Sequence[Sequence[int]]) -> list[Tensor]:
        """Gradients of a loss that looks at each example alone."""
        units, losses = sum(batch.units for batch in batches), []
        for index, (batch, members) in enumerate(zip(batches, places, strict=True)):
            # a single example has no spread that could be gathered
            with nullcontext() if len(members) > 1 else statistics_at_rest(self.material.model):
                loss = self._regularized(index, batch, members)
            torch.autograd.backward(loss.sum() / units)
            losses.append(loss.detach())
        return losses

    def _regularized(self, index: int, batch: Batch, members: Sequence[int]) -> Tensor:
        """The losses of a pass; where they are the task's, with what keeps a model from learning by heart."""
        m, asked = self.material, self.material.options.regularization
        if self.phase.objective != "task" or (asked.mixup is None and asked.r_drop is None):
            return self._lost(self._said(index, batch, members), batch.target)
        numbers: list[tuple[str, ...]] = [()] if asked.r_drop is None else [(), ("again",)]
        with ExitStack() as stack:
            losses = self._lost
            if asked.mixup is not None:
                mixed = mixture(asked.mixup, len(members), number=draw("mixup", m.seed, self.number, index))
                stack.enter_context(mixing(readout_of(m.model, m.anatomy), mixed))
                losses = partial(mixed.losses, self._lost)
            said = [self._said(index, batch, members, *number) for number in numbers]
        loss = torch.stack([losses(output, batch.target) for output in said]).mean(dim=0)
        if asked.r_drop is None:
            return loss
        return loss + asked.r_drop * disagreement(m.answers.kind, *(output["logits"] for output in said))

    def _of_pairs(self, batches: Sequence[Batch], places: Sequence[Sequence[int]]) -> list[Tensor]:
        """Gradients of a loss that looks at pairs of examples, which several passes compute.

        Each pass is made twice, with the same noise: first to see what the loss makes of all of them, then for its
        gradient. Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021,
        https://arxiv.org/abs/2101.06983.
        """
        made = list(enumerate(zip(batches, places, strict=True)))
        with torch.no_grad(), statistics_at_rest(self.material.model):
            parts = [self._said(index, *one)["logits"].float() for index, one in made]
        joined = torch.cat(parts).requires_grad_()
        losses = self._lost({"logits": joined}, torch.cat([batch.target for batch in batches]))
        (slopes,) = torch.autograd.grad(losses.sum() / len(joined), joined)
        sizes = [len(part) for part in parts]
        for slope, (index, one) in zip(torch.split(slopes, sizes), made, strict=True):
            torch.autograd.backward(self._said(index, *one)["logits"].float(), slope)
        return list(torch.split(losses.detach(), sizes))

    def _said(self, index: int, batch: Batch, members: Sequence[int], *number: str) -> Any:
        """What the model says in one of the passes of this step, with its noise; a ``number`` gives it another."""
        self.stop()
        _seed(draw("noise", self.material.seed, self.number, index, *number), self.material.device)
        inputs = self.material.device.move(batch.inputs)
        with self.material.device.computing():
            return self.material.execution(inputs, members)

    def _lost(self, output: Any, target: Tensor) -> Tensor:
        with self.material.device.computing():
            return self.loss.function(output, target.to(self.material.device.device))


def _seed(number: int, device: Device) -> None:
    """What ``torch.manual_seed`` does, which on a CPU costs more than a step of a probe: it formats a stack trace."""
    if device.device.type == "cpu":
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)
