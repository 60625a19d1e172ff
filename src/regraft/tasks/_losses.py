"""Losses on (logits, target), one value for each example. They never see the model, so stored rows serve as well."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LEAST_AREA = 1e-12  # of an image of area 1: boxes without area divide by it


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


def smooth_l1(outputs: Tensor, target: Tensor, *, beta: float = 1.0) -> Tensor:
    """Squared error up to ``beta``, straight beyond it (Huber, 1964; Girshick, 2015), averaged over the numbers.

    Args:
        outputs: [n, numbers].
        target: [n, numbers].
        beta: the error at which the curve becomes a straight line, in the unit of the target.

    Returns:
        [n].
    """
    return functional.smooth_l1_loss(outputs.float(), target.float(), reduction="none", beta=beta).mean(dim=-1)


def to_corners(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] as (centre x, centre y, width, height), given as (x1, y1, x2, y2)."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def to_centers(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] as (x1, y1, x2, y2), given as (centre x, centre y, width, height)."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + second) / 2, second - first], dim=-1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """The share of their union that two boxes have in common.

    Args:
        boxes: (x1, y1, x2, y2), [..., 4].
        others: the same; ``box_iou(a[:, None], b)`` compares each with each.

    Returns:
        0 to 1, of the broadcast shape without its last dimension; 0 for two boxes without any area.
    """
    common, union = _common_and_union(boxes, others)
    return common / union.clamp(min=_LEAST_AREA)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalized IoU (Rezatofighi et al., 2019): it falls with the gap between boxes that do not meet.

    Args:
        boxes: (x1, y1, x2, y2), [..., 4].
        others: the same; shapes are broadcast.

    Returns:
        -1 to 1.
    """
    common, union = _common_and_union(boxes, others)
    hull = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    area = hull.clamp(min=0).prod(dim=-1).clamp(min=_LEAST_AREA)
    return common / union.clamp(min=_LEAST_AREA) - (area - union) / area


def _common_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    first = torch.maximum(boxes[..., :2], others[..., :2])
    second = torch.minimum(boxes[..., 2:], others[..., 2:])
    common = (second - first).clamp(min=0).prod(dim=-1)
    areas = ((each[..., 2:] - each[..., :2]).clamp(min=0).prod(dim=-1) for each in (boxes, others))
    return common, sum(areas) - common
