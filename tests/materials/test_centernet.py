"""The COCO detector: it computes what the graph it was made from computes, and finds what is known to be found."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from materials.centernet import CLASSES, SHOWN
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet
from tests.materials.graph import Graph

MATERIAL = "centernet-coco"


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    from transformers import AutoModelForObjectDetection

    from regraft.pretrained.centernet import register

    register()
    with quiet():
        return AutoModelForObjectDetection.from_pretrained(place).eval()


def prepared(place: Path, name: str) -> torch.Tensor:
    from transformers import AutoImageProcessor

    with quiet():
        processor = AutoImageProcessor.from_pretrained(place)
    return processor(Image.open(place / "graph" / name).convert("RGB"), return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("name", SHOWN)
def test_it_computes_what_the_graph_computes(place: Path, model: Any, name: str) -> None:
    pixels = prepared(place, name)
    with torch.no_grad():
        found = model(pixel_values=pixels)
    logits, sides = Graph(place / "graph").run(
        {"tower_0/images": pixels.permute(0, 2, 3, 1)},
        "tower_0/CenternetHead/centernet_cls_output/BiasAdd",
        "tower_0/wh",
    )
    torch.testing.assert_close(found.heatmap, logits.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.ltrb, sides.permute(0, 3, 1, 2).relu() / 512, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "label", "score", "box"),
    [
        ("astronaut.png", "person", 0.61, (8, 9, 369, 520)),
        ("coffee.png", "cup", 0.47, (166, 22, 411, 259)),
        ("motorcycle_left.png", "motorcycle", 0.49, (115, 56, 675, 449)),
    ],
)
def test_it_finds_what_is_there(
    place: Path, model: Any, name: str, label: str, score: float, box: tuple[int, ...]
) -> None:
    with torch.no_grad():
        found = model(pixel_values=prepared(place, name))
    heat = found.heatmap[0].sigmoid()
    heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    best, at = heat.flatten().max(0)
    category, cell = divmod(int(at), 128 * 128)
    y, x = divmod(cell, 128)
    left, top, right, bottom = found.ltrb[0, :, y, x].tolist()
    with Image.open(place / "graph" / name) as picture:
        width, height = picture.size
    corners = (
        *((x / 128 - left) * width, (y / 128 - top) * height),
        *((x / 128 + right) * width, (y / 128 + bottom) * height),
    )
    assert CLASSES[category] == model.config.id2label[category] == label
    assert float(best) == pytest.approx(score, abs=0.02)
    assert corners == pytest.approx(box, abs=5)


def test_the_folder_is_safe_and_asks_for_no_code(place: Path) -> None:
    check_folder(place)
    assert not list(place.rglob("*.py"))
