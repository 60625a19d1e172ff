"""Models in the format of CTranslate2."""

import struct
from pathlib import Path

import numpy as np
import pytest

from materials.ct2 import read_weights
from materials.errors import DamagedMaterial


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, array: np.ndarray, kind: int) -> bytes:
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return text(name) + shape + struct.pack("<BI", kind, array.nbytes) + array.tobytes()


def model(path: Path, *, version: int = 6, spec: str = "TinySpec") -> Path:
    content = struct.pack("<I", version) + text(spec) + struct.pack("<II", 3, 3)
    content += variable("a/weight", np.arange(6, dtype=np.float16).reshape(2, 3), 4)
    content += variable("a/bias", np.array([0.5, 1.5], np.float32), 0)
    content += variable("heads", np.array(6, np.int8), 1)
    path.write_bytes(content + struct.pack("<I", 1) + text("b/weight") + text("a/weight"))
    return path


def test_weights_come_in_fp32_by_name_and_by_alias(tmp_path: Path) -> None:
    found = read_weights(model(tmp_path / "model.bin"), "TinySpec")
    assert set(found) == {"a/weight", "a/bias", "b/weight"}
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert np.array_equal(found["b/weight"], np.arange(6).reshape(2, 3))
    assert found["a/bias"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize("other", [{"version": 5}, {"spec": "OtherSpec"}])
def test_another_kind_or_version_is_refused(tmp_path: Path, other: dict[str, int]) -> None:
    with pytest.raises(DamagedMaterial, match="no model of the kind TinySpec in version 6"):
        read_weights(model(tmp_path / "model.bin", **other), "TinySpec")  # type: ignore[arg-type]


@pytest.mark.parametrize("left", [2, 30, 60, 90])
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, left: int) -> None:
    path = model(tmp_path / "model.bin")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedMaterial, match=r"model\.bin cannot be read"):
        read_weights(path, "TinySpec")
