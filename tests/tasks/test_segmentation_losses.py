"""Losses of segmenters and the class maps they mean: dense heads, MaskFormer and Mask2Former."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.pretrained.folder import quiet
from regraft.tasks import _losses
from regraft.tasks._segmentation import (
    SegmentationLossName,
    decode_segmentation,
    mask_loss,
    segmentation_loss,
    semantic_scores,
)

CLASSES, SIZE, QUERIES = 4, 64, 6
KINDS = get_args(SegmentationLossName)
MASKED = ["mask2former", "maskformer"]


def test_cross_entropy_is_that_of_transformers() -> None:
    from transformers.loss.loss_utils import ForSemanticSegmentationLoss

    logits, target = _logits(), _target()
    own = torch.stack([ForSemanticSegmentationLoss(logits[n : n + 1], target[n : n + 1]) for n in range(2)])
    assert torch.allclose(segmentation_loss({"logits": logits}, target)[:2], own, rtol=1e-5)


def test_smoothed_cross_entropy_is_that_of_torch() -> None:
    logits, target = _logits(SIZE), _target()
    own = functional.cross_entropy(logits[:1], target[:1], ignore_index=255, label_smoothing=0.2)
    ours = segmentation_loss({"logits": logits}, target, label_smoothing=0.2)
    assert float(ours[0]) == pytest.approx(float(own), rel=1e-5)


def test_focal_loss_is_that_of_single_labels() -> None:
    logits, target = _logits(SIZE), _target()
    counted = target[0] != 255
    pixels = _losses.focal(logits[0].permute(1, 2, 0)[counted], target[0][counted], gamma=1.5)
    ours = segmentation_loss({"logits": logits}, target, kind="focal", gamma=1.5)
    assert float(ours[0]) == pytest.approx(float(pixels.mean()), rel=1e-5)


def test_focal_loss_without_gamma_is_cross_entropy() -> None:
    output, target = {"logits": _logits()}, _target()
    focal = segmentation_loss(output, target, kind="focal", gamma=0.0)
    assert torch.allclose(focal, segmentation_loss(output, target), rtol=1e-5)


def test_dice_is_written_out() -> None:
    logits, target = _logits(SIZE), _target()
    counted = (target[0] != 255).float()
    chances = logits[0].softmax(dim=0) * counted
    coefficients = []
    for name in range(CLASSES):
        truth = (target[0] == name).float()
        if truth.any():
            coefficients.append(2 * (chances[name] * truth).sum() / ((chances[name] ** 2).sum() + truth.sum()))
    expected = 1 - torch.stack(coefficients).mean()
    ours = segmentation_loss({"logits": logits}, target, kind="dice")
    assert float(ours[0]) == pytest.approx(float(expected), rel=1e-5)


def test_two_losses_in_one_are_their_sum() -> None:
    output, target = {"logits": _logits()}, _target()
    parts = [segmentation_loss(output, target, kind=kind) for kind in ("cross-entropy", "dice")]
    assert torch.allclose(segmentation_loss(output, target, kind="cross-entropy+dice"), parts[0] + parts[1])


def test_pixels_count_as_much_as_their_class() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    target = torch.zeros(1, 4, 4, dtype=torch.int64)
    target[:, :2] = 1
    ours = segmentation_loss({"logits": logits}, target, class_weights=torch.tensor([1.0, 3.0]))
    assert float(ours) == pytest.approx(2 * float(torch.tensor(2.0).log()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_a_pixel_that_counts_costs_nothing_and_teaches_nothing(kind: SegmentationLossName) -> None:
    logits = _logits().requires_grad_()
    losses = segmentation_loss({"logits": logits}, _target(), kind=kind)
    losses.sum().backward()
    assert logits.grad is not None
    assert float(losses[2].detach()) == 0
    assert bool((logits.grad[2] == 0).all())
    assert bool((logits.grad[0] != 0).any())


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_pixels_do_not_matter(kind: SegmentationLossName) -> None:
    logits, target = _logits(SIZE), _target()
    other = torch.where((target == 255).unsqueeze(1), logits + torch.arange(CLASSES).view(1, -1, 1, 1), logits)
    assert not torch.equal(other, logits)
    before, after = (segmentation_loss({"logits": values}, target, kind=kind) for values in (logits, other))
    assert torch.allclose(before, after, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_costs_what_it_costs_alone(kind: SegmentationLossName) -> None:
    logits, target = _logits(), _target()
    alone = [segmentation_loss({"logits": logits[n : n + 1]}, target[n : n + 1], kind=kind) for n in range(3)]
    assert torch.allclose(segmentation_loss({"logits": logits}, target, kind=kind), torch.cat(alone), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_being_right_costs_next_to_nothing(kind: SegmentationLossName) -> None:
    target = _target()
    right = functional.one_hot(target % 255, CLASSES).permute(0, 3, 1, 2) * 20.0
    losses = segmentation_loss({"logits": right}, target, kind=kind)
    assert float(losses.max()) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_net_learns_to_segment(kind: SegmentationLossName) -> None:
    torch.manual_seed(0)
    target = _target()[:2]
    pixels = torch.rand(2, 3, SIZE, SIZE) * 0.2 + functional.one_hot(target % 255, CLASSES)[..., :3].permute(0, 3, 1, 2)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, CLASSES, 3, 1, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(40):
        optimizer.zero_grad()
        segmentation_loss({"logits": net(pixels)}, target, kind=kind).sum().backward()
        optimizer.step()
    with torch.no_grad():
        decided = decode_segmentation({"logits": net(pixels)}, (SIZE, SIZE))
    assert float((decided == target)[target != 255].float().mean()) > 0.95


def test_losses_of_segmenters_are_in_fp32_under_autocast() -> None:
    logits, target = _logits(), _target()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = segmentation_loss({"logits": logits.bfloat16()}, target, kind="cross-entropy+dice")
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, segmentation_loss({"logits": logits}, target, kind="cross-entropy+dice"), rtol=0.01)


def test_a_class_map_has_the_size_that_is_asked_for() -> None:
    logits = torch.full((1, 3, 2, 2), -5.0)
    logits[0, 0, 0], logits[0, 2, 1] = 5.0, 5.0
    decided = decode_segmentation({"logits": logits}, (6, 4))
    assert decided.dtype == torch.uint8
    assert decided[0, :, 0].tolist() == [0, 0, 0, 2, 2, 2]
    assert decided.shape == (1, 6, 4)


# Masks with their classes


@cache
def _model(name: str) -> Any:
    from transformers import AutoConfig, AutoModelForUniversalSegmentation, MaskFormerForInstanceSegmentation

    swin = {
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 2,
        "image_size": SIZE,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    torch.manual_seed(1)
    with quiet():
        if name == "maskformer":
            decoder = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "num_queries": QUERIES}
            heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
            widths = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
            config = AutoConfig.for_model(
                "maskformer",
                backbone_config={"model_type": "swin", **swin},
                decoder_config={"model_type": "detr", **decoder, **heads, **widths},
                fpn_feature_size=32,
                mask_feature_size=16,
                num_labels=CLASSES,
            )
            return MaskFormerForInstanceSegmentation(config).eval()
        config = AutoConfig.for_model(
            "mask2former",
            backbone_config={"model_type": "swin", **swin},
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=16,
            encoder_layers=1,
            decoder_layers=3,
            num_attention_heads=2,
            dim_feedforward=16,
            num_queries=QUERIES,
            num_labels=CLASSES,
            train_num_points=256,
            output_auxiliary_logits=True,
        )
        return AutoModelForUniversalSegmentation.from_config(config).eval()


@cache
def _output(name: str) -> Any:
    with torch.no_grad():
        return _model(name)(torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_familys_loss_is_what_its_model_says(name: str) -> None:
    from regraft.tasks._segmentation import _SEED

    model, target = _model(name), _target()[:1]
    pixels = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    names = torch.tensor([value for value in target.unique().tolist() if value != 255])
    masks = (target[0] == names[:, None, None]).float()
    with torch.no_grad():
        torch.manual_seed(_SEED)
        own = model(pixels, mask_labels=[masks], class_labels=[names]).loss
        ours = mask_loss(model(pixels), target, model.config)
    assert torch.allclose(ours, own.reshape(1), rtol=1e-5)


def test_lower_layers_of_mask_families_count_where_they_are_given() -> None:
    output, config = dict(_output("mask2former")), _model("mask2former").config
    last = {part: output[part] for part in ("class_queries_logits", "masks_queries_logits")}
    assert float(mask_loss(last, _target(), config)[0]) < float(mask_loss(output, _target(), config)[0])


@pytest.mark.parametrize("name", MASKED)
def test_an_image_costs_what_it_costs_alone_by_masks(name: str) -> None:
    output, config, target = _output(name), _model(name).config, _target()
    alone = [mask_loss(_one(output, n), target[n : n + 1], config) for n in range(3)]
    assert torch.equal(mask_loss(output, target, config), torch.cat(alone))


def test_equal_outputs_have_equal_losses_and_random_numbers_go_on_as_before() -> None:
    output, config = _output("mask2former"), _model("mask2former").config
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = mask_loss(output, _target(), config)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(mask_loss(output, _target(), config), first)


@pytest.mark.parametrize("name", MASKED)
def test_an_image_of_which_nothing_counts_costs_nothing_by_masks(name: str) -> None:
    output = {part: _output(name)[part].clone().requires_grad_() for part in _PARTS}
    losses = mask_loss(output, _target(), _model(name).config)
    losses.sum().backward()
    assert float(losses[2].detach()) == 0
    assert bool((output["class_queries_logits"].grad[2] == 0).all())
    assert bool((output["masks_queries_logits"].grad[0] != 0).any())


@pytest.mark.parametrize("name", MASKED)
def test_masks_that_are_not_finite_give_a_loss_that_is_not_for_that_image_alone(name: str) -> None:
    output = {part: _output(name)[part].clone() for part in _PARTS}
    output["masks_queries_logits"][1] = torch.nan
    assert torch.isfinite(mask_loss(output, _target(), _model(name).config)).tolist() == [True, False, True]


@pytest.mark.parametrize("name", MASKED)
def test_a_few_steps_of_training_lower_a_mask_familys_loss(name: str) -> None:
    output = {part: _output(name)[part].clone().requires_grad_() for part in _PARTS}
    optimizer = torch.optim.Adam(output.values(), lr=0.1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = mask_loss(output, _target(), _model(name).config).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_class_maps_of_mask2former_are_those_of_its_own_processor() -> None:
    from transformers import Mask2FormerImageProcessorPil

    output = _output("mask2former")
    own = Mask2FormerImageProcessorPil().post_process_semantic_segmentation(output, target_sizes=[(384, 384)] * 3)
    assert torch.equal(decode_segmentation(output, (384, 384)).long(), torch.stack(own))


def test_class_maps_of_maskformer_are_nearly_those_of_its_own_processor() -> None:
    from transformers import MaskFormerImageProcessorPil

    output = _output("maskformer")
    own = MaskFormerImageProcessorPil().post_process_semantic_segmentation(output, target_sizes=[(SIZE, SIZE)] * 3)
    assert float((decode_segmentation(output, (SIZE, SIZE)) == torch.stack(own)).float().mean()) > 0.99


def test_scores_of_masks_are_chances_by_class() -> None:
    scores = semantic_scores(_output("mask2former"), (10, 12))
    assert scores.shape == (3, CLASSES, 10, 12)
    assert float(scores.min()) >= 0


# What the tests are made of

_PARTS = ("class_queries_logits", "masks_queries_logits")


def _logits(cells: int = 16) -> Tensor:
    return torch.randn(3, CLASSES, cells, cells, generator=torch.Generator().manual_seed(7))


def _target() -> Tensor:
    """Blocks of three classes with a border that is ignored; another with two classes; and one that is all ignored."""
    target = torch.zeros(3, SIZE, SIZE, dtype=torch.int64)
    target[0, 8:30, 10:40], target[0, 40:60, 20:60] = 1, 3
    target[0, :4] = target[0, 30:32, 10:40] = 255
    target[1, 16:48, 16:48] = 2
    target[2] = 255
    return target


def _one(output: Any, place: int) -> dict[str, Any]:
    kept: dict[str, Any] = {part: output[part][place : place + 1] for part in _PARTS}
    lower = output.get("auxiliary_logits")
    if lower is not None:
        kept["auxiliary_logits"] = [{part: layer[part][place : place + 1] for part in _PARTS} for layer in lower]
    return kept
