"""Weights out of ONNX files."""

from pathlib import Path

import numpy as np
import pytest

from materials.errors import DamagedMaterial
from materials.onnx import Node, read_onnx


def varint(value: int) -> bytes:
    groups = []
    while True:
        value, low = value >> 7, value & 127
        groups.append(low | (128 if value else 0))
        if not value:
            return bytes(groups)


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: np.ndarray, kind: int, *, packed: bool = False) -> bytes:
    sides = [varint(side) for side in array.shape]
    shape = field(1, b"".join(sides)) if packed else b"".join(field(1, side) for side in array.shape)
    return field(5, shape + field(2, kind) + field(8, name) + field(9, array.tobytes()))


def node(name: str, operation: str, *inputs: str) -> bytes:
    parts = [*(field(1, each) for each in inputs), field(2, "out"), field(3, name), field(4, operation)]
    return field(1, b"".join(parts))


@pytest.mark.parametrize("packed", [False, True])
def test_nodes_and_tensors_are_read(tmp_path: Path, packed: bool) -> None:
    weight = np.arange(600, dtype=np.float32).reshape(300, 2)
    graph = node("/a/Conv", "Conv", "x", "w") + node("/b", "Add", "y", "n") + field(2, "graph")
    graph += tensor("w", weight, 1, packed=packed) + tensor("n", np.array([5, -1], np.int64), 7, packed=packed)
    fixed = b"\x0d\x00\x00\x80\x3f" + b"\x09" + bytes(8)  # numbers of 32 and of 64 bits, which are skipped
    path = tmp_path / "model.onnx"
    path.write_bytes(field(1, 8) + fixed + field(2, "maker") + field(7, graph))
    nodes, tensors = read_onnx(path)
    assert nodes == [Node("/a/Conv", "Conv", ("x", "w")), Node("/b", "Add", ("y", "n"))]
    assert np.array_equal(tensors["w"], weight)
    assert tensors["n"].tolist() == [5, -1]


def test_a_single_number_has_no_sides(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(field(7, tensor("n", np.array(3.5, np.float32), 1)))
    assert float(read_onnx(path)[1]["n"]) == 3.5


@pytest.mark.parametrize("harm", ["cut", "type", "shape", "group"])
def test_another_file_is_refused(tmp_path: Path, harm: str) -> None:
    content = field(7, tensor("w", np.ones((2, 3), np.float32), 99 if harm == "type" else 1))
    if harm == "shape":
        content = field(7, field(5, field(1, 7) + field(2, 1) + field(9, bytes(4))))
    path = tmp_path / "model.onnx"
    path.write_bytes({"cut": content[:-5], "group": b"\x3b"}.get(harm, content))
    with pytest.raises(DamagedMaterial, match=r"model\.onnx cannot be read as ONNX"):
        read_onnx(path)
