"""Boxes as a set: the loss and the decoding of the transformers library's own detectors, DETR and its kin.

Every query says one object or none; the Hungarian method decides which query answers for which object (Carion et al.,
2020, arXiv 2005.12872). Each family has its own loss in ``transformers.loss``. It is computed image by image here, so
that what an image costs does not depend on its neighbours in the pass. Queries that denoise given boxes (RT-DETR,
D-FINE) need the boxes in the forward pass and are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from regraft.tasks import _losses
from regraft.tasks._contract import Output
from regraft.tasks._detection import best_first, found

# Model types, and the name under which transformers has their loss.
_LOSSES = {
    "conditional_detr": "ConditionalDetrForObjectDetection",
    "d_fine": "DFineForObjectDetection",
    "dab-detr": "DabDetrForObjectDetection",
    "deformable_detr": "DeformableDetrForObjectDetection",
    "deimv2": "Deimv2ForObjectDetection",
    "detr": "ForObjectDetection",
    "lw_detr": "LwDetrForObjectDetection",
    "rt_detr": "RTDetrForObjectDetection",
    "rt_detr_v2": "RTDetrV2ForObjectDetection",
    "table-transformer": "ForObjectDetection",
    "yolos": "ForObjectDetection",
}
SET_FAMILIES = frozenset(_LOSSES)

# What a loss takes of the outputs beside logits and boxes, and what the outputs call it.
_MORE = {
    "outputs_class": "intermediate_logits",
    "outputs_coord": "intermediate_reference_points",
    "enc_topk_logits": "enc_topk_logits",
    "enc_topk_bboxes": "enc_topk_bboxes",
    "predicted_corners": "intermediate_predicted_corners",
    "initial_reference_points": "initial_reference_points",
    "enc_outputs_class": "enc_outputs_class",
    "enc_outputs_coord": "enc_outputs_coord_logits",
}


def set_loss(output: Output, target: Tensor, config: Any) -> Tensor:
    """A family's own loss, with the weights of its parts from the model's config.

    Layers below the last are trained too where the output holds what they say: RT-DETR, D-FINE and DEIM always do; of
    the others, those do that give ``auxiliary_outputs`` (see ``keep_layers``).

    Args:
        output: what the model gives: ``logits``, ``pred_boxes`` (cx, cy, w, h), and more in some families.
        target: (label index, x1, y1, x2, y2) in parts of the image, [batch, most, 5]; label -1 where there is none.
        config: the model's config, of one of SET_FAMILIES.

    Returns:
        [batch]; not a number for an image whose outputs are not finite.
    """
    with torch.autocast(target.device.type, enabled=False):
        parts, layers = _parts(output), _layers(output)
        config = _as_computed(config, parts, layers)
        finite = torch.isfinite(parts["logits"]).flatten(1).all(1) & torch.isfinite(parts["pred_boxes"]).flatten(1).all(
            1
        )
        losses = [
            _image_loss(config, parts, layers, target[place].float(), place)
            if fine
            else parts["logits"][place].sum() * torch.nan
            for place, fine in enumerate(finite.tolist())
        ]
    return torch.stack(losses)


def decode_set(output: Output, labels: int, top: int = 100) -> Tensor:
    """The likeliest objects. A query has one label where there is a column for no object, and else may have several.

    Args:
        output: ``logits`` [batch, queries, labels or labels + 1] and ``pred_boxes`` (cx, cy, w, h).
        labels: how many labels there are.

    Returns:
        (x1, y1, x2, y2 in parts of the image, score, label index), best first, float32 [batch, top, 6]; the score is
        -1 where there are fewer objects.
    """
    logits = output["logits"].float()
    boxes = _losses.to_corners(output["pred_boxes"].float()).clamp(0, 1)
    if logits.shape[-1] == labels + 1:
        likeliest, names = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
        best, queries = best_first(likeliest, top)
        chosen = names.gather(1, queries)
    else:
        best, places = best_first(logits.sigmoid().flatten(1), top)
        queries, chosen = places // logits.shape[-1], places % logits.shape[-1]
    return found(boxes.gather(1, queries.unsqueeze(-1).expand(-1, -1, 4)), best, chosen, top)


def keep_layers(*arguments: Any) -> tuple[None, None, list[dict[str, Tensor]] | None]:
    """In the place of a model's ``loss_function``: computes nothing and hands out what the lower layers say.

    A DETR tells of its lower layers only where it computes a loss. With ``model.loss_function = keep_layers``,
    ``config.auxiliary_loss = True`` and ``labels=[]`` in the call, its output holds ``auxiliary_outputs``.
    """
    logits, boxes = arguments[5:7]  # outputs_class and outputs_coord
    if logits is None:
        return None, None, None
    lower = zip(logits[:-1], boxes[:-1], strict=True)
    return None, None, [{"logits": said, "pred_boxes": where} for said, where in lower]


def _parts(output: Output) -> dict[str, Tensor]:
    """What a loss takes, by its argument's name, in fp32."""
    names = {"logits": "logits", "pred_boxes": "pred_boxes", **_MORE}
    return {ours: output[theirs].float() for ours, theirs in names.items() if output.get(theirs) is not None}


def _layers(output: Output) -> list[dict[str, Tensor]] | None:
    lower: Any = output.get("auxiliary_outputs")
    return None if lower is None else [{name: value.float() for name, value in layer.items()} for layer in lower]


def _as_computed(config: Any, parts: dict[str, Tensor], layers: list[dict[str, Tensor]] | None) -> Any:
    """The config as it holds for these outputs: what lower layers say may be missing, groups exist in training only."""
    config = copy.copy(config)
    if "enc_topk_logits" not in parts:
        config.auxiliary_loss = layers is not None
    if hasattr(config, "group_detr"):
        config.group_detr = max(1, parts["logits"].shape[1] // config.num_queries)
    return config


def _image_loss(
    config: Any, parts: dict[str, Tensor], layers: list[dict[str, Tensor]] | None, target: Tensor, place: int
) -> Tensor:
    rows = target[target[:, 0] >= 0]
    truth = [{"class_labels": rows[:, 0].long(), "boxes": _losses.to_centers(rows[:, 1:])}]
    own: dict[str, Any] = {name: value[place : place + 1] for name, value in parts.items()}
    if layers is not None:
        everything = [*layers, parts]
        own["outputs_class"] = [layer["logits"][place : place + 1] for layer in everything]
        own["outputs_coord"] = [layer["pred_boxes"][place : place + 1] for layer in everything]
    loss: Tensor = _family_loss(config.model_type)(labels=truth, device=target.device, config=config, **own)[0]
    return loss


@cache
def _family_loss(model_type: str) -> Callable[..., tuple[Tensor, Any, Any]]:
    from transformers.loss.loss_utils import LOSS_MAPPING

    mapping: dict[str, Any] = LOSS_MAPPING
    function: Callable[..., tuple[Tensor, Any, Any]] = mapping[_LOSSES[model_type]]
    return function
