"""Small sounds of every kind, made and not kept."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
KINDS = {  # how a file's name ends, and what soundfile calls what is in it
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}

Samples = NDArray[np.float32]


def chirp(seconds: float = 0.25, *, seed: int = 0, rate: int = RATE, channels: int = 1) -> Samples:
    """A tone that rises, with some noise: float32 [n], or [n, channels] of which no two are alike."""
    time = np.arange(round(seconds * rate)) / rate
    rising = 0.5 * np.sin(2 * np.pi * (300 + 100 * seed + 800 * time) * time)
    noise = np.random.default_rng(seed).normal(0, 0.02, (len(time), channels))
    values = (rising[:, None] * np.linspace(1, 0.5, channels) + noise).astype(np.float32)
    return values[:, 0] if channels == 1 else values


def packed(samples: Samples, kind: str | tuple[str, str] = "wav", *, rate: int = RATE) -> bytes:
    """Samples as a file of a kind, one of :data:`KINDS` or as soundfile names it."""
    form, subtype = KINDS[kind] if isinstance(kind, str) else kind
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def write_sound(path: Path, *, seed: int = 0, seconds: float = 0.25, rate: int = RATE, channels: int = 1) -> Path:
    """A sound in a file, of the kind that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(chirp(seconds, seed=seed, rate=rate, channels=channels), path.suffix[1:], rate=rate))
    return path


def wav(data: bytes, *, declared: int | None = None, rate: int = RATE, channels: int = 1, bits: int = 16) -> bytes:
    """A WAV of these bytes, its header as asked for."""
    size = len(data) if declared is None else declared
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, min(rate * block, 0xFFFFFFFF), block, bits)
    header = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + header + data


def set_bytes(content: bytes, place: int, values: bytes | Sequence[int]) -> bytes:
    """The same with some bytes set."""
    return content[:place] + bytes(values) + content[place + len(values) :]
