"""A head on any backbone: every family, every head; trained, saved and opened again it says the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from regraft.errors import RecipeError, ResourceError
from regraft.pretrained import MeanPooled, Pretrained, load, pooled_features, reopen, save
from regraft.pretrained.heads import find_levels
from regraft.recipe import ModelOptions
from tests.pretrained.vision import BACKBONES, BOXES, CLASSES, MASKS, backbone_folder, labels_of, side

HEADS = {"pooled": CLASSES, "dense": MASKS, "boxes": BOXES}
LABELS = labels_of(["cat", "dog", "cow"])
Backbones = Callable[[str], Path]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Backbones:
    """The folder of a tiny backbone; only to be read."""
    root = tmp_path_factory.mktemp("backbones")

    def folder(family: str) -> Path:
        path = root / family
        return path if path.exists() else backbone_folder(path, family)

    return folder


def _grafted(folder: Path, head: str, *, seed: int = 0, config: dict[str, Any] = LABELS, **options: Any) -> Pretrained:
    return load(ModelOptions(name=str(folder), head="graft", **options), HEADS[head], config, seed=seed)


def _images(opened: Pretrained, number: int = 2, size: tuple[int, int] | None = None) -> Tensor:
    height, width = size or (side(opened.config), side(opened.config))
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def _said(opened: Pretrained, images: Tensor) -> dict[str, Tensor]:
    return dict(opened.model(pixel_values=images))


@pytest.mark.parametrize("family", BACKBONES)
@pytest.mark.parametrize("head", ["dense", "boxes"])
def test_a_head_of_maps_fits(family: str, head: str, backbones: Backbones) -> None:
    opened = _grafted(backbones(family), head)
    images = _images(opened)
    quarter = tuple(-(-pixels // 4) for pixels in images.shape[-2:])
    said = _said(opened, images)
    shapes = {name: tuple(tensor.shape) for name, tensor in said.items()}
    if head == "dense":
        assert shapes == {"logits": (2, 3, *quarter)}
    else:
        assert shapes == {"heatmap": (2, 3, *quarter), "ltrb": (2, 4, *quarter)}
        assert (said["ltrb"] > 0).all()
    assert all(tensor.isfinite().all() for tensor in said.values())


def test_a_head_that_is_not_taken_over_is_noted(backbones: Backbones, tmp_path: Path) -> None:
    save(tmp_path / "tuned", _grafted(backbones("resnet"), "boxes"))
    (note,) = _grafted(tmp_path / "tuned", "boxes").notes
    assert note == f"the head in {tmp_path}/tuned/head.safetensors is not taken over: a new one is put in its place"


def test_a_saved_model_without_its_processor_is_not_opened(backbones: Backbones, tmp_path: Path) -> None:
    save(tmp_path / "tuned", _grafted(backbones("resnet"), "boxes"))
    (tmp_path / "tuned" / "preprocessor_config.json").unlink()
    with pytest.raises(RecipeError, match=r"preprocessor_config\.json is missing"):
        reopen(tmp_path / "tuned", BOXES, head="boxes")


@pytest.mark.parametrize(("head", "rate"), [("pooled", 1e-3), ("dense", 5e-3), ("boxes", 5e-3)])
def test_a_head_says_what_it_learns_at(head: str, rate: float, backbones: Backbones) -> None:
    assert _grafted(backbones("resnet"), head).head_rate == rate


@pytest.mark.parametrize("family", [family for family in BACKBONES if family != "hgnet_v2"])
def test_a_pooled_head_fits(family: str, backbones: Backbones) -> None:
    opened = _grafted(backbones(family), "pooled")
    images = _images(opened)
    assert isinstance(opened.model, MeanPooled)
    assert _said(opened, images)["logits"].shape == (2, 3)
    features = pooled_features(opened.model, {"pixel_values": images})
    assert features.shape == (2, opened.model.classifier.in_features)


def test_a_family_without_last_states_has_no_mean(backbones: Backbones) -> None:
    with pytest.raises(RecipeError, match="no states whose mean"):
        _grafted(backbones("hgnet_v2"), "pooled")


@pytest.mark.parametrize("family", BACKBONES)
def test_the_maps_have_the_strides_that_the_family_has(family: str, backbones: Backbones) -> None:
    pyramid: Any = _grafted(backbones(family), "dense").model.head
    assert pyramid.neck.pyramid.strides == BACKBONES[family][2]


@pytest.mark.parametrize("family", ["vit", "dinov2", "swin", "convnext", "resnet", "efficientnet", "mobilenet_v2"])
@pytest.mark.parametrize("head", HEADS)
def test_what_is_saved_says_the_same_when_it_is_opened(
    family: str, head: str, backbones: Backbones, tmp_path: Path
) -> None:
    opened = _grafted(backbones(family), head)
    _spoil(opened)
    save(tmp_path / "saved", opened)
    again = reopen(tmp_path / "saved", HEADS[head], head=opened.head)
    images = _images(opened)
    first, second = _said(opened, images), _said(again, images)
    assert opened.head == again.head == head
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.config.id2label == {0: "cat", 1: "dog", 2: "cow"}
    assert again.processor.to_dict() == opened.processor.to_dict()
    assert _strides(opened) == _strides(again)


@pytest.mark.parametrize("head", ["dense", "boxes"])
def test_convolutions_of_backbone_and_head_run_channels_last(head: str, backbones: Backbones) -> None:
    opened = _grafted(backbones("resnet"), head)
    strides = {name: stride for name, stride in _strides(opened).items() if len(stride) == 4}
    wide = {name: stride for name, stride in strides.items() if min(opened.model.get_parameter(name).shape[1:]) > 1}
    assert any(name.startswith("backbone.") for name in wide)
    assert all(stride[1] == 1 for stride in wide.values())


def _strides(opened: Pretrained) -> dict[str, tuple[int, ...]]:
    return {name: parameter.stride() for name, parameter in opened.model.named_parameters()}


@torch.no_grad()
def _spoil(opened: Pretrained) -> None:
    """Other weights everywhere, as after training."""
    generator = torch.Generator().manual_seed(2)
    for parameter in opened.model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_a_grafted_head_is_drawn_from_the_seed_alone(family: str, head: str, backbones: Backbones) -> None:
    first = _grafted(backbones(family), head)
    torch.rand(3)  # what was drawn before does not matter
    second, other = _grafted(backbones(family), head), _grafted(backbones(family), head, seed=1)
    states = [opened.model.state_dict() for opened in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    differ = {name for name in states[0] if not torch.equal(states[0][name], states[2][name])}
    assert differ
    assert differ <= first.anatomy.new


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["vit", "dinov2", "swin", "convnext", "resnet", "efficientnet"])
def test_what_an_answer_depends_on_has_a_gradient_and_the_rest_is_said_to_be_unused(
    family: str, head: str, backbones: Backbones
) -> None:
    opened = _grafted(backbones(family), head)
    total = sum(tensor.square().mean() for tensor in opened.model(pixel_values=_images(opened)).values())
    assert isinstance(total, Tensor)
    total.backward()  # type: ignore[no-untyped-call]
    silent = {name for name, parameter in opened.model.named_parameters() if parameter.grad is None}
    assert silent == opened.anatomy.unused
    assert not silent & opened.anatomy.new


@pytest.mark.parametrize("head", ["dense", "boxes"])
@pytest.mark.parametrize("family", BACKBONES)
def test_batch_norms_are_left_as_they_were(family: str, head: str, backbones: Backbones) -> None:
    opened = _grafted(backbones(family), head)
    assert not any(module.training for module in opened.model.modules())
    kept = load_file(backbones(family) / "model.safetensors")
    buffers = dict(opened.model.base_model.named_buffers())  # type: ignore[operator, union-attr]
    assert all(torch.equal(buffers[name], kept[name]) for name in buffers if name in kept)
    backbone: Any = opened.model.base_model
    backbone.train()
    was = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    find_levels(backbone)
    assert all(torch.equal(buffer, was[name]) for name, buffer in backbone.named_buffers())
    assert all(module.training for module in backbone.modules())


@pytest.mark.parametrize("size", [(64, 96), (56, 84), (70, 42)])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["resnet", "efficientnet", "convnext", "swin", "mobilenet_v2", "dinov2", "vit"])
def test_images_of_other_sizes_are_read(family: str, head: str, size: tuple[int, int], backbones: Backbones) -> None:
    opened = _grafted(backbones(family), head)
    found = next(iter(_said(opened, _images(opened, size=size)).values()))
    assert head == "pooled" or found.shape[-2:] == (-(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize("family", ["vit", "deit", "beit"])
def test_a_models_own_head_reads_images_of_other_sizes(family: str, backbones: Backbones) -> None:
    opened = load(ModelOptions(name=str(backbones(family))), CLASSES, LABELS, seed=0)
    assert opened.head == "own"
    assert _said(opened, _images(opened, size=(48, 48)))["logits"].shape == (2, 3)


def test_an_image_of_the_models_own_size_is_read_as_the_model_reads_it(backbones: Backbones) -> None:
    import transformers

    opened = _grafted(backbones("vit"), "pooled")
    plain = transformers.AutoModel.from_pretrained(backbones("vit")).eval()
    images = _images(opened)
    with torch.no_grad():
        assert torch.equal(opened.model.base_model(images).last_hidden_state, plain(images).last_hidden_state)  # type: ignore[operator]


def test_no_map_is_moved_against_the_image(backbones: Backbones) -> None:
    """A change in one corner of the image changes the map's same corner most."""
    opened = _grafted(backbones("resnet"), "dense")
    images = torch.zeros(1, 3, 128, 128)
    changed = images.clone()
    changed[..., :32, 96:] = 1.0
    pyramid: Any = opened.model.head.neck.pyramid  # type: ignore[union-attr]
    backbone: Any = opened.model.base_model
    with torch.no_grad():
        before, after = (pyramid(backbone(each, output_hidden_states=True), (128, 128)) for each in (images, changed))
    for one, other in zip(before, after, strict=True):
        moved = (one - other).abs().mean(1)[0]
        half = moved.shape[0] // 2
        assert moved[:half, half:].mean() > max(moved[:half, :half].mean(), moved[half:].mean())


@pytest.mark.parametrize("family", ["vit", "dinov2_with_registers", "pvt"])
def test_tokens_become_a_grid_in_the_order_of_the_image(family: str, backbones: Backbones) -> None:
    """The cell under a changed patch changes most."""
    opened = _grafted(backbones(family), "dense")
    size = side(opened.config)
    images = torch.zeros(1, 3, size, size)
    changed = images.clone()
    changed[..., : size // 2, size // 2 :] = 1.0
    pyramid: Any = opened.model.head.neck.pyramid  # type: ignore[union-attr]
    backbone: Any = opened.model.base_model
    from regraft.pretrained.heads.pyramid import as_grid, maps_of

    level = pyramid.levels[0]
    with torch.no_grad():
        grids = [
            as_grid(maps_of(backbone(each, output_hidden_states=True))[level.index], level, (size, size))
            for each in (images, changed)
        ]
    moved = (grids[0] - grids[1]).abs().mean(1)[0]
    half = moved.shape[0] // 2
    assert moved[:half, half:].mean() == max(
        moved[:half, half:].mean(), moved[:half, :half].mean(), moved[half:, :half].mean(), moved[half:, half:].mean()
    )


def test_an_untrained_detector_sees_little_anywhere(backbones: Backbones) -> None:
    opened = _grafted(backbones("resnet"), "boxes")
    said = _said(opened, _images(opened))
    assert said["heatmap"].sigmoid().mean() == pytest.approx(0.1, abs=0.02)
    assert said["ltrb"].mean() == pytest.approx(0.1, abs=0.02)


def test_a_grafted_head_is_light(tmp_path: Path) -> None:
    """On maps as wide as EfficientNet-Lite0's."""
    from regraft.pretrained.heads import BoxesHead, Level

    widths = {4: 24, 8: 40, 16: 112, 32: 1280}
    levels = [Level(index, stride, width, stride) for index, (stride, width) in enumerate(widths.items())]
    assert sum(parameter.numel() for parameter in BoxesHead(levels, 80).parameters()) < 1_000_000


def test_the_pooled_head_has_as_many_numbers_as_asked(backbones: Backbones) -> None:
    opened = _grafted(backbones("resnet"), "pooled", config={"num_labels": 2})
    assert _said(opened, _images(opened))["logits"].shape == (2, 2)


def test_a_family_with_no_head_for_the_task_gets_one_and_the_notes_say_so(backbones: Backbones) -> None:
    opened = load(ModelOptions(name=str(backbones("resnet"))), BOXES, LABELS, seed=0)
    assert opened.head == "boxes"
    assert "grafted" in " ".join(opened.notes)
    assert load(ModelOptions(name=str(backbones("resnet"))), CLASSES, LABELS, seed=0).head == "own"


def test_dropout_is_the_recipes(backbones: Backbones) -> None:
    for head in HEADS:
        model = _grafted(backbones("vit"), head, dropout=0.37).model
        assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.37}


@pytest.mark.parametrize("head", HEADS)
def test_a_damaged_head_is_an_error(head: str, backbones: Backbones, tmp_path: Path) -> None:
    save(tmp_path / "saved", _grafted(backbones("resnet"), head))
    file = tmp_path / "saved" / "head.safetensors"
    good = file.read_bytes()
    for content in (b"", good[:20], good[:-1], good.replace(b"bias", b"bios")):
        file.write_bytes(content)
        with pytest.raises(ResourceError, match=r"head\.safetensors"):
            reopen(tmp_path / "saved", HEADS[head], head=head)
    file.unlink()
    with pytest.raises(ResourceError, match=r"head\.safetensors"):
        reopen(tmp_path / "saved", HEADS[head], head=head)


def test_a_model_that_shuffles_what_it_reads_gets_no_map(tmp_path: Path) -> None:
    import transformers

    from tests.pretrained.vision import written

    settings = transformers.ViTMAEConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    with pytest.raises(RecipeError, match="otherwise each time"):
        _grafted(written(tmp_path / "model", settings, "AutoModel"), "dense")
