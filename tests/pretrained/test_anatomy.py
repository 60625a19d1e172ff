"""The anatomy of every family: where each parameter is, and what a pattern names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from regraft.errors import RecipeError, ResourceError
from regraft.pretrained import Anatomy, Pretrained, load, model_folder
from regraft.recipe import ModelOptions
from regraft.testing import DETECTORS, FAMILIES, IMAGE_FAMILIES, SEGMENTERS, WORDS, tiny_model

AUTO = "AutoModelForSequenceClassification"
SHARED = {"albert"}  # one set of weights for all blocks
Families = Callable[[str], Path]


def _opened(folder: Path, head: str = "own") -> Pretrained:
    return load(ModelOptions(name=str(folder), head=head), AUTO, {"num_labels": 2}, seed=0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Anatomy:
    """A BERT of 6 blocks."""
    folder = tmp_path_factory.mktemp("bert") / "model"
    return _opened(tiny_model(folder, words=WORDS, num_hidden_layers=6)).anatomy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["own", "mean"])
def test_every_parameter_is_in_exactly_one_part(family: str, head: str, families: Families) -> None:
    opened = _opened(families(family), head)
    anatomy = opened.anatomy
    names = [name for name, _ in opened.model.named_parameters()]
    assert sorted(name for part in anatomy.parts.values() for name in part) == sorted(names)
    assert list(anatomy.parameters) == names
    assert {name: parameter.numel() for name, parameter in opened.model.named_parameters()} == anatomy.sizes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["own", "mean"])
def test_the_blocks_are_counted(family: str, head: str, families: Families) -> None:
    assert len(_opened(families(family), head).anatomy.blocks) == (1 if family in SHARED else 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_stem_and_head_are_found(family: str, families: Families) -> None:
    anatomy = _opened(families(family)).anatomy
    assert any("embed" in name or "wte" in name for name in anatomy.stem)
    assert anatomy.new
    assert anatomy.new <= {*anatomy.head, *anatomy.tail}
    assert {name for name in anatomy.head if "classifier" in name or "score" in name or "out_proj" in name}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in SHARED])
def test_blocks_compute_from_bottom_to_top(family: str, families: Families) -> None:
    """Spoil block 1: block 0 gives what it gave. Spoil block 0: block 1 gives something else."""
    opened = _opened(families(family))
    first, second = (_module_of(opened, index) for index in (0, 1))
    before = _given(opened, first), _given(opened, second)
    _spoil(opened, opened.anatomy.blocks[1])
    assert torch.equal(_given(opened, first), before[0])
    _spoil(opened, opened.anatomy.blocks[0])
    assert not torch.equal(_given(opened, second), before[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_above_the_blocks_does_not_feed_them(family: str, families: Families) -> None:
    """Else a frozen block would give something else after training, though its own weights rest."""
    opened = _opened(families(family))
    top = _module_of(opened, len(opened.anatomy.blocks) - 1)
    before = _given(opened, top)
    _spoil(opened, (*opened.anatomy.tail, *opened.anatomy.head))
    assert torch.equal(_given(opened, top), before)


AUTO_OF = {
    **dict.fromkeys(IMAGE_FAMILIES, "AutoModelForImageClassification"),
    **dict.fromkeys(DETECTORS, "AutoModelForObjectDetection"),
    **dict.fromkeys(SEGMENTERS, "AutoModelForSemanticSegmentation"),
}
# How many blocks: of a detector or segmenter the backbone's stages, then the layers or maps of what reads them.
BLOCKS = {
    "vit": 2,
    "deit": 2,
    "beit": 2,
    "dinov2": 2,
    "levit": 3,
    "mobilevit": 5,
    "efficientnet": 5,
    "mobilenet_v1": 26,
    "mobilenet_v2": 16,
    "yolos": 2,
    "detr": 8,
    "conditional_detr": 8,
    "rt_detr": 12,
    "d_fine": 10,
    "mask2former": 7,
}
PREDICTORS = {
    "detr": ("class_labels_classifier.", "bbox_predictor."),
    "conditional_detr": ("class_labels_classifier.", "bbox_predictor."),
    "rt_detr": ("model.decoder.class_embed.", "model.decoder.bbox_embed.", "model.enc_score_head."),
    "d_fine": ("model.decoder.class_embed.", "model.decoder.bbox_embed.", "model.enc_score_head."),
    "yolos": ("class_labels_classifier.", "bbox_predictor."),
    "segformer": ("decode_head.classifier.",),
    "upernet": ("decode_head.classifier.", "auxiliary_head.classifier."),
    "mask2former": ("class_predictor.", "model.transformer_module.decoder.mask_predictor."),
    "hgnet_v2": ("fc.",),
    "resnet": ("classifier.",),
}


def _seeing(folder: Path, family: str) -> Pretrained:
    return load(ModelOptions(name=str(folder)), AUTO_OF[family], {"num_labels": 2}, seed=0)


@pytest.mark.parametrize("family", AUTO_OF)
def test_the_parts_of_a_model_that_sees_are_found(family: str, families: Families) -> None:
    opened = _seeing(families(family), family)
    anatomy = opened.anatomy
    names = [name for name, _ in opened.model.named_parameters()]
    assert sorted(name for part in anatomy.parts.values() for name in part) == sorted(names)
    assert len(anatomy.blocks) == BLOCKS.get(family, 4)
    assert all(anatomy.blocks)
    assert anatomy.head
    for prefix in PREDICTORS.get(family, ()):
        assert any(name.startswith(prefix) for name in anatomy.head), prefix
        assert {name for name in names if name.startswith(prefix)} <= {*anatomy.head}
    assert anatomy.new <= {*anatomy.head}


@pytest.mark.parametrize("family", [*IMAGE_FAMILIES, "yolos", "segformer"])
def test_blocks_that_see_compute_from_bottom_to_top(family: str, families: Families) -> None:
    opened = _seeing(families(family), family)
    modules = [opened.model.get_submodule(path) for path in opened.anatomy.modules]
    ran: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda found, *_: ran.append(found)) for module in modules]
    side = 32 if family in {"vit", "deit", "beit", "dinov2", "yolos"} else 64
    with torch.inference_mode():
        opened.model(pixel_values=torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    assert ran == modules


def test_constants_are_not_trained(families: Families) -> None:
    anatomy = _seeing(families("d_fine"), "d_fine").anatomy
    assert anatomy.unused == {"model.decoder.reg_scale", "model.decoder.up"}


def _module_of(opened: Pretrained, index: int) -> nn.Module:
    """The deepest module that holds all parameters of a block."""
    names = opened.anatomy.blocks[index]
    path = names[0].split(".")
    while not all(name.startswith(".".join(path) + ".") for name in names):
        path.pop()
    return opened.model.get_submodule(".".join(path))


def _given(opened: Pretrained, block: nn.Module) -> torch.Tensor:
    found: list[torch.Tensor] = []
    hook = block.register_forward_hook(lambda _module, _inputs, output: found.append(_first(output)))
    with torch.inference_mode():
        opened.model(**opened.processor("the film was good", return_tensors="pt"))
    hook.remove()
    return found[-1]


def _first(output: object) -> torch.Tensor:
    tensor = output[0] if isinstance(output, tuple) else output
    assert isinstance(tensor, torch.Tensor)
    return tensor.clone()


def _spoil(opened: Pretrained, names: tuple[str, ...]) -> None:
    with torch.no_grad():
        for name in names:
            opened.model.get_parameter(name).mul_(3).add_(0.5)


def test_minilm_has_6_blocks() -> None:
    try:
        folder = model_folder(ModelOptions(name="minilm"))
    except ResourceError:
        pytest.skip("python -m materials minilm")
    anatomy = _opened(folder).anatomy
    assert list(anatomy.parts) == ["embeddings", *(f"blocks[{n}]" for n in range(6)), "pooler", "head"]
    assert sum(anatomy.sizes.values()) == pytest.approx(22.7e6, rel=0.01)


def test_the_pooler_that_a_pooled_head_ignores_is_known(families: Families) -> None:
    assert _opened(families("bert"), "mean").anatomy.unused == {
        "backbone.pooler.dense.weight", "backbone.pooler.dense.bias"
    }  # fmt: skip
    assert _opened(families("bert"), "own").anatomy.unused == frozenset()


def _blocks(anatomy: Anatomy, *numbers: int) -> set[str]:
    return {name for number in numbers for name in anatomy.blocks[number]}


@pytest.mark.parametrize(("pattern", "numbers"), [
    ("blocks[0]", [0]), ("blocks[-1]", [5]), ("blocks[-6]", [0]), ("blocks[:4]", [0, 1, 2, 3]), ("blocks[4:]", [4, 5]),
    ("blocks[-2:]", [4, 5]), ("blocks[1:3]", [1, 2]), ("blocks[::2]", [0, 2, 4]), ("blocks[1::2]", [1, 3, 5]),
    ("blocks[::-1]", [0, 1, 2, 3, 4, 5]), ("blocks[:]", [0, 1, 2, 3, 4, 5]), ("blocks", [0, 1, 2, 3, 4, 5]),
    ("blocks.3", [3]), ("blocks.*", [0, 1, 2, 3, 4, 5]), ("blocks[ 2 ]", [2]), ("blocks[:99]", [0, 1, 2, 3, 4, 5]),
])  # fmt: skip
def test_blocks_are_named_as_in_python(pattern: str, numbers: list[int], bert: Anatomy) -> None:
    assert set(bert.select(pattern)) == _blocks(bert, *numbers)


@pytest.mark.parametrize("part", ["embeddings", "pooler", "head"])
def test_a_part_is_named_by_its_name(part: str, bert: Anatomy) -> None:
    assert bert.select(part) == bert.parts[part]


@pytest.mark.parametrize(("pattern", "count"), [
    ("blocks.*.attention", 6 * 10), ("blocks[:2].attention", 2 * 10), ("blocks[:2].attention.self", 2 * 6),
    ("blocks.*.attention.self.query", 6 * 2), ("blocks[-1].**.LayerNorm", 4), ("blocks.*.**.LayerNorm.bias", 12),
    ("*.LayerNorm", 6 * 4 + 2), ("embeddings.word_embeddings", 1), ("embeddings.*_embeddings", 3),
    ("bert.embeddings.word_embeddings.weight", 1), ("bert.encoder.layer.3", 16), ("bert.encoder.layer.*.attention", 60),
    ("classifier", 2), ("head.classifier.weight", 1), ("*.bias", 6 * 8 + 3), ("**", 6 * 16 + 5 + 2 + 2),
])  # fmt: skip
def test_a_path_names_what_is_below_it(pattern: str, count: int, bert: Anatomy) -> None:
    assert len(bert.select(pattern)) == count


def test_a_star_stays_within_its_step(bert: Anatomy) -> None:
    assert set(bert.select("blocks.*.attention.*.query")) == set(bert.select("blocks.*.attention.self.query"))
    with pytest.raises(RecipeError):
        bert.select("blocks.*.query")


@pytest.mark.parametrize("pattern", [
    "blocks[6]", "blocks[-7]", "blocks[9:]", "layers", "embedding", "blocks[0].lora", "bert.encoder.layer.6", "",
    "encoder.layer[0]", "Embeddings", "blocks[3", "blocks 3", "head.", "[", "?",
])  # fmt: skip
def test_a_pattern_that_matches_nothing_lists_what_exists(pattern: str, bert: Anatomy) -> None:
    with pytest.raises(RecipeError, match="matches no parameter") as stopped:
        bert.select(pattern)
    assert repr(pattern) in stopped.value.problem
    for part in ("embeddings", "blocks[0] … blocks[5]", "pooler", "head", "attention.self.query"):
        assert part in stopped.value.fix


@pytest.mark.parametrize("pattern", ["blocks[]", "blocks[a]", "blocks[1,2]", "blocks[1:2:3:4]", "blocks[::0]",
                                     "blocks[1.5]", "blocks[--1]"])  # fmt: skip
def test_a_pattern_that_is_not_understood_says_how_to_write_it(pattern: str, bert: Anatomy) -> None:
    with pytest.raises(RecipeError, match="blocks") as stopped:
        bert.select(pattern)
    assert stopped.value.fix
