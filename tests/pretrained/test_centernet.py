"""The CenterNet classes: shapes, save and reload, and that transformers knows them only once they are registered."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from regraft.pretrained.anatomy import anatomy_of
from regraft.pretrained.centernet import (
    CenterNetBackbone,
    CenterNetConfig,
    CenterNetForObjectDetection,
    SameConv2d,
    doubled,
    register,
)
from regraft.pretrained.folder import quiet

BLOCK = {"kernel": 3, "expansion": 16, "channels": 8, "squeeze": 4, "activation": "hard_swish", "stride": 2}


def tiny(**config: object) -> CenterNetConfig:
    return CenterNetConfig(
        **{
            "image_size": 64,
            "stem_channels": 8,
            "blocks": [BLOCK, BLOCK | {"stride": 1, "expansion": 0}, BLOCK, BLOCK | {"kernel": 5}, BLOCK],
            "taps": [1, 2, 3],
            "top_channels": 16,
            "lateral_expansions": [12, 0, 0],
            "lateral_channels": [4, 4, 4],
            "neck_channels": [8, 8, 8],
            "gate_channels": 4,
            "num_labels": 3,
            **config,
        }
    )


@pytest.fixture
def model() -> CenterNetForObjectDetection:
    torch.manual_seed(0)
    return CenterNetForObjectDetection(tiny()).eval()


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (50, 70)])
def test_it_answers_at_a_quarter_of_any_size(model: CenterNetForObjectDetection, size: tuple[int, int]) -> None:
    found = model(pixel_values=torch.rand(2, 3, *size))
    cells = tuple(-(-side // 4) for side in size)
    assert found["heatmap"].shape == (2, 3, *cells)
    assert found["ltrb"].shape == (2, 4, *cells)
    assert (found["ltrb"] >= 0).all()


def test_the_backbone_gives_four_maps(model: CenterNetForObjectDetection) -> None:
    found = model.backbone(pixel_values=torch.rand(1, 3, 64, 64))
    assert [tuple(hidden.shape[1:]) for hidden in found.hidden_states] == [
        *((8, 16, 16), (8, 8, 8), (8, 4, 4), (16, 2, 2))
    ]
    assert found.last_hidden_state is found.hidden_states[-1]


def test_a_new_model_expects_little_everywhere(model: CenterNetForObjectDetection) -> None:
    found = model(pixel_values=torch.rand(1, 3, 64, 64))
    assert found.heatmap.mean().item() == pytest.approx(-2.19, abs=0.5)
    assert found.ltrb.mean().item() == pytest.approx(0.15, abs=0.05)


def test_saved_and_opened_again_it_answers_the_same(model: CenterNetForObjectDetection, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoModelForObjectDetection

    register()
    register()  # twice does no harm
    pixels = torch.rand(1, 3, 64, 64)
    with quiet(), torch.no_grad():
        model.save_pretrained(tmp_path)
        again = AutoModelForObjectDetection.from_pretrained(tmp_path, trust_remote_code=False).eval()
        backbone = AutoModel.from_pretrained(tmp_path, trust_remote_code=False).eval()
        assert torch.equal(again(pixels).heatmap, model(pixels).heatmap)
        assert torch.equal(again(pixels).ltrb, model(pixels).ltrb)
        assert isinstance(backbone, CenterNetBackbone)
        assert torch.equal(backbone(pixels).last_hidden_state, model.backbone(pixels).last_hidden_state)
    assert again.config.to_dict().keys() == model.config.to_dict().keys()


def test_other_classes_make_the_last_layer_new_and_nothing_else(
    model: CenterNetForObjectDetection, tmp_path: Path
) -> None:
    with quiet():
        model.save_pretrained(tmp_path)
        again, report = CenterNetForObjectDetection.from_pretrained(
            tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert not report["missing_keys"]
    assert {entry[0] for entry in report["mismatched_keys"]} == {
        *("heatmap.pointwise.weight", "heatmap.pointwise.bias"),
    }
    assert torch.equal(again.heatmap.pointwise.bias, torch.full((5,), -2.19))


def test_its_anatomy_is_stem_blocks_top_and_head(model: CenterNetForObjectDetection) -> None:
    parts = anatomy_of(model).parts
    assert list(parts)[:6] == ["embeddings", *(f"blocks[{index}]" for index in range(5))]
    assert all(name.startswith("backbone.top.") for name in parts["top"])
    assert {name.split(".")[0] for name in parts["head"]} == {"neck", "heatmap", "ltrb"}


def test_every_parameter_learns(model: CenterNetForObjectDetection) -> None:
    found = model.train()(pixel_values=torch.rand(2, 3, 64, 64))
    (found.heatmap.square().sum() + found.ltrb.square().sum()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_doubling_keeps_the_old_cells_at_the_even_places() -> None:
    old = torch.rand(1, 2, 3, 4)
    new = doubled(old)
    assert new.shape == (1, 2, 6, 8)
    assert torch.equal(new[..., ::2, ::2], old)
    torch.testing.assert_close(new[..., ::2, 1], (old[..., 0] + old[..., 1]) / 2)
    torch.testing.assert_close(new[..., ::2, 7], old[..., 3])


@pytest.mark.parametrize(("size", "kernel", "zeros"), [(8, 3, (0, 1)), (8, 5, (1, 2)), (7, 3, (1, 1)), (7, 5, (2, 2))])
def test_padding_is_tensorflows(size: int, kernel: int, zeros: tuple[int, int]) -> None:
    layer = SameConv2d(1, 1, kernel, stride=2)
    image = torch.rand(1, 1, size, size)
    padded = torch.nn.functional.pad(image, [*zeros, *zeros])
    wanted = torch.nn.functional.conv2d(padded, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(image), wanted)


def test_importing_regraft_registers_nothing() -> None:
    script = "import sys, regraft, regraft.pretrained; sys.exit('regraft.pretrained.centernet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_box_has_as_many_pixels_whatever_size_the_image_has() -> None:
    """The network sees pixels: in an image of half the size it was made for, they are twice as large a part of it."""
    torch.manual_seed(0)
    model = CenterNetForObjectDetection(tiny(num_labels=2, image_size=64)).eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        own = model(pixels).ltrb
        model.config.image_size = 128
        assert torch.allclose(model(pixels).ltrb, 2 * own)
    assert own.max() > 0
