"""Weights that are not what the config says: an error that names the folder, never noise in their place, never another
type of error."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from regraft.errors import RecipeError, RefusedError, RegraftError, ResourceError
from regraft.pretrained import Pretrained, load
from regraft.recipe import ModelOptions

AUTO = "AutoModelForSequenceClassification"
ALLOWED = (RecipeError, RefusedError, ResourceError)


def _opened(folder: Path, head: str = "own") -> Pretrained:
    return load(ModelOptions(name=str(folder), head=head), AUTO, {"num_labels": 2}, seed=0)  # type: ignore[arg-type]


def _rewritten(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


NEEDED = ["embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight",
          "encoder.layer.1.output.LayerNorm.bias"]  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("head", ["own", "mean"])
def test_a_missing_backbone_weight_stops_the_run(name: str, head: str, model: Path) -> None:
    _rewritten(model, lambda tensors: tensors.pop(name))
    with pytest.raises(RecipeError, match=r"1 backbone weights are missing or have another shape") as stopped:
        _opened(model, head)
    assert name in str(stopped.value)


@pytest.mark.parametrize("name", NEEDED)
def test_a_weight_of_another_shape_stops_the_run(name: str, model: Path) -> None:
    _rewritten(model, lambda tensors: tensors.update({name: torch.zeros(3, 5)}))
    with pytest.raises(RecipeError, match=r"1 backbone weights are missing or have another shape") as stopped:
        _opened(model)
    assert name in str(stopped.value)


def test_a_config_of_another_size_stops_the_run(model: Path) -> None:
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 64}))
    with pytest.raises(RecipeError, match=r"backbone weights are missing or have another shape"):
        _opened(model)


def test_a_config_with_more_blocks_stops_the_run(model: Path) -> None:
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(RecipeError, match=r"encoder.layer.2"):
        _opened(model)


def test_weights_beyond_the_model_are_no_harm(model: Path) -> None:
    _rewritten(model, lambda tensors: tensors.update({"of.another.head": torch.zeros(3)}))
    assert _opened(model).anatomy.new == {"classifier.weight", "classifier.bias"}


def test_a_missing_pooler_is_new_and_said_to_be(model: Path) -> None:
    _rewritten(model, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    assert _opened(model).anatomy.new == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_tuned_in_fp32(dtype: torch.dtype, model: Path) -> None:
    _rewritten(model, lambda tensors: tensors.update({name: value.to(dtype) for name, value in tensors.items()}))
    assert {parameter.dtype for parameter in _opened(model).model.parameters()} == {torch.float32}


def test_weights_of_another_type_open_or_stop(model: Path) -> None:
    name = NEEDED[1]
    for dtype in (torch.int64, torch.bool, torch.float64, torch.uint8):
        _rewritten(model, lambda tensors, dtype=dtype: tensors.update({name: tensors[name].to(dtype)}))
        try:
            found = _opened(model).model.state_dict()[f"bert.{name}"]
        except ALLOWED:
            continue
        assert found.dtype == torch.float32


def test_a_head_for_other_labels_is_made_anew(model: Path) -> None:
    _rewritten(model, lambda tensors: tensors.update({"classifier.weight": torch.ones(7, 32)}))
    opened = _opened(model)
    assert opened.model.state_dict()["classifier.weight"].shape == (2, 32)
    assert "classifier.weight" in opened.anatomy.new


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error(part: float, model: Path) -> None:
    file = model / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(RecipeError, match="cannot be opened"):
        _opened(model)


def test_a_folder_without_a_tokenizer_is_an_error(model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    with pytest.raises(RecipeError, match="tokenizer"):
        _opened(model)


def test_a_damaged_pooled_head_is_an_error(model: Path, tmp_path: Path) -> None:
    from regraft.pretrained import reopen, save

    save(tmp_path / "saved", _opened(model, "mean"))
    file = tmp_path / "saved" / "head.safetensors"
    good = file.read_bytes()
    for content in (b"", good[:20], good[:-1], good.replace(b'"bias"', b'"bios"'), good.replace(b"[2,32]", b"[32,2]")):
        file.write_bytes(content)
        with pytest.raises(ResourceError, match=r"head\.safetensors"):
            reopen(tmp_path / "saved", AUTO, head="mean")
    file.unlink()
    with pytest.raises(ResourceError, match=r"head\.safetensors"):
        reopen(tmp_path / "saved", AUTO, head="mean")


def test_mutated_headers_are_our_errors_or_the_same_model(model: Path) -> None:
    _mutated(model, cases=200)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_mutated_headers_are_our_errors_or_the_same_model(model: Path) -> None:
    _mutated(model, cases=2000)


def _mutated(folder: Path, *, cases: int) -> None:
    """Open the folder with one header after the other. Only our errors come; what opens has all of its backbone."""
    file = folder / "model.safetensors"
    good = file.read_bytes()
    for case in range(cases):
        file.write_bytes(_mutate(good, random.Random(case)))
        try:
            opened = _opened(folder)
        except ALLOWED:
            continue
        except RegraftError as error:  # pragma: no cover
            raise AssertionError(f"case {case}: {error!r}") from error
        assert {name for name in opened.anatomy.new if "pooler" not in name} == {"classifier.weight", "classifier.bias"}


def _mutate(good: bytes, dice: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", good[:8])
    header, data = bytearray(good[8 : 8 + length]), good[8 + length :]
    kind = dice.randrange(6)
    if kind == 0:  # some bytes
        for _ in range(dice.randint(1, 8)):
            header[dice.randrange(length)] = dice.randrange(256)
    elif kind == 1:  # the length
        length = dice.choice([0, 1, length - 1, length + 1, len(good), 2**31, 2**63, 2**64 - 1, dice.randrange(2**20)])
    elif kind == 2:  # a part left out or doubled
        start = dice.randrange(length)
        stop = min(length, start + dice.randint(1, 200))
        header[start:stop] = header[start:stop] * dice.choice([0, 2])
        length = dice.choice([length, len(header)])
    else:
        changed = json.loads(bytes(header).decode())
        _spoil(changed, kind, dice)
        header = bytearray(json.dumps(changed).encode())
        length = len(header)
    return struct.pack("<Q", length) + bytes(header) + data


def _spoil(header: dict[str, dict[str, object]], kind: int, dice: random.Random) -> None:
    """A header that is JSON still, and says something else."""
    name = dice.choice([name for name in header if name != "__metadata__"])
    if kind == 3:
        numbers = [-1, 0, 1, 2**31, 2**53, 2**63, 10**30, 0.5, None, "1", True]
        header[name][dice.choice(["shape", "data_offsets"])] = [dice.choice(numbers) for _ in range(dice.randint(0, 3))]
    elif kind == 4:
        header[name]["dtype"] = dice.choice(["F16", "F64", "I64", "BOOL", "F8_E4M3", "F4", "X", "", None, 3])
    else:
        others = [name, "", "bert." + name, "__metadata__", "\u0000", "x" * 5000, dice.choice(list(header))]
        header[dice.choice(others)] = header.pop(name)


def test_a_copy_of_the_folder_is_the_same_model(model: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(model, tmp_path / "copy"))
    first, second = _opened(model).model.state_dict(), _opened(copied).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
