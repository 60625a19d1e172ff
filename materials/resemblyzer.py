"""Resemblyzer: tells voices apart, 1.4 M parameters, as a model of regraft.pretrained.speaker.

Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018, https://arxiv.org/abs/1710.10467; trained by
C. Jemine and Resemble AI, https://github.com/resemble-ai/Resemblyzer, Apache-2.0. The package holds them in torch's
own format, which is read here as weights only; weight and bias of its training loss are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

WHEEL = Package(
    name="Resemblyzer",
    version="0.1.4",
    file="Resemblyzer-0.1.4-py3-none-any.whl",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
)

_OF_THE_LOSS = {"similarity_weight", "similarity_bias"}


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder."""
    import torch

    from regraft.pretrained.folder import quiet

    wheel = unpack(download(WHEEL, scratch), scratch / "wheel", only=("*/pretrained.pt", "*/LICENSE"))
    kept = torch.load(next(wheel.rglob("pretrained.pt")), map_location="cpu", weights_only=True)
    with quiet():
        convert(kept["model_state"]).save_pretrained(target)
    (target / "LICENSE").write_bytes(next(wheel.rglob("LICENSE")).read_bytes())


def convert(state: Mapping[str, Any]) -> Any:
    """The encoder with these weights, in eval mode; ``DamagedMaterial`` if they are others."""
    from regraft.pretrained.speaker import SpeakerEncoder, SpeakerEncoderConfig

    model: Any = SpeakerEncoder(SpeakerEncoderConfig())
    try:
        model.load_state_dict({name: tensor for name, tensor in state.items() if name not in _OF_THE_LOSS})
    except RuntimeError as error:
        raise DamagedMaterial(f"{WHEEL.file} holds other weights than known: {error}") from error
    return model.eval()


MATERIAL = Material(
    name="resemblyzer",
    summary="Resemblyzer's encoder of voices, tells speakers apart, 1.4 M parameters (6 MB)",
    licence="Apache-2.0",
    sources=(WHEEL,),
    fill=fill,
)
