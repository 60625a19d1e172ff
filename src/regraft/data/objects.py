"""Objects in an image: their label, box and outline, and the forms in which a cell may give them.

Boxes are x1, y1, x2, y2 in pixels of the upright image: the upper left corner of the image is (0, 0), its lower
right one (width, height).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from regraft.data.cells import fault, shown

MOST_PIXELS = 100_000_000  # of an image or mask; 300 MB as RGB
TOLERANCE = 1.0  # pixels that a box may reach out of the image and is cut without a word

Box: TypeAlias = tuple[float, float, float, float]
Polygon: TypeAlias = tuple[float, ...]  # x, y, x, y, ...


@dataclass(frozen=True)
class Rle:
    """A region as COCO's run lengths: of pixels outside, inside, outside, ..., column by column."""

    width: int
    height: int
    counts: tuple[int, ...] | str  # the text is COCO's compressed form

    @property
    def content(self) -> list[Any]:
        return [self.width, self.height, self.counts]

    def pixels(self) -> np.ndarray:
        """bool [height, width]."""
        runs = _run_lengths(self.counts) if isinstance(self.counts, str) else self.counts
        inside = np.arange(len(runs)) % 2 == 1
        return np.repeat(inside, np.asarray(runs, np.int64)).reshape(self.width, self.height).T


@dataclass(frozen=True)
class Object:
    """One object. A crowd is a region of many: neither learned nor counted as a miss (COCO's ``iscrowd``).

    ``drawn_on`` is the width and height that its image had when the box was drawn, where somebody says so.
    """

    label: str
    box: Box
    crowd: bool = False
    segments: tuple[Polygon, ...] | Rle = ()
    drawn_on: tuple[int, int] | None = field(default=None, compare=False)

    @property
    def content(self) -> list[Any]:
        return [self.label, self.box, self.crowd, self.segments]


def parse_objects(cell: Any) -> tuple[Object, ...]:
    """The objects of one image, maybe none.

    A cell is a list of ``{"label": "cat", "box": [x1, y1, x2, y2]}``, or of COCO's annotations with the name of
    the category (``{"category": "cat", "bbox": [x, y, width, height], "segmentation": ..., "iscrowd": 0}``), or
    Hugging Face's object of lists (``{"bbox": [...], "categories": [...]}``), or any of these as JSON text.

    Raises:
        ValueError: it is none of them, or an object is not usable; the message has the object's number.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("is empty (an image without objects has [])")
    if isinstance(cell, str):
        cell = _from_text(cell)
    if isinstance(cell, dict):
        cell = _from_lists(cell)
    if not isinstance(cell, list | tuple):
        raise ValueError(f'is {_kind(cell)}, not a list of objects such as {{"label": "cat", "box": [x1, y1, x2, y2]}}')
    objects = []
    for number, item in enumerate(cell, start=1):
        try:
            objects.append(parse_object(item))
        except ValueError as error:
            raise ValueError(f"object {number}: {error}") from None
    return tuple(objects)


def parse_object(item: Any) -> Object:
    """One object of the list that :func:`parse_objects` reads.

    Raises:
        ValueError: what is wrong with it, without its number.
    """
    if isinstance(item, Object):
        return item
    if not isinstance(item, dict):
        raise ValueError(f'is {_kind(item)}, not an object such as {{"label": "cat", "box": [x1, y1, x2, y2]}}')
    label = _label(_one(item, _LABELS))
    segments = _segments(_one(item, _SEGMENTS))
    corners, sides = item.get("box"), item.get("bbox")
    if corners is not None and sides is not None:
        raise ValueError("has both box (x1, y1, x2, y2) and bbox (x, y, width, height)")
    if corners is not None:
        box = _numbers(corners, 4, "box")
    elif sides is not None:
        x, y, width, height = _numbers(sides, 4, "bbox")
        box = (x, y, x + width, y + height)
    else:
        box = _bounds(segments)
    _check_box(box)
    drawn_on = _size(item.get("drawn_on"))
    return Object(label, (box[0], box[1], box[2], box[3]), _flag(_one(item, _CROWD)), segments, drawn_on)


def outside(objects: Sequence[Object], width: int, height: int) -> str | None:
    """Why an object does not fit an image of this size, if one does not. :data:`TOLERANCE` is allowed."""
    for number, item in enumerate(objects, start=1):
        if item.drawn_on and item.drawn_on != (width, height):
            before = "{} x {}".format(*item.drawn_on)
            return f"object {number}: was drawn on an image of {before} pixels, and this one has {width} x {height}"
        x1, y1, x2, y2 = item.box
        sides = (("x", x1, x2, width, "wide"), ("y", y1, y2, height, "high"))
        for axis, low, high, size, word in sides:
            if low < -TOLERANCE:
                return f"object {number}: its box begins at {axis} = {low:g}, outside the image"
            if high > size + TOLERANCE:
                return f"object {number}: its box reaches to {axis} = {high:g}, the image is {size} {word}"
            if min(high, size) <= max(low, 0):
                return f"object {number}: its box lies outside the image, which is {size} {word}"
        if isinstance(item.segments, Rle) and (item.segments.width, item.segments.height) != (width, height):
            drawn = f"{item.segments.width} x {item.segments.height}"
            return f"object {number}: its mask is {drawn}, the image is {width} x {height}"
    return None


def clipped(objects: Sequence[Object], width: int, height: int) -> tuple[Object, ...]:
    """The objects with their boxes cut to the image. One that lies outside it is gone."""
    cut = (replace(item, box=_cut(item.box, width, height)) for item in objects)
    return tuple(item for item in cut if item.box[0] < item.box[2] and item.box[1] < item.box[3])


def normalised(objects: Sequence[Object], names: Sequence[str], width: int, height: int) -> np.ndarray:
    """float64 [m, 6], as metrics take the truth: x1, y1, x2, y2 in [0, 1], the label's place in names, crowd.

    Raises:
        ValueError: a label is not among the names.
    """
    places = {name: place for place, name in enumerate(names)}
    rows = []
    for number, item in enumerate(clipped(objects, width, height), start=1):
        if item.label not in places:
            raise ValueError(f"object {number}: {shown(item.label)} is not one of the {len(names)} classes")
        x1, y1, x2, y2 = item.box
        rows.append((x1 / width, y1 / height, x2 / width, y2 / height, places[item.label], item.crowd))
    return np.asarray(rows, np.float64).reshape(-1, 6)


_LABELS = ("label", "category", "class")
_SEGMENTS = ("segments", "segmentation")
_CROWD = ("crowd", "iscrowd")
_LISTS = {"labels": "label", "categories": "category", "boxes": "box", "bboxes": "bbox"}  # Hugging Face's plurals


def _from_text(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = getattr(error, "msg", None) or "nested too deep, or a number is too long"
        raise ValueError(f"is not valid JSON: {message}") from None
    reason = fault(value)
    if reason:
        raise ValueError(reason)
    return value


def _from_lists(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """One dictionary an object, from a dictionary of lists."""
    known = {"box", "bbox", *_LABELS, *_SEGMENTS, *_CROWD}
    lists = {_LISTS.get(key, key): value for key, value in cell.items() if _LISTS.get(key, key) in known}
    boxes = lists.get("bbox", lists.get("box"))
    if isinstance(boxes, list) and any(isinstance(value, int | float) for value in boxes):
        raise ValueError("is one object, not a list of objects: put it into [ ]")
    if not isinstance(boxes, list):
        raise ValueError('is an object without a list of boxes: expected is {"bbox": [...], "categories": [...]}')
    for key, value in lists.items():
        if not isinstance(value, list) or len(value) != len(boxes):
            amount = len(value) if isinstance(value, list) else "no list of"
            raise ValueError(f"has {len(boxes)} boxes and {amount} {key}")
    return [{key: value[place] for key, value in lists.items()} for place in range(len(boxes))]


def _one(item: dict[str, Any], keys: Sequence[str]) -> Any:
    """What is under the one of these keys that is there."""
    found = [key for key in keys if item.get(key) is not None]
    if len(found) > 1:
        raise ValueError(f"has both {found[0]} and {found[1]}")
    return item[found[0]] if found else None


def _label(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("has no label" if value is None else f"its label is {_kind(value)}, not text")
    reason = fault(value)
    if reason:
        raise ValueError(f"its label {reason}")
    label = str(value).strip()
    if not label:
        raise ValueError("its label is empty")
    return label


def _flag(value: Any) -> bool:
    if value not in (None, 0, 1, False, True):
        raise ValueError(f"iscrowd is {shown(value)}, not 0 or 1")
    return bool(value)


def _size(value: Any) -> tuple[int, int] | None:
    """Width and height, where they are told and make sense."""
    told = isinstance(value, list | tuple) and len(value) == 2
    return (value[0], value[1]) if told and all(type(side) is int and side > 0 for side in value) else None


def _numbers(values: Any, amount: int | None, what: str) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        raise ValueError(f"its {what} is {_kind(values)}, not a list of numbers")
    if amount is not None and len(values) != amount:
        raise ValueError(f"its {what} has {len(values)} numbers, not {amount}")
    try:
        numbers = tuple([float(value) for value in values if not isinstance(value, bool | str)])
    except (TypeError, OverflowError):
        numbers = ()
    if len(numbers) < len(values) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"its {what} holds something that is not a finite number")
    return numbers


def _check_box(box: Sequence[float]) -> None:
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        raise ValueError("its box is not finite")
    for low, high, side, order in ((x1, x2, "width", "x2 < x1"), (y1, y2, "height", "y2 < y1")):
        if high == low:
            raise ValueError(f"its box has no {side}")
        if high < low:
            raise ValueError(f"its box has a negative {side} ({order})")


def _segments(value: Any) -> tuple[Polygon, ...] | Rle:
    if value is None:
        return ()
    if isinstance(value, Rle):
        return value
    if isinstance(value, dict):
        return _rle(value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"its segmentation is {_kind(value)}, not polygons or run lengths")
    if value and isinstance(value[0], int | float):
        value = [value]
    if all(isinstance(polygon, list | tuple) and not polygon for polygon in value):
        return ()  # [[]] is how some tools write that there is none
    return tuple(_polygon(polygon, number) for number, polygon in enumerate(value, start=1))


def _polygon(value: Any, number: int) -> Polygon:
    polygon = _numbers(value, None, f"polygon {number}")
    if len(polygon) % 2:
        raise ValueError(f"its polygon {number} has {len(polygon)} numbers, which are no pairs of x and y")
    if len(polygon) < 6:
        raise ValueError(f"its polygon {number} has {len(polygon) // 2} points, fewer than 3")
    return polygon


def _rle(value: dict[str, Any]) -> Rle:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise ValueError("the size of its run lengths is not [height, width]")
    height, width = size
    if height * width > MOST_PIXELS:
        raise ValueError(f"its run lengths are of {shown(width)} x {shown(height)} pixels: too many")
    counts = counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts
    if isinstance(counts, list | tuple):
        counts = runs = tuple(counts)
    elif isinstance(counts, str):
        runs = _run_lengths(counts)
    else:
        raise ValueError("its run lengths have no counts")
    if not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError("its run lengths are not all whole numbers from 0")
    if sum(runs) != height * width:
        raise ValueError(f"its run lengths sum to {shown(sum(runs))}, not to {width} x {height}")
    return Rle(width, height, counts)


def _run_lengths(text: str) -> tuple[int, ...]:
    """COCO's compressed counts: 5 bits a character from "0" on, the lowest first, bit 6 where more follow, the
    highest of the last one the sign; from the fourth number on the difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("its compressed run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths are cut off")
    return tuple(runs)


def _bounds(segments: tuple[Polygon, ...] | Rle) -> tuple[float, ...]:
    """The smallest box around what is drawn."""
    if isinstance(segments, Rle):
        pixels = segments.pixels()
        columns, rows = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
        if not len(columns):
            raise ValueError("its mask is empty")
        return tuple(map(float, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)))
    if not segments:
        raise ValueError("has no box")
    xs = [x for polygon in segments for x in polygon[0::2]]
    ys = [y for polygon in segments for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _cut(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        tuple: "a list",
        str: "text",
        bool: "true or false",
        type(None): "nothing",
    }
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
