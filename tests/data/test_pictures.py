"""Opening images: every kind as upright RGB on white; what is damaged or too large is told in plain words."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from regraft.data.objects import MOST_PIXELS
from regraft.data.pictures import open_picture, thumbnail
from regraft.errors import DataError
from regraft.fingerprint import example_id
from tests.data.images import drawn, png, write_image

Write = Callable[[str, str | bytes], str]
LOSSLESS = ["png", "gif", "tif", "bmp", "ppm", "webp"]
EVERY = [*LOSSLESS, "jpg"]


def pixels(path: Path | str) -> np.ndarray:
    picture = open_picture(Path(path))
    found = picture.pixels()
    assert (found.dtype, found.shape) == (np.uint8, (picture.height, picture.width, 3))
    return found


def reason(path: Path | str) -> str:
    with pytest.raises(ValueError, match="^(is|has|cannot be read)") as raised:
        open_picture(Path(path))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", LOSSLESS)
def test_every_format_gives_its_pixels(tmp_path: Path, ending: str) -> None:
    image = drawn().quantize(64).convert("RGB")
    image.save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_array_equal(pixels(tmp_path / f"a.{ending}"), np.asarray(image))


def test_a_jpeg_is_near_to_what_was_drawn(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.jpg", quality=95, subsampling=0)
    assert np.abs(pixels(tmp_path / "a.jpg").astype(int) - np.asarray(drawn())).mean() < 6


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    picture = open_picture(tmp_path / "a.jpg")
    assert picture.content == picture.sha256 == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()
    assert (picture.width, picture.height) == (24, 16)


def test_a_copy_elsewhere_is_the_same_example(tmp_path: Path) -> None:
    first, second = (open_picture(write_image(tmp_path / name)) for name in ("a.png", "folder/b.png"))
    assert example_id({"image": first}) == example_id({"image": second})
    assert example_id({"image": first}) != example_id({"image": open_picture(write_image(tmp_path / "c.png", seed=1))})


def test_pixels_can_be_written_to_and_are_new_each_time(tmp_path: Path) -> None:
    picture = open_picture(write_image(tmp_path / "a.png"))
    first = picture.pixels()
    first[:] = 0
    assert picture.pixels().any()


def test_a_picture_can_be_sent_to_another_process(tmp_path: Path) -> None:
    picture = open_picture(write_image(tmp_path / "a.png"))
    assert pickle.loads(pickle.dumps(picture)) == picture


MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "PA", "RGBX"]
HOLDS = {  # what of these can be saved as what
    "png": ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"],
    "tif": ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "PA", "RGBX"],
    "jpg": ["L", "RGB", "CMYK", "YCbCr"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
    "gif": ["1", "L", "P"],
    "webp": ["RGB", "RGBA"],
    "ppm": ["1", "L", "RGB", "I;16"],
}


@pytest.mark.parametrize(("ending", "mode"), [(ending, mode) for ending, modes in HOLDS.items() for mode in modes])
def test_every_mode_becomes_rgb(tmp_path: Path, ending: str, mode: str) -> None:
    path = tmp_path / f"a.{ending}"
    grey = drawn().convert("L")
    if mode == "I;16":
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(path)
        expected = grey.convert("RGB")
    else:
        image = (grey if mode == "PA" else drawn()).convert(mode)
        image.save(path, **({"lossless": True} if ending == "webp" else {}))
        expected = image.convert("RGB")
    allowed = 0 if ending != "jpg" else 40
    assert np.abs(pixels(path).astype(int) - np.asarray(expected)).max() <= allowed


def test_16_bits_are_scaled_by_what_16_bits_can_hold_though_all_values_are_small(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png")[..., 0], (values >= 129).astype(np.uint8))


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bits_become_the_nearest_of_8(tmp_path: Path, ending: str) -> None:
    values = np.arange(0, 65536, 17, dtype=np.uint16)[:3840].reshape(60, 64)
    values[-1] = 65535
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    found = pixels(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(found[..., 0], np.round(values / 257).astype(np.uint8))
    assert (found == found[..., :1]).all()


def test_the_16_bits_of_big_endian_tiffs_are_read_as_they_are(tmp_path: Path) -> None:
    values = np.array([[0, 256, 65535, 32896]], dtype=">u2")
    Image.frombytes("I;16B", (4, 1), values.tobytes()).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 1, 255, 128]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_whose_white_is_unknown_are_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.ones((4, 4), kind)).save(tmp_path / "a.tif")
    assert "nobody knows what is white; save it with 8 or 16 bits" in reason(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_what_is_see_through_is_laid_on_white(tmp_path: Path, ending: str) -> None:
    layered = np.dstack([np.asarray(drawn()), np.tile(np.arange(24, dtype=np.uint8) * 11, (16, 1))])
    Image.fromarray(layered).save(
        tmp_path / f"a.{ending}", **({"lossless": True, "exact": True} if ending == "webp" else {})
    )
    alpha = layered[..., 3:] / 255
    expected = layered[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(tmp_path / f"a.{ending}") - expected).max() <= 1
    assert (pixels(tmp_path / f"a.{ending}")[:, 0] == 255).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
@pytest.mark.parametrize("ending", ["png", "gif"])
def test_a_colour_that_stands_for_nothing_is_white(tmp_path: Path, ending: str, mode: str) -> None:
    if ending == "gif" and mode in {"RGB", "1"}:
        pytest.skip("there is no such GIF")
    image = Image.new("RGB", (8, 8), "black")
    image.paste((255, 255, 255), (0, 0, 4, 8))
    image = image.convert(mode, dither=Image.Dither.NONE)
    absent = image.getpixel((7, 7))
    image.save(tmp_path / f"a.{ending}", transparency=absent)
    assert (pixels(tmp_path / f"a.{ending}")[:, 4:] == 255).all()


def test_the_palettes_of_pngs_may_be_see_through_by_degrees(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 100, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert pixels(tmp_path / "a.png")[0].tolist() == [[255, 255, 255], [177, 127, 127]]


def test_of_several_pictures_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "lime")]
    for ending in ("gif", "webp", "tif", "png"):
        path = tmp_path / f"a.{ending}"
        frames[0].save(
            path, save_all=True, append_images=frames[1:], **({"lossless": True} if ending == "webp" else {})
        )
        assert (pixels(path) == [255, 0, 0]).all(), ending


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_images_are_turned_as_their_exif_says(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    drawn().save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(pixels(path), expected)
    picture = open_picture(path)
    assert (picture.width, picture.height) == ((24, 16) if orientation < 5 else (16, 24))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_tiffs_are_turned_once_however_they_are_packed(tmp_path: Path, compression: str) -> None:
    drawn().save(tmp_path / "a.tif", tiffinfo={0x0112: 6}, compression=compression)
    picture = open_picture(tmp_path / "a.tif")
    assert (picture.width, picture.height) == (16, 24)
    turned = np.asarray(drawn().transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(pixels(tmp_path / "a.tif") - turned).mean() < 12


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    for number, exif in enumerate(
        (b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    ):
        drawn().save(tmp_path / f"{number}.png", exif=exif)
        assert pixels(tmp_path / f"{number}.png").shape == (16, 24, 3)


@pytest.mark.parametrize("ending", EVERY)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    path = write_image(tmp_path / f"a.{ending}", width=200, height=150)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    said = reason(path)
    assert "is truncated" in said if ending != "gif" else said.startswith(("is truncated", "is damaged"))


def test_a_png_whose_check_sum_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    path.write_bytes(content)
    assert reason(path).startswith("is damaged")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is no image that can be read: it begins with b'<!DOCTYPE html><'"),
        (b"version https://git-lfs.github.com/spec/v1", "is no image that can be read"),
        (b"\0\0\0\x20ftypheic", "is HEIC, which is not read; save it as JPEG or PNG"),
        (b"\0\0\0\x1cftypavif", "is AVIF, which is not read"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is JPEG XL"),
        (b"\xff\x0a and more", "is JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is JPEG 2000"),
        (b"\0\0\0\x20ftypisom", "is no image that can be read"),
        (b"\x89PNG\r\n\x1a\n", "is damaged or cut off: its header makes no sense"),
        (b"\xff\xd8\xff", "is damaged"),
        (b"GIF89a", "is"),
        (b"BM", "is"),
        (b"P6 0 0 255\n", "is"),
        (b"P6 4 4 255\n", "is truncated"),
        (b"II*\0", "is"),
        (b"RIFF\x04\0\0\0WEBP", "is damaged"),
    ],
)
def test_what_is_no_image_says_so(write: Write, content: bytes, said: str) -> None:
    assert reason(write("a.png", content)).startswith(said)


def test_an_image_of_no_size_is_refused(write: Write) -> None:
    assert reason(write("a.png", png(0, 4, repeat(b"", 4)))).startswith("is ")


def test_folders_pipes_and_nothing_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path) == f"is not a file: {tmp_path}"
    assert reason(tmp_path / "pipe.png") == f"is not a file: {tmp_path}/pipe.png"
    assert reason(tmp_path / "nothing.png") == f"is not there: {tmp_path}/nothing.png"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    path.chmod(0)
    assert reason(path) == "cannot be read: Permission denied"


def test_a_picture_above_the_limit_is_refused_by_its_header(write: Write, tmp_path: Path) -> None:
    width = MOST_PIXELS // 10_000 + 1
    gif = bytearray(Path(write_image(tmp_path / "a.gif")).read_bytes())
    gif[6:10] = width.to_bytes(2, "little") + (10_000).to_bytes(2, "little")
    webp = bytearray(Path(write_image(tmp_path / "a.webp")).read_bytes())
    webp[26:30] = (16_000).to_bytes(2, "little") * 2
    for name, content, size in (
        ("b.png", png(width, 10_000, iter(())), "10001 x 10000"),
        ("b.ppm", b"P6 %d 10000 255\n" % width, "10001 x 10000"),
        ("b.gif", bytes(gif), "10001 x 10000"),
        ("b.webp", bytes(webp), "more than"),
    ):
        said = reason(write(name, content))
        assert said.startswith(f"has {size}"), name
        assert "100 million" in said, name


BOMB = """
import resource, sys
from pathlib import Path
from regraft.data.pictures import open_picture

open_picture(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_picture(Path(sys.argv[2]))
except ValueError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_decompression_bomb_costs_little_memory(tmp_path: Path) -> None:
    """ru_maxrss is in KB on Linux and in bytes on macOS, where the bound is then stricter."""
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(12_000, 12_000, repeat(bytes(36_000), 12_000)))
    assert bomb.stat().st_size < 500_000
    harmless = write_image(tmp_path / "a.png")
    told = subprocess.run(
        [sys.executable, "-c", BOMB, harmless, bomb], capture_output=True, text=True, check=True, timeout=60
    )
    used, said = told.stdout.split(maxsplit=1)
    assert "has 12000 x 12000 pixels, 144 million" in said
    assert int(used) < 20_000
    assert told.stderr == ""


def test_many_threads_give_what_one_gives(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{seed}.{EVERY[seed % 7]}", seed=seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_picture, paths)) == [open_picture(path) for path in paths]


def test_a_file_that_changed_is_not_taken_for_the_one_that_was_looked_at(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    picture = open_picture(path)
    write_image(path, seed=1)
    with pytest.raises(DataError, match="has changed since it was looked at"):
        picture.pixels()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    picture = open_picture(path)
    path.unlink()
    with pytest.raises(DataError, match="a.png: is not there"):
        picture.pixels()


@pytest.mark.parametrize(("size", "start", "shape"), [(200, b"\xff\xd8\xff", (200, 133)), (48, b"\x89PNG", (48, 32))])
def test_a_thumbnail_fits_and_keeps_its_shape(tmp_path: Path, size: int, start: bytes, shape: tuple[int, int]) -> None:
    path = write_image(tmp_path / "a.png", width=300, height=200)
    small = thumbnail(open_picture(path), size)
    (tmp_path / "small").write_bytes(small)
    assert small.startswith(start)
    found = open_picture(tmp_path / "small")
    assert (found.width, found.height) == shape


def test_a_thumbnail_of_a_small_picture_is_the_picture(tmp_path: Path) -> None:
    picture = open_picture(write_image(tmp_path / "a.png"))
    (tmp_path / "small.png").write_bytes(thumbnail(picture, 200))
    np.testing.assert_array_equal(pixels(tmp_path / "small.png"), picture.pixels())
