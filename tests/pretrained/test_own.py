"""Detectors, segmenters and image classifiers with heads of their own: what they are, and what they know, is kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from regraft.errors import RecipeError, RefusedError
from regraft.pretrained import Pretrained, load, reopen, save
from regraft.recipe import ModelOptions
from regraft.testing import WORDS, tiny_model
from tests.pretrained.vision import (
    BOXES,
    CLASSES,
    CLASSIFIERS,
    MASKS,
    OWN,
    backbone_folder,
    labels_of,
    own_folder,
    side,
    written,
)

TEXTS = "AutoModelForSequenceClassification"
KNOWN = ["cat", "dog", "bird", "cow"]
Owns = Callable[[str], Path]


@pytest.fixture(scope="module")
def owns(tmp_path_factory: pytest.TempPathFactory) -> Owns:
    """The folder of a tiny model that knows cats, dogs, birds and cows; only to be read."""
    root = tmp_path_factory.mktemp("owns")

    def folder(family: str) -> Path:
        path = root / family
        return path if path.exists() else own_folder(path, family, KNOWN)

    return folder


def _opened(folder: Path, family: str, labels: list[str], *, seed: int = 0, **options: Any) -> Pretrained:
    return load(ModelOptions(name=str(folder), **options), OWN[family][2], labels_of(labels), seed=seed)


def _rows(opened: Pretrained, family: str) -> Tensor:
    return opened.model.state_dict()[CLASSIFIERS[family][0]]


@torch.no_grad()
def _said(opened: Pretrained) -> dict[str, Tensor]:
    pixels = side(opened.config)
    images = torch.rand(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))
    return {name: value for name, value in opened.model(pixel_values=images).items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("family", OWN)
def test_the_family_keeps_its_own_class(family: str, owns: Owns) -> None:
    opened = _opened(owns(family), family, ["cow", "tree"])
    assert opened.head == "own"
    assert type(opened.model).__name__.lower().startswith(family.replace("_", ""))
    assert opened.config.id2label == {0: "cow", 1: "tree"}
    assert _rows(opened, family).shape[0] == 2 + CLASSIFIERS[family][1]


@pytest.mark.parametrize("family", OWN)
def test_the_rows_of_known_labels_are_kept(family: str, owns: Owns) -> None:
    opened = _opened(owns(family), family, ["Cow", "tree", "cat"])
    before, after = _rows(_opened(owns(family), family, KNOWN), family), _rows(opened, family)
    assert opened.kept == ("Cow", "cat")
    assert torch.equal(after[0], before[3])
    assert torch.equal(after[2], before[0])
    assert not any(torch.equal(after[1], row) for row in before)
    if CLASSIFIERS[family][1]:
        assert torch.equal(after[3], before[4])


@pytest.mark.parametrize("family", OWN)
def test_as_many_other_labels_get_rows_of_their_own(family: str, owns: Owns) -> None:
    """The shapes are equal, and so the rows would be taken for those of the new labels."""
    opened = _opened(owns(family), family, ["dog", "tree", "house", "cat"])
    before, after = _rows(_opened(owns(family), family, KNOWN), family), _rows(opened, family)
    assert opened.kept == ("dog", "cat")
    assert torch.equal(after[0], before[1])
    assert torch.equal(after[3], before[0])
    assert not any(torch.equal(row, old) for row in after[1:3] for old in before)
    assert CLASSIFIERS[family][0] in opened.anatomy.new


@pytest.mark.parametrize("family", OWN)
def test_with_the_same_labels_everything_is_kept_and_nothing_is_new(family: str, owns: Owns) -> None:
    opened = _opened(owns(family), family, KNOWN)
    assert opened.kept == tuple(KNOWN)
    assert opened.anatomy.new == frozenset()


@pytest.mark.parametrize("family", OWN)
def test_what_is_new_is_drawn_from_the_seed_alone(family: str, owns: Owns) -> None:
    labels = ["tree", "dog", "house", "sky"]
    first = _opened(owns(family), family, labels)
    torch.rand(3)
    states = [first.model.state_dict(), _opened(owns(family), family, labels).model.state_dict(),
              _opened(owns(family), family, labels, seed=1).model.state_dict()]  # fmt: skip
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(*(state[CLASSIFIERS[family][0]] for state in (states[0], states[2])))


@pytest.mark.parametrize("family", OWN)
def test_only_rows_of_labels_are_new_in_a_whole_checkpoint(family: str, owns: Owns) -> None:
    opened = _opened(owns(family), family, ["tree"])
    names = dict(opened.model.named_parameters())
    assert opened.anatomy.new
    assert opened.anatomy.new <= set(names)
    assert {len(names[name]) for name in opened.anatomy.new} <= {1, 2}


@pytest.mark.parametrize("family", OWN)
def test_what_is_saved_says_the_same_when_it_is_opened(family: str, owns: Owns, tmp_path: Path) -> None:
    opened = _opened(owns(family), family, ["cow", "tree"])
    save(tmp_path / "saved", opened)
    again = reopen(tmp_path / "saved", OWN[family][2], head=opened.head)
    first, second = _said(opened), _said(again)
    assert {"logits", "class_queries_logits", "heatmap"} & set(first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.config.id2label == {0: "cow", 1: "tree"}


@pytest.mark.parametrize("family", ["detr", "rt_detr", "d_fine", "yolos", "segformer", "mask2former"])
def test_a_folder_without_the_head_gets_a_new_one(family: str, tmp_path: Path) -> None:
    """As many checkpoints come: a backbone alone, its classifier left out."""
    folder = written(tmp_path / "model", OWN[family][0](), "AutoModel")
    opened = _opened(folder, family, ["cat", "dog"])
    assert opened.kept == ()
    assert opened.head == "own"
    assert CLASSIFIERS[family][0] in opened.anatomy.new


HOLES = {
    "detr": "model.encoder.layers.0.self_attn",
    "rt_detr": "model.decoder.layers.1.",
    "yolos": "vit.embeddings.cls_token",
    "segformer": "segformer.",
    "upernet": "backbone.",
    "mask2former": "model.pixel_level_module.",
    "vit": "vit.embeddings.position_embeddings",
}


@pytest.mark.parametrize("family", HOLES)
def test_a_missing_backbone_weight_stops_the_run(family: str, tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "model", family, KNOWN)
    _rewrite(folder, lambda tensors: tensors.pop(next(name for name in tensors if name.startswith(HOLES[family]))))
    for labels in (["cat"], KNOWN):
        with pytest.raises(RecipeError, match="1 backbone weights are missing"):
            _opened(folder, family, labels)


@pytest.mark.parametrize("head", ["pooled", "boxes"])
def test_a_missing_weight_below_a_grafted_head_stops_the_run(head: str, tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path / "model", "resnet")
    _rewrite(folder, lambda tensors: tensors.pop("embedder.embedder.normalization.running_mean"))
    with pytest.raises(RecipeError, match="1 backbone weights are missing"):
        load(
            ModelOptions(name=str(folder), head="graft"),
            {"pooled": CLASSES, "boxes": BOXES}[head],
            labels_of(KNOWN),
            seed=0,
        )


def _rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_numbers_from_an_image_use_the_models_own_head(owns: Owns) -> None:
    config = {"num_labels": 2, "problem_type": "regression"}
    opened = load(ModelOptions(name=str(owns("vit"))), CLASSES, config, seed=0)
    assert (opened.head, opened.kept) == ("own", ())
    assert _said(opened)["logits"].shape == (2, 2)


def test_a_new_classifier_says_what_it_learns_at_and_one_that_is_kept_does_not(owns: Owns) -> None:
    new, kept = (
        load(ModelOptions(name=str(owns("vit"))), CLASSES, labels_of(names), seed=0) for names in (["tree"], KNOWN)
    )
    assert (new.head_rate, kept.head_rate) == (1e-3, None)


@pytest.mark.parametrize("family", ["detr", "segformer"])
def test_what_knows_boxes_or_masks_learns_at_the_rate_of_the_rest(family: str, owns: Owns) -> None:
    assert _opened(owns(family), family, ["tree"]).head_rate is None


@pytest.mark.parametrize("family", ["detr", "rt_detr", "yolos", "mask2former"])
def test_no_other_head_is_grafted_on_a_model_of_queries(family: str, owns: Owns) -> None:
    with pytest.raises(RecipeError, match="boxes or masks all through"):
        load(ModelOptions(name=str(owns(family))), CLASSES, labels_of(KNOWN), seed=0)


def test_a_model_without_a_backbone_class_is_named(owns: Owns) -> None:
    with pytest.raises(RecipeError, match="none can be grafted"):
        load(ModelOptions(name=str(owns("upernet"))), CLASSES, labels_of(KNOWN), seed=0)


@pytest.mark.parametrize("auto_class", [CLASSES, BOXES, MASKS])
def test_a_language_model_reads_no_images(auto_class: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", words=WORDS)
    with pytest.raises(RecipeError, match="does not read images"):
        load(ModelOptions(name=str(folder)), auto_class, labels_of(KNOWN), seed=0)


@pytest.mark.parametrize("family", ["resnet", "vit", "swin"])
def test_a_vision_model_reads_no_texts(family: str, tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path / "model", family)
    for head in ("own", "mean", "graft"):
        with pytest.raises(RecipeError, match="reads images; the task gives texts"):
            load(ModelOptions(name=str(folder), head=head), TEXTS, labels_of(KNOWN), seed=0)  # type: ignore[arg-type]


def test_a_mean_is_no_answer_for_every_place(owns: Owns) -> None:
    for auto_class in (BOXES, MASKS):
        with pytest.raises(RecipeError, match="one answer for the whole input"):
            load(ModelOptions(name=str(owns("vit")), head="mean"), auto_class, labels_of(KNOWN), seed=0)


@pytest.mark.parametrize("head", ["mean", "graft"])
def test_texts_have_one_grafted_head_under_both_names(head: Any, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", words=WORDS)
    assert load(ModelOptions(name=str(folder), head=head), TEXTS, {"num_labels": 2}, seed=0).head == "mean"


@pytest.mark.parametrize(("family", "auto_class"), [("resnet", CLASSES), ("vit", CLASSES), ("convnext", BOXES)])
def test_without_a_processor_the_familys_usual_one_is_made_and_noted(
    family: str, auto_class: str, tmp_path: Path
) -> None:
    folder = backbone_folder(tmp_path / "model", family, processor=False)
    opened = load(ModelOptions(name=str(folder)), auto_class, labels_of(KNOWN), seed=0)
    assert any("no preprocessor_config.json" in note for note in opened.notes)
    pixels = opened.processor(torch.zeros(3, 50, 70, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, side(opened.config), side(opened.config)) or family == "resnet"


def test_of_a_family_without_a_processor_imagenets_is_made(tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path / "model", "dinov2", processor=False)
    config = json.loads((folder / "config.json").read_text())
    opened = load(ModelOptions(name=str(folder)), CLASSES, labels_of(KNOWN), seed=0)
    assert config["image_size"] == 28
    assert len(opened.processor.image_mean) == 3


def test_a_damaged_processor_is_an_error(tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path / "model", "resnet")
    for content in ("[]", "3", "{", '{"image_processor_type": "NoSuchProcessor"}', '{"size": "large"}'):
        (folder / "preprocessor_config.json").write_text(content)
        with pytest.raises((RecipeError, RefusedError), match="image processor"):
            load(ModelOptions(name=str(folder)), CLASSES, labels_of(KNOWN), seed=0)


def test_a_folder_with_a_processor_has_no_notes(owns: Owns) -> None:
    assert _opened(owns("vit"), "vit", KNOWN).notes == ()


def _of_timm(folder: Path, **config: Any) -> Path:
    """A folder whose config asks for timm; what its weights are does not matter."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("config", "auto_class"),
    [
        ({"model_type": "timm_wrapper", "architecture": "resnet18"}, CLASSES),
        ({"model_type": "detr", "use_timm_backbone": True, "backbone": "resnet50"}, BOXES),
        ({"model_type": "timm_backbone", "backbone": "resnet18"}, MASKS),
    ],
)
def test_a_model_of_timm_says_what_it_needs(config: dict[str, Any], auto_class: str, tmp_path: Path) -> None:
    import importlib.util

    if importlib.util.find_spec("timm") is not None:
        pytest.skip("timm is installed")
    with pytest.raises(RecipeError, match="parts of timm, and .* is not installed"):
        load(ModelOptions(name=str(_of_timm(tmp_path / "model", **config))), auto_class, labels_of(KNOWN), seed=0)


def test_a_timm_that_does_not_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (
        ("torchvision", ""),
        ("timm", "raise RuntimeError('operator torchvision::nms does not exist')"),
    ):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text(content)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    folder = _of_timm(tmp_path / "model", model_type="timm_wrapper", architecture="resnet18")
    try:
        with pytest.raises(RecipeError, match="installed timm does not work: operator torchvision::nms"):
            load(ModelOptions(name=str(folder)), CLASSES, labels_of(KNOWN), seed=0)
    finally:
        sys.modules.pop("torchvision", None)


BROKEN = """
import sys
from regraft.errors import RegraftError
from regraft.pretrained import load
from regraft.recipe import ModelOptions
config = {"num_labels": 2, "id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
try:
    opened = load(ModelOptions(name=sys.argv[1]), "AutoModelForImageClassification", config, seed=0)
    print(opened.head, type(opened.processor).__name__)
except RegraftError as error:
    print(error)
"""


def test_a_torchvision_that_does_not_work_is_not_needed_or_is_named(tmp_path: Path, owns: Owns) -> None:
    import os
    import subprocess

    site = tmp_path / "site"
    (site / "torchvision").mkdir(parents=True)
    (site / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (site / "torchvision-0.99.0.dist-info").mkdir()
    (site / "torchvision-0.99.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.99.0\n"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BROKEN, str(owns("vit"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "own ViTImageProcessorPil" in said.stdout or "the installed torchvision does not work" in said.stdout
