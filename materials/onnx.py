"""Read the weights of an ONNX file, and which node uses which: as much of the format as that takes.

An ONNX file is one message of protocol buffers (https://protobuf.dev/programming-guides/encoding): fields, each a
number and a value, one after the other. The numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from materials.errors import DamagedMaterial

if TYPE_CHECKING:
    import numpy as np

_GRAPH = 7  # of a model
_NODE, _INITIALIZER = 1, 5  # of a graph
_INPUT, _NAME, _OPERATION = 1, 3, 4  # of a node
_DIMENSIONS, _TYPE, _TENSOR_NAME, _CONTENT = 1, 2, 8, 9  # of a tensor

_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
_FIXED = {1: 8, 5: 4}  # bytes of the kinds of values that are numbers of fixed size


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    name: str
    operation: str
    inputs: tuple[str, ...]


def read_onnx(path: Path) -> tuple[list[Node], dict[str, np.ndarray]]:
    """The nodes in order, and the tensors by name; ``DamagedMaterial`` if the file cannot be read."""
    nodes: list[Node] = []
    tensors: dict[str, np.ndarray] = {}
    try:
        for graph in _parts(memoryview(path.read_bytes()), _GRAPH):
            nodes += [_node(part) for part in _parts(graph, _NODE)]
            tensors |= dict(_tensor(part) for part in _parts(graph, _INITIALIZER))
    except (IndexError, KeyError, ValueError) as error:
        raise DamagedMaterial(f"{path.name} cannot be read as ONNX: {error}") from error
    return nodes, tensors


def _node(message: memoryview) -> Node:
    name, operation = (b"".join(_parts(message, field)).decode() for field in (_NAME, _OPERATION))
    return Node(name, operation, tuple(bytes(part).decode() for part in _parts(message, _INPUT)))


def _tensor(message: memoryview) -> tuple[str, np.ndarray]:
    import numpy as np

    shape: list[int] = []
    kind = 0
    for field, value in _fields(message):
        if field == _DIMENSIONS:
            shape += [value] if isinstance(value, int) else _numbers(value)
        elif field == _TYPE and isinstance(value, int):
            kind = value
    name, content = (b"".join(_parts(message, field)) for field in (_TENSOR_NAME, _CONTENT))
    return name.decode(), np.frombuffer(content, _TYPES[kind]).reshape(shape)


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of one field that are bytes, texts or messages."""
    for field, value in _fields(message):
        if field == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            number, place = _varint(message, place)
            yield key >> 3, number
            continue
        if kind == 2:
            size, place = _varint(message, place)
        else:
            size = _FIXED[kind]
        if place + size > len(message):
            raise ValueError("it ends too early")
        yield key >> 3, message[place : place + size]
        place += size


def _numbers(packed: memoryview) -> list[int]:
    found, place = [], 0
    while place < len(packed):
        number, place = _varint(packed, place)
        found.append(number)
    return found


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
