"""True and predicted masks of one image: read, compared and painted."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.data.masks import IGNORE
from regraft.errors import RegraftError
from regraft.report.album import data_uri
from regraft.report.colours import IGNORED

Mask = NDArray[np.uint8]


def true_mask(path: str, labels: Sequence[str]) -> Mask:
    """The mask in a file in the numbers of ``labels``, uint8 [height, width]; 255 where it does not count.

    Raises:
        ValueError, OSError: the file cannot be read.
    """
    from regraft.data.masks import MaskFile, class_names, renumbered

    try:
        named, pixels = class_names(Path(path).parent) or tuple(labels), MaskFile(path, "", 0, 0, ()).read()
    except RegraftError as error:
        raise ValueError(str(error)) from None
    numbers = {label: number for number, label in enumerate(labels)}
    return renumbered(pixels, [numbers.get(name, IGNORE) for name in named])


def truth_of(row: Mapping[str, Any], labels: Sequence[str]) -> Mask | None:
    """The true mask of a row of the predictions: in ``true_mask`` as a PNG, or in the file that ``target`` names.

    None where it is in neither.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    if row.get("true_mask"):
        return told_mask(row["true_mask"])
    return true_mask(row["target"], labels) if row.get("target") else None


def told_mask(packed: bytes) -> Mask:
    """The mask in the bytes of a PNG.

    Raises:
        ValueError: they are none.
    """
    try:
        from PIL.PngImagePlugin import PngImageFile

        pixels = np.asarray(PngImageFile(io.BytesIO(packed)))
    except ImportError:
        raise ValueError("needs Pillow") from None
    except Exception as error:  # of many kinds, SyntaxError among them
        raise ValueError(f"is damaged: {error}") from None
    if pixels.ndim != 2:
        raise ValueError("is no mask of one channel")
    return pixels.astype(np.uint8)


def mean_iou(true: Mask, told: Mask) -> float | None:
    """The mean over the classes that are there or were told; None where no pixel counts."""
    if true.shape != told.shape:
        raise ValueError(f"the true mask is {true.shape[::-1]}, the predicted one {told.shape[::-1]}")
    counted = true != IGNORE
    pairs = np.bincount(true[counted].astype(np.int64) * 256 + told[counted], minlength=65536).reshape(256, 256)
    hit, either = np.diag(pairs), pairs.sum(axis=0) + pairs.sum(axis=1) - np.diag(pairs)
    there = either > 0
    return float((hit[there] / either[there]).mean()) if there.any() else None


def painted(mask: Mask, labels: Sequence[str], colours: Mapping[str, str], size: int) -> str:
    """A small copy in the colours of the classes, as a data URI; each of its pixels is one of the mask."""
    from PIL import Image

    height, width = mask.shape
    scale = min(1.0, size / max(height, width))
    rows, columns = (
        np.arange(max(1, round(side * scale))) * side // max(1, round(side * scale)) for side in mask.shape
    )
    image = Image.fromarray(np.ascontiguousarray(mask[np.ix_(rows, columns)]))
    known = [colours[label] for label in labels[:IGNORE]]
    palette = [*known, *[IGNORED] * (256 - len(known))]
    image.putpalette([part for colour in palette for part in bytes.fromhex(colour[1:])])
    packed = io.BytesIO()
    image.save(packed, "PNG", optimize=True)
    return data_uri(packed.getvalue())


def shares(mask: Mask, labels: Sequence[str]) -> list[tuple[str, float]]:
    """The labels that occur, the most frequent first, each with its share of the pixels that count."""
    counts: Any = np.bincount(mask[mask != IGNORE].ravel(), minlength=256)[: len(labels)]
    order = np.argsort(-counts, kind="stable")
    return [(labels[k], float(counts[k] / counts.sum())) for k in order if counts[k]]
