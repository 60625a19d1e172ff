"""What a TensorFlow.js graph computes, operation by operation: the truth that a converted model is held against."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor


class Graph:
    """A graph whose tensors are [batch, height, width, channels]."""

    def __init__(self, folder: Path) -> None:
        nodes = json.loads((folder / "nodes.json").read_text(encoding="utf-8"))
        self.nodes = {node["name"]: node for node in nodes}
        self.weights = {name: tensor.float() for name, tensor in load_file(folder / "weights.safetensors").items()}

    @torch.no_grad()
    def run(self, feeds: dict[str, Tensor], *outputs: str) -> list[Tensor]:
        """The named nodes' values. Nodes that they do not need are not looked at."""
        values = {**self.weights, **feeds}
        for name in outputs:
            self._value(name, values)
        return [values[name] for name in outputs]

    def _value(self, name: str, values: dict[str, Tensor]) -> None:
        waiting = [name]
        while waiting:
            node = self.nodes[waiting[-1]]
            needed = [source for source in node.get("input", []) if source not in values]
            if needed:
                waiting += needed
            else:
                waiting.pop()
                values[node["name"]] = _compute(node, [values[source] for source in node.get("input", [])])


def _compute(node: dict[str, Any], given: list[Tensor]) -> Tensor:
    match node["op"]:
        case "Conv2D" | "_FusedConv2D" | "DepthwiseConv2dNative" | "FusedDepthwiseConv2dNative":
            return _convolution(node, given)
        case "Add":
            return given[0] + given[1]
        case "Mul":
            return given[0] * given[1]
        case "Relu":
            return given[0].relu()
        case "Relu6":
            return given[0].clamp(0, 6)
        case "Sigmoid":
            return given[0].sigmoid()
        case "Mean":
            return given[0].mean(dim=given[1].int().tolist(), keepdim=True)
        case "ConcatV2":
            return torch.cat(given[:-1], dim=int(given[-1]))
        case "ResizeBilinear":
            return _resized(given[0], *given[1].int().tolist())
        case "Identity":
            return given[0]
        case other:
            raise NotImplementedError(other)


def _convolution(node: dict[str, Any], given: list[Tensor]) -> Tensor:
    image, kernel = given[0].permute(0, 3, 1, 2), given[1]
    stride = int(node["attr"]["strides"]["list"]["i"][1])
    depthwise = "Depthwise" in node["op"]
    if base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME":
        image = F.pad(
            image, [side for size, k in ((3, 1), (2, 0)) for side in _same(image.shape[size], kernel.shape[k], stride)]
        )
    weight = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    found = F.conv2d(image, weight, stride=stride, groups=image.shape[1] if depthwise else 1).permute(0, 2, 3, 1)
    for name in node["attr"].get("fused_ops", {}).get("list", {}).get("s", []):
        found = found + given[2] if base64.b64decode(name) == b"BiasAdd" else found.relu()
    return found


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with neither aligned corners nor half-pixel centres: output i lies at input i * old / new."""
    for dim, size in ((1, height), (2, width)):
        old = image.shape[dim]
        at = torch.arange(size) * (old / size)
        low = at.floor().long()
        high = (low + 1).clamp(max=old - 1)
        part = (at - low).view([-1 if place == dim else 1 for place in range(4)])
        image = image.index_select(dim, low) * (1 - part) + image.index_select(dim, high) * part
    return image
