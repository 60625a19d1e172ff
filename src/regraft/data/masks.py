"""Masks: the class of every pixel of an image, from a file or drawn from objects. 255 always means "ignore".

A :class:`MaskFile` and a :class:`DrawnMask` have the same members: ``width``, ``height``, ``values`` (those that
occur), ``names`` (of value 0, 1, 2, ... where known), ``content`` (what they are hashed by) and ``read()``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.data.cells import shown
from regraft.data.objects import MOST_PIXELS, Object, Polygon, Rle, parse_objects
from regraft.errors import ResourceError
from regraft.fingerprint import digest, file_sha256

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

IGNORE = 255
BACKGROUND = "background"  # the name of value 0 in a mask that is drawn
_MOST_CLASSES = 254  # of a mask that is drawn: its values end below IGNORE


@dataclass(frozen=True)
class MaskFile:
    """A mask in a file that has been decoded once and found good."""

    path: str
    sha256: str
    width: int
    height: int
    values: tuple[int, ...]
    names: tuple[str, ...] | None = None

    @property
    def content(self) -> str:
        return self.sha256

    def read(self) -> np.ndarray:
        """uint8 or uint16 [height, width]."""
        return _decoded(Path(self.path))


@dataclass(frozen=True)
class DrawnMask:
    """A mask drawn from the outlines of objects: value 0 is background, value k + 1 the k-th class.

    Where objects overlap, the later one is on top. Crowds are drawn first, as 255.
    """

    objects: tuple[Object, ...]
    width: int
    height: int
    values: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def content(self) -> str:
        return digest([self.objects, self.width, self.height, self.names])

    def read(self) -> np.ndarray:
        """uint8 [height, width]."""
        return _drawn(self.objects, self.width, self.height, self.names)


def open_mask(path: Path) -> MaskFile:
    """A mask from a PNG, TIFF or BMP: one channel of class numbers, a palette's indices, or equal channels.

    The names of the classes are read from ``classes.txt`` (one a line, from value 0 on) or ``classes.json``
    (``{"0": "background", ...}`` or a list) in the folder of the mask or one of the two above it.

    Raises:
        ValueError: the file is no such mask, or is damaged, too large or empty, or holds a value without a name.
        ResourceError: Pillow is not installed.
    """
    pixels = _decoded(path)
    values = _values(pixels)
    names = class_names(path.parent)
    unnamed = [value for value in values if value != IGNORE and value >= len(names)] if names is not None else []
    if names is not None and unnamed:
        raise ValueError(f"holds the value {unnamed[0]}; {len(names)} classes have names, from 0 on")
    return MaskFile(str(path), file_sha256(path), pixels.shape[1], pixels.shape[0], values, names)


def parse_mask(cell: Any) -> str | DrawnMask:
    """The path of a mask's file, or a mask drawn from objects.

    A cell is text, or ``{"objects": [...], "width": 640, "height": 480, "names": ["cat", ...]}``, with objects
    as :func:`~regraft.data.objects.parse_objects` takes them, each with an outline, and the name of every class.

    Raises:
        ValueError: what is wrong with it.
    """
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    if not isinstance(cell, dict):
        raise ValueError("is empty" if cell is None or cell == "" else "is neither the path of a mask nor objects")
    missing = [key for key in ("objects", "width", "height", "names") if cell.get(key) is None]
    if missing:
        raise ValueError(f"has no {missing[0]}")
    return draw_mask(parse_objects(cell["objects"]), cell["width"], cell["height"], cell["names"])


def draw_mask(objects: tuple[Object, ...], width: int, height: int, names: list[str] | tuple[str, ...]) -> DrawnMask:
    """The mask of an image with these objects; ``names`` are those of the classes, without background.

    Raises:
        ValueError: an object has no outline or an unknown label, or the size or the names make no mask.
        ResourceError: faster-coco-eval is not installed.
    """
    if not all(type(side) is int and side > 0 for side in (width, height)):
        raise ValueError(f"the size of the image is {shown(width)} x {shown(height)}")
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} are more than {MOST_PIXELS:,} pixels")
    if len(names) > _MOST_CLASSES or len(set(names)) < len(names):
        raise ValueError(f"has {len(names)} names: a mask is drawn of up to {_MOST_CLASSES}, all different")
    known = set(names)
    for number, item in enumerate(objects, start=1):
        if item.label not in known:
            raise ValueError(f"object {number}: {shown(item.label)} is not one of the {len(names)} classes")
        if not item.segments:
            raise ValueError(f"object {number}: has a box but no outline (segmentation)")
        if isinstance(item.segments, Rle) and (item.segments.width, item.segments.height) != (width, height):
            drawn = f"{item.segments.width} x {item.segments.height}"
            raise ValueError(f"object {number}: its mask is {drawn}, the image is {width} x {height}")
    classes = (BACKGROUND, *names)
    return DrawnMask(objects, width, height, _values(_drawn(objects, width, height, classes)), classes)


def renumbered(pixels: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """A mask whose values 0, 1, 2, ... have become these numbers, uint8 [height, width]; 255 never counts."""
    table = np.full(65536, IGNORE, np.uint8)
    table[: len(numbers)] = numbers
    table[IGNORE] = IGNORE
    found: np.ndarray = table[pixels]
    return found


def not_installed(package: str) -> ResourceError:
    """The error for a library that images need and that is not here."""
    return ResourceError(f"images need {package}, which is not installed", fix='pip install "regraft[vision]"')


def class_names(folder: Path) -> tuple[str, ...] | None:
    """The names of a mask's values, from ``classes.txt`` or ``classes.json`` in this folder or up to two above.

    Raises:
        ValueError: there is such a file, and it cannot be used.
    """
    for place in (folder, *folder.parents[:2]):
        for name, parse in (("classes.txt", _names_from_lines), ("classes.json", _names_from_json)):
            if (place / name).is_file():
                try:
                    return parse((place / name).read_text("utf-8-sig"))
                except (OSError, ValueError, RecursionError) as error:
                    raise ValueError(f"has class names in {place / name} that cannot be read: {error}") from None
    return None


def _names_from_lines(text: str) -> tuple[str, ...]:
    return _checked_names([line.strip() for line in text.rstrip().splitlines()])


def _names_from_json(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    if isinstance(names, dict):
        numbered = {int(key): name for key, name in names.items() if key.isascii() and key.isdigit() and len(key) < 6}
        if len(numbered) < len(names):
            raise ValueError("its keys are not all whole numbers below 65536")
        numbered.pop(IGNORE, None)
        names = [numbered.get(value, str(value)) for value in range(max(numbered, default=-1) + 1)]
    return _checked_names(names)


def _checked_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("the names are not all text")
    if not names or len(names) > 65536:
        raise ValueError(f"there are {len(names)} names")
    if len(set(names)) < len(names):
        raise ValueError("a name is there twice")
    return tuple(name.strip() for name in names)


def _values(pixels: np.ndarray) -> tuple[int, ...]:
    flat, step = pixels.reshape(-1), 1 << 20  # in steps: counting makes 8 bytes of each pixel
    counts = sum(np.bincount(flat[start : start + step], minlength=65536) for start in range(0, len(flat), step))
    occurring = tuple(np.flatnonzero(counts).tolist())
    if occurring == (IGNORE,):
        raise ValueError(f"is empty: every pixel is {IGNORE}, which means ignore")
    return occurring


def _drawn(objects: tuple[Object, ...], width: int, height: int, classes: tuple[str, ...]) -> np.ndarray:
    value = {name: place for place, name in enumerate(classes)}
    pixels = np.zeros((height, width), np.uint8, order="F")  # as run lengths go, which makes it quick
    for item in sorted(objects, key=lambda item: not item.crowd):  # stable: crowds below, else as they come
        inside = _outlined(item.segments, width, height)
        np.copyto(pixels, np.uint8(IGNORE if item.crowd else value[item.label]), where=inside)
    return np.ascontiguousarray(pixels)


def _outlined(segments: tuple[Polygon, ...] | Rle, width: int, height: int) -> np.ndarray:
    """bool [height, width]: drawn as COCO's tools draw, so that a square of 10 pixels has 100."""
    if isinstance(segments, Rle):
        return segments.pixels()
    try:
        from faster_coco_eval.core import mask
    except ImportError:
        raise not_installed("faster-coco-eval") from None

    # What lies far outside is drawn a little outside: it is not seen, and cannot overflow.
    most = np.array([width, height], np.float64)
    near = [np.clip(np.reshape(polygon, (-1, 2)), -most, 2 * most).reshape(-1).tolist() for polygon in segments]
    inside: np.ndarray = mask.decode(mask.segmToRle(near, width, height)).view(bool)
    return inside


def _decoded(path: Path) -> np.ndarray:
    """uint8 or uint16 [height, width], turned as the file's EXIF data says."""
    try:
        from PIL import ImageOps
    except ImportError:
        raise not_installed("Pillow") from None
    with _plainly():
        image = _opened(path)
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"is {image.width} x {image.height}: more than {MOST_PIXELS:,} pixels")
        with _plainly():
            frames, spread = getattr(image, "n_frames", 1), _spread(image)
        if frames > 1:
            raise ValueError(f"has {frames} pictures in one file")
        with _plainly():
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            pixels, mode = np.asarray(image), image.mode
    return _classes(pixels, alpha=mode.endswith("A"), spread=spread)


class _Refused(ValueError):
    """A reason in our own words."""


@contextmanager
def _plainly() -> Iterator[None]:
    """What a decoder raises, as a ValueError in plain words: on damaged files it can be anything."""
    try:
        yield
    except _Refused:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        raise ValueError(f"is damaged: {str(error) or type(error).__name__}"[:200]) from None


def _opened(path: Path) -> ImageFile:
    """The header of a file. Pillow's own ``open`` is passed by: it warns of large pictures through a global."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile

    kinds: dict[bytes, type[ImageFile]] = {
        b"\x89PNG\r\n\x1a\n": PngImageFile,
        b"BM": BmpImageFile,
        b"II*\0": TiffImageFile,
        b"MM\0*": TiffImageFile,
    }
    with path.open("rb") as file:
        start = file.read(16)
    for mark, kind in kinds.items():
        if start.startswith(mark):
            return kind(path)
    if start.startswith(b"\xff\xd8") or start[8:12] == b"WEBP":
        raise _Refused("is a JPEG or WebP, whose compression changes values: keep masks as PNG")
    if start.startswith(b"GIF8"):  # Pillow, for one, does so when it saves
        raise _Refused("is a GIF, where programs number the colours anew: keep masks as PNG")
    raise _Refused("is no PNG, TIFF or BMP" if start else "has no bytes")


def _spread(image: ImageFile) -> int:
    """By how much Pillow multiplies grey values of 2 or 4 bits, to fill 8 bits."""
    how = image.tile[0][3] if image.tile else None
    how = how[0] if isinstance(how, tuple) and how else how
    return {"L;2": 85, "L;4": 17}.get(how, 1) if isinstance(how, str) else 1


def _classes(pixels: np.ndarray, *, alpha: bool, spread: int) -> np.ndarray:
    """The numbers in a decoded file as uint8 or uint16 [height, width]."""
    if pixels.ndim == 3:
        pixels = _one_channel(pixels, alpha=alpha)
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("holds numbers that are no classes from 0 to 65535")
    pixels = pixels // spread if spread > 1 else pixels
    return pixels.astype(np.uint8 if pixels.max() <= 255 else np.uint16)


def _one_channel(pixels: np.ndarray, *, alpha: bool) -> np.ndarray:
    if alpha:
        if (pixels[..., -1] != 255).any():
            raise ValueError("is see-through in places: a mask has one channel, of class numbers")
        pixels = pixels[..., :-1]
    if (pixels != pixels[..., :1]).any():
        raise ValueError(
            "is a colour picture: a mask has one channel, of class numbers"
            " (save it with a palette, or replace each colour by the number of its class)"
        )
    channel: np.ndarray = pixels[..., 0]
    return channel
