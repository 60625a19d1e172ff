"""EfficientNet-Lite0 as a model folder of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from materials import efficientnet
from materials.errors import DamagedMaterial
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet

MATERIAL = "efficientnet-lite0"


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    from transformers import AutoModelForImageClassification

    with quiet():
        return AutoModelForImageClassification.from_pretrained(place).eval()


def guess(model: Any, pixels: torch.Tensor) -> tuple[str, float]:
    with torch.no_grad():
        best = model(pixel_values=pixels).logits.softmax(-1)[0].max(0)
    return model.config.id2label[int(best.indices)], float(best.values)


@pytest.mark.parametrize(("name", "label", "probability"), [("china", "palace", 0.298), ("flower", "daisy", 0.323)])
def test_it_says_what_the_weights_are_known_to_say(model: Any, name: str, label: str, probability: float) -> None:
    """On the crop of the weights' own evaluation: the middle, rounded up."""
    picture = Image.fromarray(load_sample_image(f"{name}.jpg")).resize((383, 256), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture.crop((80, 16, 304, 240)), dtype=np.float32) / 127.5 - 1
    assert guess(model, torch.tensor(pixels).permute(2, 0, 1)[None]) == (label, pytest.approx(probability, abs=0.001))


@pytest.mark.parametrize(("name", "label"), [("china", "palace"), ("flower", "daisy")])
def test_its_own_processor_prepares_images_for_it(model: Any, place: Path, name: str, label: str) -> None:
    from transformers import AutoImageProcessor

    with quiet():
        processor = AutoImageProcessor.from_pretrained(place)
    pixels = processor(load_sample_image(f"{name}.jpg"), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 224, 224)
    assert guess(model, pixels)[0] == label


def test_squeeze_and_excitation_changes_nothing_and_learns_nothing(model: Any) -> None:
    layer = model.efficientnet.encoder.blocks[3].squeeze_excite
    hidden = torch.randn(2, layer.dim, 4, 4)
    found = layer(hidden)
    assert torch.equal(found, hidden)
    found.square().sum().backward()
    assert all(not parameter.grad.any() for parameter in layer.parameters())
    model.zero_grad()


def test_the_folder_is_safe_and_names_a_thousand_classes(model: Any, place: Path) -> None:
    check_folder(place)
    assert len(set(model.config.id2label.values())) == 1000
    assert len(model.config.label2id) == 1000


def test_a_tensor_that_is_not_known_is_refused() -> None:
    assert efficientnet.place("_blocks.11._bn0.running_var").endswith("blocks.11.expansion.expand_bn.running_var")
    with pytest.raises(DamagedMaterial, match="unknown tensor '_blocks.0._se_reduce.weight'"):
        efficientnet.place("_blocks.0._se_reduce.weight")
