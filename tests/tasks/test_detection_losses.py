"""Losses and decoding of detectors: centres on a grid, and sets of boxes as the transformers library's models give."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.pretrained.folder import quiet
from regraft.tasks import _losses
from regraft.tasks._detection import center_loss, decode_centers
from regraft.tasks._set_prediction import SET_FAMILIES, decode_set, keep_layers, set_loss

LABELS, SIZE = 3, 64
TARGET = torch.tensor(
    [
        [[0, 0.1, 0.1, 0.5, 0.4], [2, 0.3, 0.2, 0.9, 0.8]],
        [[1, 0.0, 0.5, 0.2, 0.9], [-1, 0, 0, 0, 0]],
        [[-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]],
    ]
)
OBJECTS, EMPTY = 0, 2

# Boxes


def test_a_box_has_all_of_itself_in_common() -> None:
    box = torch.tensor([0.1, 0.2, 0.5, 0.9])
    assert torch.allclose(torch.stack([_losses.box_iou(box, box), _losses.giou(box, box)]), torch.ones(2))


def test_overlap_is_the_common_part_over_the_union() -> None:
    a, b = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert float(_losses.box_iou(a, b)) == pytest.approx(1 / 7)
    assert float(_losses.giou(a, b)) == pytest.approx(1 / 7 - 2 / 9)


def test_generalised_overlap_falls_with_the_gap() -> None:
    a = torch.tensor([0.0, 0.0, 1.0, 1.0])
    near, far = torch.tensor([1.5, 0.0, 2.5, 1.0]), torch.tensor([4.0, 0.0, 5.0, 1.0])
    assert float(_losses.box_iou(a, near)) == float(_losses.box_iou(a, far)) == 0
    assert -1 <= float(_losses.giou(a, far)) < float(_losses.giou(a, near)) < 0


def test_overlap_agrees_with_transformers_on_all_pairs() -> None:
    from transformers.loss.loss_for_object_detection import box_iou, generalized_box_iou

    a, b = _corners(5, seed=1), _corners(7, seed=2)
    assert torch.allclose(_losses.box_iou(a[:, None], b), box_iou(a, b)[0], atol=1e-6)
    assert torch.allclose(_losses.giou(a[:, None], b), generalized_box_iou(a, b), atol=1e-6)


def test_boxes_without_area_have_finite_overlap_and_gradient() -> None:
    box = torch.zeros(4, requires_grad=True)
    _losses.giou(box, torch.zeros(4)).backward()
    assert box.grad is not None
    assert bool(torch.isfinite(box.grad).all())


def test_corners_and_centres_undo_each_other() -> None:
    corners = _corners(6, seed=3)
    assert torch.allclose(_losses.to_corners(_losses.to_centers(corners)), corners, atol=1e-6)


def test_smooth_l1_is_square_near_and_straight_far_away() -> None:
    outputs, target = torch.tensor([[0.5, 0.0], [3.0, 3.0]]), torch.zeros(2, 2)
    assert _losses.smooth_l1(outputs, target).tolist() == pytest.approx([0.125 / 2, 2.5])
    assert _losses.smooth_l1(outputs, target, beta=0.1).tolist() == pytest.approx([0.45 / 2, 2.95])


# Centres


def test_a_perfect_grid_decodes_to_the_truth() -> None:
    target = torch.tensor([[[0, 0.1, 0.1, 0.35, 0.4], [2, 0.5, 0.2, 0.95, 0.9], [1, 0.02, 0.8, 0.1, 0.95]]])
    boxes = decode_centers(_perfect(target))
    best = boxes[0, boxes[0, :, 4] > 0.9]
    best = best[best[:, 5].argsort()]
    truth = target[0][target[0, :, 0].argsort()]
    assert best[:, 5].tolist() == truth[:, 0].tolist()
    assert float(_losses.box_iou(best[:, :4], truth[:, 1:]).min()) > 0.99


def test_a_perfect_grid_costs_next_to_nothing() -> None:
    right, wrong = _perfect(TARGET), _grid(seed=1)
    assert float(center_loss(right, TARGET).max()) < 0.02 < float(center_loss(wrong, TARGET).min())


def test_a_box_in_the_wrong_place_costs_more() -> None:
    grid = _perfect(TARGET)
    assert float(center_loss({**grid, "ltrb": grid["ltrb"] + 0.1}, TARGET)[0]) > float(center_loss(grid, TARGET)[0])


def test_a_small_box_is_not_lost_on_a_large_one() -> None:
    target = torch.tensor([[[0, 0.0, 0.0, 1.0, 1.0], [1, 0.4, 0.4, 0.6, 0.6]]])
    large = _perfect(target[:, :1])
    small = {"heatmap": large["heatmap"], "ltrb": large["ltrb"].clone()}
    small["ltrb"][:, :, 8, 8] = 0.1
    assert float(center_loss(small, target)) < float(center_loss(large, target)) - 1


@pytest.mark.parametrize("place", range(3))
def test_an_image_costs_what_it_costs_alone_by_centres(place: int) -> None:
    grid = _grid(seed=2)
    together = center_loss(grid, TARGET)
    alone = center_loss({name: value[place : place + 1] for name, value in grid.items()}, TARGET[place : place + 1])
    assert torch.allclose(together[place : place + 1], alone, rtol=1e-6)


def test_padding_of_targets_changes_no_loss_by_centres() -> None:
    grid = _grid(seed=2)
    assert torch.allclose(center_loss(grid, TARGET), center_loss(grid, _padded(TARGET)), rtol=1e-6)


def test_the_order_of_objects_changes_no_loss_by_centres() -> None:
    grid = _grid(seed=2)
    assert torch.allclose(center_loss(grid, TARGET), center_loss(grid, TARGET.flip(1)), rtol=1e-6)


def test_a_target_without_a_place_for_boxes_is_an_image_without_objects() -> None:
    grid = _grid(seed=2)
    assert torch.equal(center_loss(grid, TARGET[:, :0]), center_loss(grid, torch.full_like(TARGET, -1)))


def test_the_smallest_boxes_have_finite_losses_and_gradients() -> None:
    grid = {name: value.requires_grad_() for name, value in _grid(seed=4).items()}
    target = torch.tensor([[[0, 0.5, 0.5, 0.5, 0.5], [1, 0.0, 0.0, 0.001, 1.0], [2, 0.999, 0.999, 1, 1]]] * 3)
    losses = center_loss(grid, target)
    losses.sum().backward()
    assert bool(torch.isfinite(losses).all())
    assert all(bool(torch.isfinite(value.grad).all()) for value in grid.values() if value.grad is not None)


def test_losses_by_centres_are_in_fp32_under_autocast() -> None:
    grid = _grid(seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = center_loss({name: value.bfloat16() for name, value in grid.items()}, TARGET)
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, center_loss(grid, TARGET), rtol=0.02)


def test_fewer_peaks_than_wanted_leave_rows_without_a_score() -> None:
    grid = {"heatmap": torch.full((2, 1, 4, 4), -3.0), "ltrb": torch.full((2, 4, 4, 4), 0.1)}
    grid["heatmap"][:, 0, 1, 2] = 2.0
    boxes = decode_centers({name: value[:, :, :2, :3] for name, value in grid.items()}, top=10)
    assert boxes.shape == (2, 10, 6)
    assert boxes[0, 0, 5] == 0
    assert boxes[0, 0, 4] == pytest.approx(0.8808, abs=1e-4)
    assert boxes[0, -1].tolist() == [0, 0, 0, 0, -1, -1]


def test_a_tiny_net_learns_eight_pictures_by_heart() -> None:
    torch.manual_seed(0)
    pixels, target = _pictures(8)
    net = _Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        center_loss(net(pixels), target).mean().backward()
        optimizer.step()
    with torch.no_grad():
        found = decode_centers(net(pixels))
    hits = [_hit(rows, box) for rows, boxes in zip(found, target, strict=True) for box in boxes if box[0] >= 0]
    assert sum(hits) / len(hits) > 0.9
    assert int((found[..., 4] > 0.4).sum()) <= len(hits) + 2


# Sets


_SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 7,
    "num_labels": LABELS,
}


def _detr(name: str, **more: Any) -> Any:
    from transformers import AutoConfig

    backbone = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": more.pop("stages", ["stage4"]),
    }
    plain = {"use_timm_backbone": False, "use_pretrained_backbone": False}
    return AutoConfig.for_model(name, backbone_config=backbone, **plain, **{**_SIZES, **more})


def _rt_detr(name: str, **more: Any) -> Any:
    config = {
        "backbone_config": {
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 8, 8, 8],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        },
        "encoder_hidden_dim": 16,
        "encoder_in_channels": [8, 8, 8],
        "decoder_in_channels": [16, 16, 16],
        "feat_strides": [8, 16, 32],
    }
    from transformers import AutoConfig

    return AutoConfig.for_model(name, **{**config, **_SIZES, **more})


def _d_fine(name: str) -> Any:
    backbone = {
        "model_type": "hgnet_v2",
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 8, 16, 16],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 16, 16, 16],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 16, 16],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage2", "stage3", "stage4"],
    }
    return _rt_detr(name, backbone_config=backbone, encoder_in_channels=[16, 16, 16])


def _lw_detr() -> Any:
    from transformers import AutoConfig

    backbone = {
        "model_type": "lw_detr_vit",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "pretrain_image_size": SIZE,
        "window_block_indices": [0],
        "num_windows": 4,
        "num_windows_side": 2,
        "out_indices": [2],
    }
    return AutoConfig.for_model(
        "lw_detr",
        backbone_config=backbone,
        projector_scale_factors=[1.0],
        d_model=16,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_n_points=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=7,
        group_detr=1,
        num_labels=LABELS,
        auxiliary_loss=False,
    )


def _yolos() -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "yolos",
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[SIZE, SIZE],
        num_detection_tokens=7,
        num_labels=LABELS,
        use_mid_position_embeddings=False,
    )


DEFORMABLE = {"stages": ["stage2", "stage3", "stage4"], "num_feature_levels": 3, "d_model": 32}
CONFIGS: dict[str, Callable[[], Any]] = {
    "conditional_detr": partial(_detr, "conditional_detr"),
    "d_fine": partial(_d_fine, "d_fine"),
    "dab-detr": partial(_detr, "dab-detr", hidden_size=16),
    "deformable_detr": partial(_detr, "deformable_detr", **DEFORMABLE),
    "deimv2": partial(_d_fine, "deimv2"),
    "detr": partial(_detr, "detr"),
    "lw_detr": _lw_detr,
    "rt_detr": partial(_rt_detr, "rt_detr"),
    "rt_detr_v2": partial(_rt_detr, "rt_detr_v2"),
    "table-transformer": partial(_detr, "table-transformer"),
    "yolos": _yolos,
}
LAYERED = ["conditional_detr", "dab-detr", "deformable_detr", "detr", "table-transformer"]


@cache
def _model(name: str) -> Any:
    from transformers import AutoModelForObjectDetection

    torch.manual_seed(1)
    with quiet():
        return AutoModelForObjectDetection.from_config(CONFIGS[name]()).eval()


@cache
def _images() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("place", [OBJECTS, EMPTY])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_familys_loss_is_what_its_model_says(name: str, place: int) -> None:
    model, pixels = _model(name), _images()[place : place + 1]
    with torch.no_grad():
        own = model(pixels, labels=_labels(TARGET[place])).loss
        ours = set_loss(model(pixels), TARGET[place : place + 1], model.config)
    assert torch.allclose(ours, own.reshape(1), rtol=1e-5)


@pytest.mark.parametrize("name", LAYERED)
def test_lower_layers_count_where_they_are_kept(name: str) -> None:
    model, pixels = _model(name), _images()[:1]
    model.config.auxiliary_loss = True
    try:
        with torch.no_grad():
            own = model(pixels, labels=_labels(TARGET[0])).loss
            model.loss_function = keep_layers
            ours = set_loss(model(pixels, labels=[]), TARGET[:1], model.config)
    finally:
        model.config.auxiliary_loss = False
        if hasattr(model, "_loss_function"):
            del model._loss_function
    assert torch.allclose(ours, own.reshape(1), rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_images_cost_what_they_cost_alone_as_sets(name: str) -> None:
    output = _outputs(name)
    together = set_loss(output, TARGET, _model(name).config)
    alone = [set_loss(_one(output, n), TARGET[n : n + 1], _model(name).config) for n in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", ["detr", "deformable_detr", "d_fine"])
def test_padding_of_targets_changes_no_loss_as_sets(name: str) -> None:
    output, config = _outputs(name), _model(name).config
    assert torch.equal(set_loss(output, TARGET, config), set_loss(output, _padded(TARGET), config))


@pytest.mark.parametrize("name", ["d_fine", "deformable_detr", "detr", "lw_detr", "rt_detr"])
def test_a_few_steps_of_training_lower_a_familys_loss(name: str) -> None:
    from transformers import AutoModelForObjectDetection

    torch.manual_seed(3)
    with quiet():
        model = AutoModelForObjectDetection.from_config(CONFIGS[name]()).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.BatchNorm2d):
            module.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(18):
        optimizer.zero_grad()
        loss = set_loss(model(_images()), TARGET, model.config).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_groups_of_queries_in_training_are_counted_by_what_there_is() -> None:
    from transformers import AutoModelForObjectDetection

    config = _lw_detr()
    config.group_detr = 2
    torch.manual_seed(4)
    with quiet():
        model = AutoModelForObjectDetection.from_config(config).train()
    own = model(_images()[:1], labels=_labels(TARGET[0]))
    torch.manual_seed(5)
    output = model(_images()[:1])
    assert output.logits.shape[1] == 14
    assert torch.allclose(set_loss(output, TARGET[:1], config), own.loss.reshape(1), rtol=1e-5)


def test_more_objects_than_queries_have_a_finite_loss() -> None:
    corners = _corners(12, seed=5)
    target = torch.cat([torch.zeros(12, 1), corners], dim=1)[None].expand(3, -1, -1)
    assert bool(torch.isfinite(set_loss(_outputs("detr"), target, _model("detr").config)).all())


def test_outputs_that_are_not_finite_give_a_loss_that_is_not_for_that_image_alone() -> None:
    output = dict(_outputs("detr"))
    output["pred_boxes"] = output["pred_boxes"].clone()
    output["pred_boxes"][1] = torch.nan
    finite = torch.isfinite(set_loss(output, TARGET, _model("detr").config))
    assert finite.tolist() == [True, False, True]


def test_losses_of_sets_are_in_fp32_under_autocast() -> None:
    output, config = _outputs("detr"), _model("detr").config
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = set_loss({name: output[name].bfloat16() for name in ("logits", "pred_boxes")}, TARGET, config)
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, set_loss(output, TARGET, config), rtol=0.02)


def test_every_family_that_is_named_has_a_loss_in_transformers() -> None:
    from transformers.loss.loss_utils import LOSS_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES as CLASSES

    from regraft.tasks._set_prediction import _LOSSES

    assert set(CLASSES) >= SET_FAMILIES
    for family, loss in _LOSSES.items():
        own = LOSS_MAPPING.get(CLASSES[family], LOSS_MAPPING["ForObjectDetection"])
        assert LOSS_MAPPING[loss] is own, family


@pytest.mark.parametrize(
    ("processor", "columns"),
    [
        ("DetrImageProcessorPil", LABELS + 1),
        ("YolosImageProcessorPil", LABELS + 1),
        ("ConditionalDetrImageProcessorPil", LABELS),
        ("DeformableDetrImageProcessorPil", LABELS),
        ("RTDetrImageProcessorPil", LABELS),
    ],
)
def test_boxes_are_those_of_the_familys_own_processor(processor: str, columns: int) -> None:
    import transformers
    from transformers.models.detr.modeling_detr import DetrObjectDetectionOutput

    made = torch.Generator().manual_seed(6)
    output = DetrObjectDetectionOutput(
        logits=torch.randn(2, 9, columns, generator=made),
        pred_boxes=_losses.to_centers(torch.stack([_corners(9, seed=7), _corners(9, seed=8)])),
    )
    theirs = getattr(transformers, processor)().post_process_object_detection(output, threshold=0.0)
    for ours, own in zip(decode_set(output, LABELS, top=9), theirs, strict=True):
        order = own["scores"].argsort(descending=True)[:9]
        rows = torch.cat([own["boxes"], own["scores"][:, None], own["labels"][:, None].float()], dim=1)
        assert torch.allclose(ours, rows[order], atol=1e-6)


def test_fewer_queries_than_wanted_leave_rows_without_a_score() -> None:
    rows = decode_set(_outputs("detr"), LABELS)
    assert rows.shape == (3, 100, 6)
    assert bool((rows[:, 7:, 4] == -1).all())
    assert bool((rows[:, :7, 4] > 0).all())


# What the tests are made of


def _corners(count: int, *, seed: int) -> Tensor:
    """Boxes inside the image, [count, 4]."""
    ends = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    return ends.flatten(1)


def _labels(target: Tensor) -> list[dict[str, Tensor]]:
    rows = target[target[:, 0] >= 0]
    return [{"class_labels": rows[:, 0].long(), "boxes": _losses.to_centers(rows[:, 1:])}]


def _padded(target: Tensor) -> Tensor:
    padding = torch.tensor([-1.0, 0.3, 0.3, 0.9, 0.9]).expand(len(target), 4, 5)
    return torch.cat([target, padding], dim=1)


def _outputs(name: str) -> Any:
    with torch.no_grad():
        return _model(name)(_images())


def _one(output: Any, place: int) -> dict[str, Tensor]:
    return {
        name: value[place : place + 1]
        for name, value in output.items()
        if isinstance(value, Tensor) and len(value) == len(_images())
    }


def _grid(*, seed: int) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {
        "heatmap": torch.randn(3, LABELS, 16, 16, generator=made),
        "ltrb": torch.rand(3, 4, 16, 16, generator=made) * 0.3,
    }


def _perfect(target: Tensor, cells: int = 16) -> dict[str, Tensor]:
    """The outputs of a detector that knows: the smallest box has its say around its centre."""
    heatmap = torch.full((len(target), LABELS, cells, cells), -12.0)
    ltrb = torch.zeros(len(target), 4, cells, cells)
    points = torch.arange(cells) / cells
    for image, rows in enumerate(target):
        for label, x1, y1, x2, y2 in sorted(rows.tolist(), key=lambda row: -(row[3] - row[1]) * (row[4] - row[2])):
            if label < 0:
                continue
            row, column = round((y1 + y2) / 2 * cells), round((x1 + x2) / 2 * cells)
            heatmap[image, int(label), row, column] = 12.0
            inside = ((points > x1) & (points < x2))[None, :] & ((points > y1) & (points < y2))[:, None]
            inside[row, column] = True
            x, y = points[None, :].expand(cells, -1), points[:, None].expand(-1, cells)
            ltrb[image, :, inside] = torch.stack([x - x1, y - y1, x2 - x, y2 - y]).clamp(min=0)[:, inside]
    return {"heatmap": heatmap, "ltrb": ltrb}


def _pictures(count: int) -> tuple[Tensor, Tensor]:
    """Up to two bright rectangles on noise, red, green or blue: pixels [count, 3, 64, 64] and a target."""
    made = torch.Generator().manual_seed(9)
    pixels, target = torch.rand(count, 3, SIZE, SIZE, generator=made) * 0.3, torch.full((count, 2, 5), -1.0)
    for image in range(count):
        for place in range(1 + image % 2):
            width, height, x, y = (torch.rand(4, generator=made) * torch.tensor([0.2, 0.2, 0.15, 0.5])).tolist()
            x1, y1 = place * 0.5 + x, y
            x2, y2 = x1 + width + 0.15, y1 + height + 0.15
            label = (image + place) % 3
            left, top, right, bottom = (round(value * SIZE) for value in (x1, y1, x2, y2))
            pixels[image, label, top:bottom, left:right] += 0.7
            target[image, place] = torch.tensor([label, x1, y1, x2, y2])
    return pixels, target


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 8, 2, 1), (8, 24, 2, 1), (24, 24, 1, 2), (24, 24, 1, 4)]
        self.body = nn.Sequential(*(self._block(*size) for size in sizes))
        self.heat, self.sides = nn.Conv2d(24, 3, 1), nn.Conv2d(24, 4, 1)
        nn.init.constant_(self.heat.bias, -3.0)
        nn.init.constant_(self.sides.bias, -2.0)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        features = self.body(pixels)
        return {"heatmap": self.heat(features), "ltrb": functional.softplus(self.sides(features))}

    @staticmethod
    def _block(before: int, after: int, stride: int, dilation: int) -> nn.Module:
        layer = nn.Conv2d(before, after, 3, stride, dilation, dilation)
        return nn.Sequential(layer, nn.GroupNorm(4, after), nn.ReLU())


def _hit(rows: Tensor, box: Tensor) -> bool:
    right = rows[(rows[:, 5] == box[0]) & (rows[:, 4] > 0.4)]
    return bool((_losses.box_iou(right[:, :4], box[1:]) > 0.5).any())
