"""Masks: every pixel's class, whatever the file keeps it in, or drawn from outlines."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference
from PIL import Image

from regraft.data.masks import DrawnMask, MaskFile, open_mask, parse_mask, renumbered
from regraft.errors import ResourceError
from regraft.fingerprint import digest

VALUES = np.array([[0, 1, 2, 2], [0, 0, 3, 255], [1, 1, 1, 0]], np.uint8)


def png(width: int, height: int, depth: int, rows: bytes, colour: int = 0) -> bytes:
    """A PNG as Pillow does not write them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(path: Path, pixels: np.ndarray, mode: str = "L") -> Path:
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([value for index in range(256) for value in (255 - index, 7 * index % 256, 30)])
    else:
        image = image.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
@pytest.mark.parametrize("ending", ["png", "tiff", "bmp"])
def test_a_mask_is_read_as_its_numbers_and_not_its_colours(tmp_path: Path, mode: str, ending: str) -> None:
    mask = open_mask(saved(tmp_path / f"mask.{ending}", VALUES, mode))
    assert (mask.width, mask.height, mask.values, mask.names) == (4, 3, (0, 1, 2, 3, 255), None)
    np.testing.assert_array_equal(mask.read(), VALUES)
    assert mask.read().dtype == np.uint8
    assert mask.content == mask.sha256


@pytest.mark.parametrize(("depth", "row", "values"), [(1, b"\0\xa0", [1, 0, 1, 0]), (2, b"\0\x1b", [0, 1, 2, 3])])
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, depth: int, row: bytes, values: list[int]) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(png(4, 1, depth, row))
    assert open_mask(path).read().tolist() == [values]
    path.write_bytes(png(4, 1, 4, b"\0\x12\x3f"))
    assert open_mask(path).read().tolist() == [[1, 2, 3, 15]]


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_are_kept_where_they_are_needed(tmp_path: Path, ending: str) -> None:
    wide = VALUES.astype(np.uint16) * 300
    mask = open_mask(saved(tmp_path / f"mask.{ending}", wide, "I;16"))
    assert mask.values == (0, 300, 600, 900, 76500 % 65536)
    np.testing.assert_array_equal(mask.read(), wide)
    narrow = open_mask(saved(tmp_path / f"narrow.{ending}", VALUES.astype(np.uint16), "I;16"))
    assert narrow.read().dtype == np.uint8
    np.testing.assert_array_equal(narrow.read(), VALUES)


def test_a_mask_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    path, exif = tmp_path / "mask.png", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(VALUES).save(path, exif=exif)
    mask = open_mask(path)
    assert (mask.width, mask.height) == (3, 4)
    np.testing.assert_array_equal(mask.read(), np.rot90(VALUES, -1))


def test_alpha_that_hides_nothing_is_left_out(tmp_path: Path) -> None:
    mask = open_mask(saved(tmp_path / "mask.png", VALUES, "LA"))
    np.testing.assert_array_equal(mask.read(), VALUES)


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]{5,400}$") as caught:
        open_mask(path)
    return str(caught.value)


def test_what_is_no_mask_is_refused_with_a_hint(tmp_path: Path) -> None:
    colours = np.stack([VALUES, VALUES, VALUES + 1], axis=-1)
    assert "is a colour picture" in refused(saved(tmp_path / "colours.png", colours, "RGB"))
    seen = np.stack([VALUES, VALUES, VALUES, VALUES], axis=-1)
    assert "see-through" in refused(saved(tmp_path / "alpha.png", seen, "RGBA"))
    assert "compression changes values" in refused(saved(tmp_path / "mask.jpg", VALUES))
    assert "compression changes values" in refused(saved(tmp_path / "mask.webp", VALUES, "RGB"))
    assert "is a GIF" in refused(saved(tmp_path / "mask.gif", VALUES))
    assert "no classes" in refused(saved(tmp_path / "mask.tiff", VALUES.astype(np.float32), "F"))
    frames = [Image.fromarray(VALUES), Image.fromarray(VALUES)]
    frames[0].save(tmp_path / "two.tiff", save_all=True, append_images=frames[1:])
    assert "has 2 pictures" in refused(tmp_path / "two.tiff")
    assert "No such file" in refused(tmp_path / "missing.png")
    assert "cannot be read" in refused(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    assert refused(tmp_path / "empty.png") == "has no bytes"
    (tmp_path / "text.png").write_text("hello")
    assert "is no PNG" in refused(tmp_path / "text.png")


def test_a_mask_of_nothing_but_ignored_pixels_is_empty(tmp_path: Path) -> None:
    assert "is empty" in refused(saved(tmp_path / "mask.png", np.full_like(VALUES, 255)))


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (200, 200), dtype=np.uint8)
    for ending in ("png", "bmp", "tiff"):
        path = saved(tmp_path / f"mask.{ending}", noise)
        path.write_bytes(path.read_bytes()[:-9000])
        assert "damaged" in refused(path)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(12000, 12000, 8, b"\0" * 12001 * 1000))
    tracemalloc.start()
    try:
        assert refused(path) == "is 12000 x 12000: more than 100,000,000 pixels"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_values_are_renumbered_and_255_never_counts() -> None:
    pixels = np.array([[0, 300, 255, 7, 301]], dtype=np.uint16)
    numbers = [2, *[5] * 299, 1]
    assert renumbered(pixels, numbers).tolist() == [[2, 1, 255, 5, 255]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "sky\nroad\n小鸟\ncar\n\n"),
        ("classes.txt", "\ufeffsky\r\nroad\r\n小鸟\r\ncar"),
        ("classes.json", '{"0": "sky", "1": "road", "3": "car", "2": "小鸟", "255": "ignore"}'),
        ("classes.json", '["sky", "road", "小鸟", "car"]'),
    ],
)
@pytest.mark.parametrize("place", ["masks/train", "masks", "."])
def test_class_names_are_found_near_the_mask(tmp_path: Path, name: str, content: str, place: str) -> None:
    path = saved(tmp_path / "masks" / "train" / "a.png", VALUES)
    (tmp_path / place / name).write_bytes(content.encode())
    assert open_mask(path).names == ("sky", "road", "小鸟", "car")


def test_a_value_between_the_named_ones_is_called_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"1": "road", "3": "car"}')
    assert open_mask(saved(tmp_path / "a.png", VALUES)).names == ("0", "road", "2", "car")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("classes.txt", b"sky\nroad\ncar\n", "holds the value 3; 3 classes have names"),
        ("classes.txt", b"sky\n\nroad\ncar\n", "not all text"),
        ("classes.txt", b"sky\nsky\nroad\ncar\n", "twice"),
        ("classes.txt", b"", "there are 0 names|not all text"),
        ("classes.txt", b"sk\xff\n", "cannot be read"),
        ("classes.json", b"{", "cannot be read"),
        ("classes.json", b"3", "not all text"),
        ("classes.json", b'{"a": "sky"}', "whole numbers"),
        ("classes.json", b'{"99999999999": "sky"}', "whole numbers"),
        ("classes.json", b"[" * 100_000, "cannot be read"),
    ],
)
def test_class_names_that_cannot_be_used_are_said(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        open_mask(saved(tmp_path / "a.png", VALUES))


def seeds() -> list[tuple[str, bytes]]:
    good = []
    noise = np.random.default_rng(0).integers(0, 5, (20, 17), dtype=np.uint8)
    for kind, mode, extra in [
        ("png", "L", {}),
        ("png", "P", {}),
        ("png", "1", {}),
        ("bmp", "L", {}),
        ("bmp", "P", {}),
        ("tiff", "L", {}),
        ("tiff", "P", {"compression": "tiff_lzw"}),
        ("tiff", "L", {"compression": "tiff_deflate"}),
        ("tiff", "1", {"compression": "group4"}),
        ("tiff", "RGB", {"compression": "jpeg"}),
    ]:
        buffer = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(buffer, kind, **extra)
        good.append((kind, buffer.getvalue()))
    return [*good, ("png", png(4, 1, 4, b"\0\x12\x3f"))]


def test_mutated_files_are_masks_or_have_a_reason(tmp_path: Path) -> None:
    draw, contents, good = random.Random(0), seeds(), 0
    reasons: list[str] = []
    for _ in range(1000):
        kind, content = draw.choice(contents)
        changed = bytearray(content)
        for _ in range(draw.choice([1, 2, 8])):
            place = draw.randrange(min(len(changed), draw.choice([60, 10_000])))
            match draw.randrange(4):
                case 0:
                    changed[place] = draw.randrange(256)
                case 1:
                    changed[place] ^= 1 << draw.randrange(8)
                case 2:
                    del changed[place : place + draw.choice([1, 4])]
                case _:
                    changed[place:place] = draw.choice([b"\xff\xff\xff\xff", b"\0" * 4, b"\x7f"])
        path = tmp_path / f"mutated.{kind}"
        path.write_bytes(bytes(changed))
        try:
            mask = open_mask(path)
        except ValueError as error:
            reasons.append(str(error))
        else:
            assert mask.read().shape == (mask.height, mask.width)
            good += 1
    assert all(0 < len(reason) < 400 for reason in reasons)
    assert min(good, len(reasons)) > 50, (good, len(reasons))


def cell(*objects: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"objects": list(objects), "width": 20, "height": 10, "names": ["cat", "dog"], **given}


def square(label: str, x: float, y: float, size: float, **given: Any) -> dict[str, Any]:
    corners = [x, y, x + size, y, x + size, y + size, x, y + size]
    return {"label": label, "box": [x, y, x + size, y + size], "segmentation": [corners], **given}


def drawn(value: Any) -> DrawnMask:
    mask = parse_mask(value)
    assert isinstance(mask, DrawnMask)
    return mask


def test_a_cell_with_text_is_a_path() -> None:
    assert parse_mask(" masks/a.png ") == "masks/a.png"


def test_a_mask_is_drawn_with_later_objects_on_top() -> None:
    mask = drawn(cell(square("dog", 0, 0, 5), square("cat", 3, 0, 4)))
    expected = np.zeros((10, 20), np.uint8)
    expected[:5, :5] = 2
    expected[:4, 3:7] = 1
    np.testing.assert_array_equal(mask.read(), expected)
    assert (mask.width, mask.height, mask.values) == (20, 10, (0, 1, 2))
    assert mask.names == ("background", "cat", "dog")
    assert mask.read().dtype == np.uint8


def test_a_crowd_is_ignored_but_for_the_objects_in_it() -> None:
    crowd = {"label": "dog", "iscrowd": 1, "segmentation": {"size": [10, 20], "counts": [0, 100, 100]}}
    expected = np.zeros((10, 20), np.uint8)
    expected[:, :10] = 255
    expected[2:4, 2:4] = 1
    mask = drawn(cell(square("cat", 2, 2, 2), crowd))
    np.testing.assert_array_equal(mask.read(), expected)
    assert mask.values == (0, 1, 255)


def test_run_lengths_of_both_kinds_draw_the_same() -> None:
    region = np.zeros((10, 20), np.uint8)
    region[3:7, 5:9] = 1
    packed = reference.encode(np.asfortranarray(region))["counts"].decode()
    plain = {"label": "dog", "segmentation": {"size": [10, 20], "counts": [53, 4, 6, 4, 6, 4, 6, 4, 113]}}
    compressed = {"label": "dog", "segmentation": {"size": [10, 20], "counts": packed}}
    for item in (plain, compressed):
        np.testing.assert_array_equal(drawn(cell(item)).read(), region * 2)


def test_an_object_of_two_polygons_is_drawn_whole() -> None:
    both = square("cat", 0, 0, 2)
    both["segmentation"] += square("cat", 10, 5, 3)["segmentation"]
    assert (drawn(cell(both)).read() == 1).sum() == 4 + 9


def test_what_lies_outside_the_image_is_not_drawn() -> None:
    for huge in (15, 1e4, 1e9):
        assert (drawn(cell(square("cat", -huge, -huge, huge + 5))).read() == 1).sum() == 25
    assert drawn(cell(square("cat", 1e9, 1e9, 5))).values == (0,)


def test_no_objects_are_all_background() -> None:
    assert drawn(cell()).values == (0,)


def test_content_follows_what_is_drawn() -> None:
    one, same, other = (drawn(cell(square("cat", x, 0, 4))) for x in (1, 1, 2))
    assert one.content == same.content != other.content
    assert digest([one]) == digest([same])
    assert one.content != drawn(cell(square("cat", 1, 0, 4), width=21)).content


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is empty"),
        ("", "is empty"),
        (3, "neither the path"),
        ([], "neither the path"),
        ({"objects": []}, "has no width"),
        (cell({"label": "cat", "box": [0, 0, 5, 5]}), "object 1: has a box but no outline"),
        (cell(square("cow", 0, 0, 4)), "object 1: 'cow' is not one of the 2 classes"),
        (cell(square("cat", 0, 0, 4), {"label": "cat"}), "object 2: has no box"),
        (cell(width=0), "the size of the image"),
        (cell(width=2.0), "the size of the image"),
        (cell(width=10**5, height=10**5), "more than 100,000,000 pixels"),
        (cell(names=["a"] * 3), "all different"),
        (cell(names=[str(number) for number in range(300)]), "up to 254"),
        (cell({"label": "cat", "segmentation": {"size": [9, 20], "counts": [0, 180]}}), "its mask is 20 x 9"),
        (
            cell({"label": "cat", "iscrowd": 1, "segmentation": {"size": [10, 20], "counts": [0, 200]}}),
            "is empty: every pixel is 255",
        ),
    ],
)
def test_a_mask_that_cannot_be_drawn_has_a_reason(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_mask(value)


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", VALUES)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core", None)
    with pytest.raises(ResourceError, match="images need Pillow"):
        open_mask(path)
    with pytest.raises(ResourceError, match="images need faster-coco-eval"):
        parse_mask(cell(square("cat", 0, 0, 4)))


def test_both_kinds_of_masks_are_used_alike(tmp_path: Path) -> None:
    for mask in (open_mask(saved(tmp_path / "a.png", VALUES)), drawn(cell(square("cat", 0, 0, 4)))):
        assert isinstance(mask, MaskFile | DrawnMask)
        assert mask.read().shape == (mask.height, mask.width)
        assert tuple(np.unique(mask.read()).tolist()) == mask.values
        assert json.dumps(mask.content)
