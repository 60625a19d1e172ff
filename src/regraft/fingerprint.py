"""Content hashes: of examples, weights and files; and the numbers drawn from them.

Whatever looks random in regraft (the order of the data, a split, a dropout mask) is drawn from a hash of what it
belongs to, so that workers, batch size and resuming cannot change it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def _content(value: Any) -> Any:
    """What stands for a value that is no JSON: an image says what is in it, not where it lies."""
    if not hasattr(value, "content"):
        raise TypeError(f"{type(value).__name__} has no content that could be hashed")
    return value.content


_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_content)


def canonical(value: Any) -> bytes:
    """``value`` as JSON bytes that are the same for equal values. What is no JSON is asked for its ``content``."""
    return _JSON.encode(value).encode("utf-8", "surrogatepass")


def digest(value: Any) -> str:
    """The SHA-256 of a JSON-like value, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def example_id(inputs: Mapping[str, Any]) -> str:
    """The stable id of an example: 32 hex digits that depend on its inputs and on nothing else."""
    return digest(dict(inputs))[:32]


def encoded_id(encoded: Mapping[str, Any]) -> bytes:
    """The key of what a model is given for one example, 16 bytes: lists of numbers, or arrays and tensors."""
    total = hashlib.sha256()
    for name in sorted(encoded):
        value = encoded[name]
        if isinstance(value, list | int | float):
            total.update(canonical([name, value]))
        else:
            array = np.ascontiguousarray(value)
            total.update(canonical([name, str(array.dtype), list(array.shape)]))
            total.update(array.data)
    return total.digest()[:16]


def draw(*parts: Any) -> int:
    """A 63-bit number that is a pure function of ``parts``: a seed, or a key to sort by."""
    return int.from_bytes(hashlib.sha256(canonical(parts)).digest()[:8], "big") >> 1


def uniform(*parts: Any) -> float:
    """A number in [0, 1) that is a pure function of ``parts``."""
    return (draw(*parts) >> 10) / float(1 << 53)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of names, types, shapes and bytes: equal exactly where every bit is equal."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(canonical([name, str(tensor.dtype), list(tensor.shape)]))
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
