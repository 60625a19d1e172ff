"""Losses on all pairs of a batch: what is alike for examples of one class, and unlike for others, has a small loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from regraft.tasks import Loss

_UNITS = "pairs of the batch"


def pair_loss(temperature: float | None) -> Loss:
    """The loss that a phase asks for: of cosines as they are, or divided by a temperature.

    An example that is alone of its class in a batch is compared with others only.
    """
    return cosine_similarity() if temperature is None else supervised_contrastive(temperature)


def cosine_similarity() -> Loss:
    """The cosine s of two examples is brought to 1 where they are of one class, and to 0 where they are not.

    ``(mean over one's own class of (1 - s)² + mean over the others of s²) / 2``, the example itself left out: the loss
    of pairs that Tunstall et al., Efficient Few-Shot Learning Without Prompts (SetFit), 2022,
    https://arxiv.org/abs/2209.11055 learn from, where pairs of both kinds are as many.
    """

    def losses(output: Any, target: Tensor) -> Tensor:
        cosine, same, others = _pairs(output, target)
        own, other = same * others, (1 - same) * others
        far = (own * (1 - cosine).square()).sum(dim=1) / own.sum(dim=1).clamp(min=1)
        near = (other * cosine.square()).sum(dim=1) / other.sum(dim=1).clamp(min=1)
        return (far + near) / 2

    return Loss("cosine similarity", _UNITS, losses)


def supervised_contrastive(temperature: float) -> Loss:
    """Of all others, an example is to be most like those of its class.

    ``-mean over positives p of log(exp(s(i, p) / t) / sum over others a of exp(s(i, a) / t))``, s the cosine: Khosla et
    al., Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362 (their L_out). An example that is alone
    of its class in a batch has a loss of 0.
    """

    def losses(output: Any, target: Tensor) -> Tensor:
        cosine, same, others = _pairs(output, target)
        chance = (cosine / temperature).masked_fill(~others, -torch.inf).log_softmax(dim=1).masked_fill(~others, 0.0)
        positive = same * others
        return -(chance * positive).sum(dim=1) / positive.sum(dim=1).clamp(min=1)

    return Loss("supervised contrastive", _UNITS, losses)


def _pairs(output: Any, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all pairs of a batch, [batch, batch]: the cosine; how far both are of one class, where classes are mixed what
    they share; and whether they are two.
    """
    embedded = functional.normalize(output["logits"].float(), dim=1)
    with torch.autocast(embedded.device.type, enabled=False):
        cosine = embedded @ embedded.T
    same = target[:, None] == target[None, :] if target.dim() == 1 else target @ target.T
    return cosine, same.to(cosine.dtype), ~torch.eye(len(embedded), dtype=torch.bool, device=embedded.device)
