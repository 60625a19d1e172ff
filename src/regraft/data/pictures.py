"""Images: looked at whole before anything is learnt from them, read as upright 8-bit RGB on white.

PNG, JPEG, WebP, GIF and TIFF (the first picture of each), BMP and PPM, told by their content and not by their name.
Colour profiles are not applied. Pillow is imported when the first image is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from regraft.data.masks import not_installed
from regraft.data.objects import MOST_PIXELS
from regraft.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_LARGE = 16_000_000  # pixels above which pictures are decoded one at a time, whatever the threads
_ONE_LARGE = threading.Lock()
_LOSSLESS = 64  # pixels a side up to which a thumbnail is PNG
_SIGNATURES = (  # what a file begins with, and the plugin of Pillow that reads it
    (b"\x89PNG\r\n\x1a\n", "Png"),
    (b"\xff\xd8\xff", "Jpeg"),
    (b"GIF87a", "Gif"),
    (b"GIF89a", "Gif"),
    *((order, "Tiff") for order in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (b"BM", "Bmp"),
    *((b"P%d" % number, "Ppm") for number in range(1, 7)),
)
_FOREIGN = (  # what the first bytes of a file hold that is an image of a kind that is not read
    *((b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")),
    *((b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    *((begun, "JPEG XL") for begun in (b"\xff\x0a", b"JXL \r\n\x87\n")),
    (b"jP  \r\n\x87\n", "JPEG 2000"),
)
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_READ = "PNG, JPEG, WebP, GIF, TIFF, BMP and PPM"
_TRUNCATED = "is truncated: the file ends before the picture does"
_OF_PILLOW = r"PIL(\.|$)"  # its modules, for the filter of warnings


@dataclass(frozen=True)
class Picture:
    """A file that has been decoded once, whole, without fault. ``width`` and ``height`` are those of the upright image.

    What it is worth as an input is its ``content``, whatever its name and place.
    """

    path: str
    sha256: str
    width: int
    height: int

    @property
    def content(self) -> str:
        """What stands for the picture in an example's id."""
        return self.sha256

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [height, width, 3], upright, RGB, on white; a new array each time.

        Raises:
            DataError: the file is gone, or is not the one that was looked at.
        """
        try:
            image, sha256 = _decoded(Path(self.path))
        except ValueError as error:
            raise DataError(f"{self.path}: {error}", fix="the file was whole before; put it back") from None
        if sha256 != self.sha256:
            raise DataError(
                f"{self.path} has changed since it was looked at", fix="start again, with files that stay as they are"
            )
        return np.array(image)


def open_picture(path: Path) -> Picture:
    """Decode the whole of a file once.

    Raises:
        ValueError: it cannot be read, is damaged or has too many pixels; in one line, such as "is truncated".
        ResourceError: Pillow is not installed.
    """
    image, sha256 = _decoded(path)
    return Picture(str(path), sha256, image.width, image.height)


def thumbnail(picture: Picture, size: int) -> bytes:
    """The picture with no side above ``size``: JPEG, or PNG where it is small enough to show each pixel.

    Raises:
        DataError: as :meth:`Picture.pixels`.
    """
    from PIL import Image

    small = Image.fromarray(picture.pixels())
    small.thumbnail((size, size))
    packed = io.BytesIO()
    if max(small.size) <= _LOSSLESS:
        small.save(packed, "PNG", optimize=True)
    else:
        small.save(packed, "JPEG", quality=85)
    return packed.getvalue()


def _decoded(path: Path) -> tuple[Image, str]:
    """The upright RGB image in a file, and the SHA-256 of its bytes."""
    try:
        if not path.is_file():
            raise ValueError(f"is {'not a file' if path.exists() else 'not there'}: {path}")
        with path.open("rb") as file:
            image = _image(file)
            file.seek(0)
            return image, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image in a file.

    Its pixels are read only where what turns it may come after them, in a PNG.

    Raises:
        ValueError: it is none that can be read.
        ResourceError: Pillow is not installed.
    """
    try:
        with path.open("rb") as file:
            opened = _opened(file)
            with _plain_reasons():
                turned = _orientation(opened) in _SIDEWAYS
                return (opened.height, opened.width) if turned else (opened.width, opened.height)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def _opened(file: BinaryIO) -> ImageFile:
    """What is in a file, told by how it begins: its header is read, its pixels are not."""
    _require_pillow()
    start = file.read(16)
    file.seek(0)
    if not start:
        raise ValueError("is empty")
    kind = _kind(start)
    if kind is None:
        if foreign := _foreign(start):
            raise ValueError(f"is {foreign}, which is not read; save it as JPEG or PNG")
        raise ValueError(f"is no image that can be read: it begins with {start!r}, and read are {_READ}")
    if kind == "WebP" and int.from_bytes(start[4:8], "little") + 8 > os.fstat(file.fileno()).st_size:
        raise ValueError(_TRUNCATED)
    _silence_pillow()
    with _plain_reasons():
        opened = _plugin(kind)(file)
    pixels = opened.width * opened.height
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"has {opened.width} x {opened.height} pixels, {pixels / 1e6:.0f} million;"
            f" at most {MOST_PIXELS / 1e6:.0f} million are read"
        )
    return opened


def _image(file: BinaryIO) -> Image:
    opened = _opened(file)
    large = opened.width * opened.height > _LARGE
    with _plain_reasons(), _ONE_LARGE if large else contextlib.nullcontext():
        opened.load()
        return _rgb(_upright(opened), opened)


def _kind(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next((kind for signature, kind in _SIGNATURES if start.startswith(signature)), None)


def _foreign(start: bytes) -> str | None:
    """What an image of a kind is called that people have and that is not read."""
    return next((kind for signature, kind in _FOREIGN if start.find(signature) in (0, 4)), None)


def _plugin(kind: str) -> type[ImageFile]:
    """Pillow's class for a kind of file. ``Image.open`` would warn of a large image before it can be refused."""
    module = importlib.import_module(f"PIL.{kind}ImagePlugin")
    plugin: type[ImageFile] = getattr(module, f"{kind}ImageFile")
    return plugin


def _orientation(opened: ImageFile) -> int | None:
    """How the picture is to be turned. What Pillow cannot read of EXIF is no reason to refuse the picture."""
    if opened.format == "TIFF":  # its plugin has turned it
        return None
    try:
        found: int | None = opened.getexif().get(0x0112)
    except Exception:  # of many kinds, from bytes that nothing else is read from
        return None
    return found


def _upright(opened: ImageFile) -> Image:
    """Turned as its EXIF says."""
    from PIL.Image import Transpose

    orientation = _orientation(opened)
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return opened.transpose(turns[orientation]) if orientation in turns else opened


def _rgb(image: Image, opened: ImageFile) -> Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image, opened)
    if image.mode == "F":
        raise _Unfit("has floating-point pixels, of which nobody knows what is white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image) -> Image:
    from PIL import Image as Images

    layered = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    white = Images.new("RGBA", image.size, "white")
    return Images.alpha_composite(white, layered).convert("RGB")


def _from_16_bits(image: Image, opened: ImageFile) -> Image:
    """Grey values of 16 bits, or of the 12 of some TIFFs, as the nearest of 8: 65535 is white whatever occurs."""
    from PIL import Image as Images

    tags = getattr(opened, "tag_v2", {})  # a TIFF's
    if tags and image.mode == "I":
        raise _Unfit("has signed or 32-bit pixels, of which nobody knows what is white; save it with 8 or 16 bits")
    white = 4095 if tags.get(258) == (12,) else 65535
    values = np.asarray(image).astype(np.uint32)
    if tags and tags.get(262) == 0:  # where 0 is white
        values = white - values
    grey = ((values * 255 + white // 2) // white).astype(np.uint8)
    return Images.fromarray(grey).convert("RGB")


class _Unfit(ValueError):
    """A reason of ours, in plain words."""


@contextlib.contextmanager
def _plain_reasons() -> Iterator[None]:
    """Whatever Pillow raises on bytes as one ValueError: SyntaxError, struct.error, zlib's and many more."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    except _Unfit:
        raise
    except DecompressionBombError:  # from plugins that see a size before we do
        raise ValueError(f"has more than the {MOST_PIXELS / 1e6:.0f} million pixels that are read") from None
    except MemoryError:
        raise ValueError("takes more memory than there is, or its header is damaged") from None
    except Exception as error:
        said = " ".join(str(error).split())[:150]
        if "truncated" in said.lower() or isinstance(error, EOFError):
            raise ValueError(_TRUNCATED) from None
        if isinstance(error, struct.error) or isinstance(error.__cause__, struct.error | LookupError | TypeError):
            raise ValueError("is damaged or cut off: its header makes no sense") from None
        raise ValueError(f"is damaged, or of a kind that cannot be read: {said or type(error).__name__}") from None


def _silence_pillow() -> None:
    """What Pillow warns of (odd metadata, a large size) is either refused here or does not matter.

    A filter that stays, because ``warnings.catch_warnings`` is not safe in threads.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", None) != _OF_PILLOW:
        warnings.filterwarnings("ignore", module=_OF_PILLOW)


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise not_installed("Pillow") from None
