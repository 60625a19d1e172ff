"""Read a model file of CTranslate2: the weights by name.

Little-endian: the version of the format, the name and the revision of the kind of model, the number of variables, and
of each its name, shape, type, size in bytes and content. Then come the other names that some variables have.
https://github.com/OpenNMT/CTranslate2, ``python/ctranslate2/specs/model_spec.py`` (MIT).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from materials.errors import DamagedMaterial

if TYPE_CHECKING:
    import numpy as np

_VERSION = 6
_FLOATS = {0: "<f4", 4: "<f2"}  # other types hold settings; weights in eight bits are not read here


def read_weights(path: Path, kind: str) -> dict[str, np.ndarray]:
    """All variables of floating point, in fp32; ``DamagedMaterial`` if it is no model of this kind."""
    reader = Reader(path.read_bytes())
    try:
        if reader.number("I") != _VERSION or reader.text() != kind:
            raise DamagedMaterial(f"{path.name} is no model of the kind {kind} in version {_VERSION} of CTranslate2.")
        reader.number("I")
        return reader.variables()
    except (struct.error, ValueError) as error:
        raise DamagedMaterial(f"{path.name} cannot be read: {error}") from error


class Reader:
    """The bytes of a file, and how far they are read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def number(self, kind: str) -> int:
        """One number: ``B``, ``H`` or ``I`` of the module struct."""
        value = int(struct.unpack_from(f"<{kind}", self.content, self.place)[0])
        self.place += struct.calcsize(f"<{kind}")
        return value

    def text(self) -> str:
        """A length, and as many bytes, of which the last is 0."""
        return self.taken(self.number("H")).rstrip(b"\0").decode()

    def taken(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        found = self.content[self.place : self.place + size]
        if len(found) != size:
            raise ValueError("it ends too early")
        self.place += size
        return found

    def variables(self) -> dict[str, np.ndarray]:
        """What follows on the head of the file."""
        import numpy as np

        found: dict[str, np.ndarray] = {}
        for _ in range(self.number("I")):
            name = self.text()
            shape = [self.number("I") for _ in range(self.number("B"))]
            kind, content = self.number("B"), self.taken(self.number("I"))
            if kind in _FLOATS:
                found[name] = np.frombuffer(content, _FLOATS[kind]).reshape(shape).astype(np.float32)
        for _ in range(self.number("I")):
            alias, name = self.text(), self.text()
            if name in found:
                found[alias] = found[name]
        return found
