"""Losses on (logits, target), one value for each example. They never see the model, so stored rows serve as well."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, target: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with class weights and label smoothing (Szegedy et al., 2016).

    Args:
        logits: [n, classes].
        target: class numbers, int64 [n].
        weight: [classes]; an example counts as much as its class.
        smoothing: the share of the target that is spread evenly over all classes.

    Returns:
        [n].
    """
    losses = functional.cross_entropy(logits.float(), target, reduction="none", label_smoothing=smoothing)
    return losses if weight is None else losses * weight.to(losses.device)[target]


def focal(logits: Tensor, target: Tensor, *, gamma: float, weight: Tensor | None = None) -> Tensor:
    """Focal loss for one label an example: what is already right counts less (Lin et al., 2017).

    Returns:
        (1 - p)^gamma * -log p of the true class, [n].
    """
    log_p = functional.log_softmax(logits.float(), dim=-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    losses = (1 - log_p.exp()).clamp(min=0) ** gamma * -log_p
    return losses if weight is None else losses * weight.to(losses.device)[target]


def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    gamma: float = 0.0,
) -> Tensor:
    """Binary cross-entropy for several labels an example, averaged over the labels; focal where gamma > 0.

    Args:
        logits: [n, labels].
        target: 0 or 1, [n, labels].
        weight: [labels]; how much a present label counts against an absent one.

    Returns:
        [n].
    """
    logits, target = logits.float(), target.float()
    soft = target * (1 - smoothing) + smoothing / 2
    pos_weight = None if weight is None else weight.to(logits.device)
    losses = functional.binary_cross_entropy_with_logits(logits, soft, reduction="none", pos_weight=pos_weight)
    if gamma:
        p = torch.sigmoid(logits)
        losses = losses * (1 - (p * target + (1 - p) * (1 - target))).clamp(min=0) ** gamma
    return losses.mean(dim=-1)


def squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Squared error, averaged over the numbers of an example. Both are [n, numbers]; returns [n]."""
    return ((outputs.float() - target.float()) ** 2).mean(dim=-1)
