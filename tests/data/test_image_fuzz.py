"""Whatever the bytes of an image are: a picture, or one line that says why not. Nothing else escapes.

Of a damaged TIFF libtiff itself may write a line to stderr, which no setting of Pillow's keeps it from.
"""

from __future__ import annotations

import io
import os
import random
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from regraft.data.pictures import open_picture
from tests.data.images import drawn

STARTS = ("is ", "has ", "cannot be read", "takes ")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def frames() -> list[Image.Image]:
    """More pictures for a file of several; new each time, since saving leaves marks on them."""
    return [drawn(40, 30, seed=seed) for seed in (1, 2)]


def good_images() -> list[bytes]:
    """Small images of each kind, packed in many ways."""
    colour, grey = drawn(40, 30), drawn(40, 30).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    layered = drawn(40, 30).convert("RGBA")
    layered.putalpha(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    squeezed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "raw")
    return [
        *(saved(image, "PNG") for image in (colour, grey, deep, layered, colour.quantize(16), grey.convert("1"))),
        saved(colour, "PNG", exif=turned, save_all=True, append_images=frames()),
        saved(colour, "JPEG"),
        saved(colour, "JPEG", progressive=True, exif=turned),
        saved(colour.convert("CMYK"), "JPEG"),
        saved(grey, "JPEG"),
        saved(colour, "MPO", save_all=True, append_images=frames()),
        saved(colour, "WEBP"),
        saved(layered, "WEBP", lossless=True, exif=turned),
        saved(colour, "WEBP", save_all=True, append_images=frames()),
        saved(colour, "GIF"),
        saved(colour, "GIF", save_all=True, append_images=frames(), transparency=0),
        *(saved(colour, "TIFF", compression=each, exif=turned) for each in squeezed),
        saved(deep, "TIFF"),
        saved(grey.convert("1"), "TIFF", compression="group4"),
        saved(layered, "TIFF", save_all=True, append_images=frames()),
        saved(colour, "BMP"),
        saved(colour, "PPM"),
    ]


def mutate(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """A few changes: bits flipped, bytes set, pieces cut, doubled or taken from another, the end cut off."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        in_header = draw.random() < 0.4
        place = draw.randrange(min(64, len(changed)) if in_header else len(changed)) if changed else 0
        length = draw.choice([1, 4, 16, 200])
        match draw.randrange(8):
            case 0 | 1 if changed:
                changed[place] ^= 1 << draw.randrange(8)
            case 2:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 3:
                changed[place : place + 4] = draw.choice([b"\xff" * 4, bytes(4), b"\0\0\0\x7f", b"\x7f\0\0\0"])
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[place : place + length]
            case 6:
                start = draw.randrange(len(other))
                changed[place : place + length] = other[start : start + length]
            case _ if draw.random() < 0.4:
                del changed[place:]
    return bytes(changed)


def outcome(path: Path) -> str:
    """What becomes of a file; anything but a picture or a plain reason fails the test."""
    try:
        picture = open_picture(path)
    except ValueError as error:
        problem = error
    else:
        pixels = picture.pixels()
        assert (pixels.dtype, pixels.shape) == (np.uint8, (picture.height, picture.width, 3))
        return "picture"
    said = str(problem)
    assert type(problem).__module__ in {"builtins", "regraft.data.pictures"}, repr(problem)
    assert said.startswith(STARTS), said
    assert said.isprintable(), said  # so it is one line
    assert len(said) < 300
    return said.split(":")[0][:40]


def fuzz(folder: Path, number: int, *, seed: int) -> Counter[str]:
    draw, good = random.Random(seed), good_images()
    path, before = folder / "mutated", _open_files()
    outcomes: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(number):
            content = mutate(draw.choice(good), draw.choice(good), draw)
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


def test_the_images_to_mutate_are_good(tmp_path: Path) -> None:
    for content in good_images():
        (tmp_path / "a").write_bytes(content)
        assert outcome(tmp_path / "a") == "picture"


def test_four_thousand_mutated_images(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 4000, seed=0)
    assert outcomes.total() == 4000
    assert 400 < outcomes["picture"] < 3600, outcomes


def test_every_truncation_of_a_small_image_is_a_picture_or_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        content = saved(drawn(6, 4), kind)
        for length in range(0, len(content), 3):
            path.write_bytes(content[:length])
            outcome(path)
