"""Masks: the losses of segmenters, and the class map that their outputs mean.

A dense head gives ``{"logits": [batch, classes, h, w]}``. MaskFormer and Mask2Former give masks and their classes
instead (Cheng et al., 2021, arXiv 2107.06278; 2022, arXiv 2112.01527), and have losses of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from regraft.data.masks import IGNORE as IGNORED
from regraft.tasks._contract import Output

SegmentationLossName = Literal["cross-entropy", "focal", "dice", "cross-entropy+dice"]
MASK_FAMILIES = frozenset({"mask2former", "maskformer"})

_SEED = 20211202  # of the points at which Mask2Former's loss looks


def segmentation_loss(
    output: Output,
    target: Tensor,
    *,
    kind: SegmentationLossName = "cross-entropy",
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    gamma: float = 2.0,
) -> Tensor:
    """A loss over the pixels of each image that are not ignored; 0 for an image that has none.

    Cross-entropy and focal loss (Lin et al., 2017) are means over the pixels. Dice (Milletari et al., 2016,
    arXiv 1606.04797) is a mean over the classes that the image holds, so that small things count as much as large ones.

    Args:
        output: ``logits`` [batch, classes, h, w]; they are scaled up to the size of the target.
        target: class indices, 255 for pixels that do not count, int64 [batch, height, width].
        class_weights: [classes]; a pixel's cross-entropy or focal loss counts as much as its class. Not for Dice.
        label_smoothing: the share of the target that cross-entropy spreads over all classes.
        gamma: how little the focal loss counts what is right already.

    Returns:
        [batch].
    """
    with torch.autocast(target.device.type, enabled=False):
        log_p = functional.log_softmax(_resized(output["logits"].float(), target.shape[-2:]), dim=1)
        counted = target != IGNORED
        classes = torch.where(counted, target, 0)
        losses: list[Tensor] = []
        if kind != "dice":
            log_true = log_p.gather(1, classes.unsqueeze(1)).squeeze(1)
            pixels = -log_true
            if kind == "focal":
                pixels = pixels * (1 - log_true.exp()).clamp(min=0) ** gamma
            elif label_smoothing:
                pixels = (1 - label_smoothing) * pixels - label_smoothing * log_p.mean(dim=1)
            if class_weights is not None:
                pixels = pixels * class_weights.to(pixels)[classes]
            losses.append((pixels * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2)).clamp(min=1))
        if kind in ("dice", "cross-entropy+dice"):
            losses.append(_dice(log_p.exp(), classes, counted))
    return sum(losses[1:], losses[0])


def mask_loss(output: Output, target: Tensor, config: Any) -> Tensor:
    """MaskFormer's and Mask2Former's own losses, image by image, with one mask for each class that the image holds.

    Ignored pixels are in no mask, as in the models' own processors. Lower layers count where the output holds
    ``auxiliary_logits`` (``config.output_auxiliary_logits = True``). Mask2Former looks at points drawn at random; they
    are drawn alike each time, so that equal outputs have equal losses.

    Args:
        output: ``class_queries_logits`` [batch, queries, classes + 1], ``masks_queries_logits`` [batch, queries, h, w].
        target: class indices, 255 for pixels that do not count, int64 [batch, height, width].
        config: the model's config, of one of MASK_FAMILIES.

    Returns:
        [batch]; 0 for an image of which no pixel counts; not a number where outputs are not finite.
    """
    criterion = _criterion(config).to(target.device)
    with torch.autocast(target.device.type, enabled=False):
        losses = [_image_loss(criterion, _slice(output, place), target[place]) for place in range(len(target))]
    return torch.stack(losses)


def semantic_scores(output: Output, size: tuple[int, int]) -> Tensor:
    """How much each pixel is of each class, scaled up bilinearly to ``size`` (height, width): [batch, classes, *size].

    They are logits, or for MaskFormer and Mask2Former the masks' chances summed over queries by class.
    """
    if output.get("masks_queries_logits") is None:
        return _resized(output["logits"].float(), size)
    classes = output["class_queries_logits"].float().softmax(dim=-1)[..., :-1]
    masks = output["masks_queries_logits"].float()
    rows = [
        torch.einsum("qc,qhw->chw", said, _resized(mask[None], size)[0].sigmoid())
        for said, mask in zip(classes, masks, strict=True)
    ]
    return torch.stack(rows)


def decode_segmentation(output: Output, size: tuple[int, int]) -> Tensor:
    """The class of each pixel, uint8 [batch, height, width] for ``size`` (height, width)."""
    return semantic_scores(output, size).argmax(dim=1).to(torch.uint8)


def _resized(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _dice(chances: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    """1 minus the mean Dice coefficient of the classes that an image holds, [batch]; 0 where it holds none."""
    chances = chances * counted.unsqueeze(1)
    names = torch.arange(chances.shape[1], device=classes.device, dtype=torch.int32).view(1, -1, 1, 1)
    members = (classes.to(torch.int32).unsqueeze(1) == names) & counted.unsqueeze(1)
    common = torch.where(members, chances, 0).sum(dim=(2, 3))
    present = members.sum(dim=(2, 3))
    coefficients = 2 * common / ((chances**2).sum(dim=(2, 3)) + present).clamp(min=1)
    there = present > 0
    return ((1 - coefficients) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)


def _image_loss(criterion: Any, said: dict[str, Any], target: Tensor) -> Tensor:
    classes: Tensor = said["class_queries_logits"]
    masks: Tensor = said["masks_queries_logits"]
    names = torch.unique(target)
    names = names[names != IGNORED]
    if not bool(torch.isfinite(classes).all() & torch.isfinite(masks).all()):
        return classes.sum().mul(torch.nan)
    if not len(names):
        return classes.sum().mul(0)
    truth = (target == names[:, None, None]).float()
    with _same_points(target.device):
        parts = criterion(masks, classes, [truth], [names], said["auxiliary_logits"])
    return torch.stack([loss * criterion.weight_dict[_stem(name)] for name, loss in parts.items()]).sum()


def _stem(name: str) -> str:
    """The name of a part of a loss without the number of its layer."""
    head, _, tail = name.rpartition("_")
    return head if tail.isdigit() else name


def _slice(output: Output, place: int) -> dict[str, Any]:
    """The outputs of one image in fp32, the image still a batch of one."""
    names = ("class_queries_logits", "masks_queries_logits")
    lower: Any = output.get("auxiliary_logits")
    layers = lower and [{name: layer[name][place : place + 1].float() for name in names} for layer in lower]
    return {**{name: output[name][place : place + 1].float() for name in names}, "auxiliary_logits": layers}


@contextmanager
def _same_points(device: torch.device) -> Iterator[None]:
    """Random numbers that are the same each time, and go unnoticed outside."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        yield


def _criterion(config: Any) -> Any:
    makers: dict[str, Callable[[Any], Any]] = {"mask2former": _mask2former, "maskformer": _maskformer}
    return makers[config.model_type](config)


def _mask2former(config: Any) -> Any:
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    weights = {
        "loss_cross_entropy": config.class_weight,
        "loss_mask": config.mask_weight,
        "loss_dice": config.dice_weight,
    }
    return Mask2FormerLoss(config, weights)


def _maskformer(config: Any) -> Any:
    from transformers.models.maskformer.modeling_maskformer import MaskFormerHungarianMatcher, MaskFormerLoss

    weights = {
        "loss_cross_entropy": config.cross_entropy_weight,
        "loss_mask": config.mask_weight,
        "loss_dice": config.dice_weight,
    }
    matcher = MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=config.mask_weight, cost_dice=config.dice_weight)
    return MaskFormerLoss(config.num_labels, matcher, weights, config.no_object_weight)
