"""Annotations of detection and segmentation: COCO json, YOLO txt and VOC xml, each read as rows of a table.

A row has the cells ``image`` (a path below :func:`root`), ``objects`` (as
:func:`regraft.data.objects.parse_objects` takes them) and ``mask`` (as :func:`regraft.data.masks.parse_mask` does).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType

from regraft.data.annotations import coco, voc, yolo
from regraft.data.cells import Row, broken
from regraft.data.example import BadRow

_KINDS: dict[str, ModuleType] = {"coco": coco, "yolo": yolo, "voc": voc}


def kind(path: Path) -> str | None:
    """ "coco", "yolo" or "voc", or None for what is none of them. A large file is not read for it."""
    try:
        return next((name for name, module in _KINDS.items() if module.fits(path)), None)
    except OSError:
        return None


def header(path: Path, *, file: str) -> list[str]:
    """The names of the columns. The annotations are not read for it.

    Raises:
        DataError: these are none; ``file`` is what the message calls them.
    """
    names: list[str] = _module(path, file).header(path)
    return names


def rows(path: Path, *, file: str, only: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """One row an image; a :class:`BadRow` for an image whose annotations cannot be used, and for strays.

    A row is numbered by its place in the list of images. A bad row names the file that is wrong and the place in
    it: of COCO the annotation's id, of YOLO the line, of VOC the number of the object. Cells that ``only`` leaves
    out are not looked at; without ``only``, masks are left out.

    Raises:
        DataError: the annotations as a whole cannot be read.
    """
    yield from _module(path, file).rows(path, file=file, only=only)


def root(path: Path) -> Path:
    """The folder that the paths of images and masks start from and must stay in.

    Raises:
        DataError: the annotations as a whole cannot be read.
    """
    folder: Path = _module(path, str(path)).root(path)
    return folder


def remarks(path: Path, *, file: str) -> list[str]:
    """What lies there and is not read, or is read without annotations. A json file is not read for it.

    Raises:
        DataError: the annotations as a whole cannot be read.
    """
    said: list[str] = _module(path, file).remarks(path, file=file)
    return said


def _module(path: Path, file: str) -> ModuleType:
    name = kind(path)
    if name is None:
        raise broken(file, 1, "there are no annotations that are known", fix="known are COCO, YOLO and VOC")
    return _KINDS[name]
