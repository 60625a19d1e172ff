"""Read a graph model of TensorFlow.js: the nodes as JSON, and the weights from the binary files beside it.

The format: https://github.com/tensorflow/tfjs/tree/master/tfjs-converter#format-conversion-details
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.errors import DamagedMaterial

if TYPE_CHECKING:
    import numpy as np


def read_graph(path: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The nodes and the weights by name, as the file has them; half precision stays half."""
    model = json.loads(path.read_text(encoding="utf-8"))
    return model["modelTopology"]["node"], dict(_weights(model["weightsManifest"], path))


def _weights(groups: list[dict[str, Any]], path: Path) -> Iterator[tuple[str, np.ndarray]]:
    import numpy as np

    for group in groups:
        content = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        start = 0
        for weight in group["weights"]:
            kind = np.dtype(weight.get("quantization", weight)["dtype"])
            if "quantization" in weight and kind != np.float16:
                raise DamagedMaterial(f"{path.name} has weights of {kind}, which is not read here.")
            count = prod(weight["shape"])
            yield weight["name"], np.frombuffer(content, kind, count, start).reshape(weight["shape"])
            start += count * kind.itemsize
        if start != len(content):
            raise DamagedMaterial(f"{path.name}: its weights have {len(content):,} bytes, not {start:,}.")
