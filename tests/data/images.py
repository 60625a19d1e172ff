"""Small images of every kind, made and not kept."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def drawn(width: int = 24, height: int = 16, *, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise: no two of its sides and corners are alike."""
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    across, down = np.meshgrid(np.arange(width) * 200 // width, np.arange(height) * 200 // height)
    return Image.fromarray((np.stack([across, down, 200 - across], axis=2) + noise).astype(np.uint8))


def write_image(path: Path, *, seed: int = 0, width: int = 24, height: int = 16) -> Path:
    """An image in a file, of the kind that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn(width, height, seed=seed).save(path)
    return path


def png(width: int, height: int, rows: Iterator[bytes], *, colour: int = 2, depth: int = 8) -> bytes:
    """A PNG of these rows, packed as they come."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\0" + row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, data, b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
