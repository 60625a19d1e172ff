"""Whatever the bytes of a sound are: a sound, or one line that says why not. Nothing else escapes.

Of a damaged MP3 its decoder itself may write a line to stderr, which no setting of soundfile's keeps it from.
"""

from __future__ import annotations

import os
import random
import resource
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regraft.data.sounds import open_sound
from tests.data.sounds import KINDS, chirp, packed, wav

STARTS = ("is ", "has ", "holds ", "says ", "takes ", "cannot be read")
ROOM = 1 << 30  # bytes of addresses beside those that the process has
EXTREMES = [b"\xff" * 4, bytes(4), b"\0\0\0\x7f", b"\x7f\0\0\0", b"\xff\xff\xff\x7f", b"\x01\0\0\0"]


def good_sounds() -> dict[str, list[bytes]]:
    """Small sounds of each kind, packed in many ways."""
    mono, both = chirp(0.1), chirp(0.1, channels=2)
    wavs = ["PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"]
    tag = b"ID3\4\0\0\0\0\0\x40" + bytes(64)
    return {
        "wav": [*(packed(mono, ("WAV", each)) for each in wavs), packed(both), packed(both, ("WAVEX", "PCM_24"))],
        "flac": [
            *(packed(each, "flac") for each in (mono, both)),
            packed(mono, ("FLAC", "PCM_24")),
            packed(mono * 0.01, "flac"),
        ],
        "ogg": [packed(each, kind) for each in (mono, both) for kind in ("ogg", "opus")],
        "mp3": [packed(mono, "mp3"), packed(both, "mp3", rate=44_100), tag + packed(mono, "mp3", rate=22_050)],
        "aiff": [packed(mono, ("AIFF", each)) for each in ("PCM_16", "FLOAT", "ULAW")],
    }


def mutate(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """A few changes: bits flipped, lengths falsified, pieces cut, doubled or taken from another, the end cut off."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        in_header = draw.random() < 0.4
        place = draw.randrange(min(64, len(changed)) if in_header else len(changed)) if changed else 0
        length = draw.choice([1, 4, 16, 200])
        match draw.randrange(9):
            case 0 | 1 if changed:
                changed[place] ^= 1 << draw.randrange(8)
            case 2:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 3:
                changed[place : place + 4] = draw.choice(EXTREMES)
            case 4:
                changed[place : place + 4] = struct.pack(draw.choice("<>") + "I", draw.randrange(2 * len(content)))
            case 5:
                del changed[place : place + length]
            case 6:
                changed[place:place] = changed[place : place + length]
            case 7:
                start = draw.randrange(len(other))
                changed[place : place + length] = other[start : start + length]
            case _ if draw.random() < 0.4:
                del changed[place:]
    return bytes(changed)


def outcome(path: Path) -> str:
    """What becomes of a file; anything but a sound or a plain reason fails the test."""
    try:
        sound = open_sound(path)
    except ValueError as error:
        problem = error
    else:
        samples = sound.samples(16_000)
        assert (samples.dtype, samples.ndim) == (np.float32, 1)
        assert abs(len(samples) - sound.frames * 16_000 / sound.rate) <= 1
        assert np.isfinite(samples).all()
        return "sound"
    said = str(problem)
    assert type(problem) is ValueError, repr(problem)
    assert said.startswith(STARTS), said
    assert said.isprintable(), said  # so it is one line
    assert len(said) < 300
    return said.split(":")[0][:40]


def fuzz(folder: Path, kind: str, number: int, *, seed: int) -> Counter[str]:
    good = good_sounds()
    draw, others = random.Random(seed), [each for sounds in good.values() for each in sounds]
    path, before = folder / "mutated", _open_files()
    outcomes: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(number):
            content = mutate(draw.choice(good[kind]), draw.choice(others), draw)
            path.write_bytes(content)
            try:
                outcomes[outcome(path)] += 1
            except BaseException:
                (folder / "guilty").write_bytes(content)
                raise
    assert _open_files() == before
    return outcomes


def _open_files() -> int:
    listed = Path("/proc/self/fd")
    return len(os.listdir(listed)) if listed.is_dir() else 0


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """An allocation as large as a false header asks for fails, in place of filling the machine."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    taken = int(statm.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_sounds_to_mutate_are_good(tmp_path: Path) -> None:
    for content in (each for sounds in good_sounds().values() for each in sounds):
        (tmp_path / "a").write_bytes(content)
        assert outcome(tmp_path / "a") == "sound"


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_a_thousand_mutated_sounds_of_each_kind(tmp_path: Path, kind: str) -> None:
    outcomes = fuzz(tmp_path, kind, 1000, seed=0)
    assert outcomes.total() == 1000
    assert 20 < outcomes["sound"] < 900, outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_of_a_small_sound_is_a_sound_or_a_reason(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / "a", packed(chirp(0.02), kind)
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        outcome(path)


def test_every_size_that_a_wav_may_tell_of_is_a_sound_or_a_reason(tmp_path: Path) -> None:
    data = (chirp(0.02) * 32767).astype("<i2").tobytes()
    for declared in (*range(0, 2 * len(data), 13), *(1 << bit for bit in range(32)), 0xFFFFFFFF):
        (tmp_path / "a").write_bytes(wav(data, declared=declared))
        outcome(tmp_path / "a")
