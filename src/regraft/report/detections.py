"""Which boxes that were told are right, and which objects were missed, in one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OVERLAP = 0.5  # intersection over union from which a box is right


@dataclass(frozen=True)
class Matched:
    """For each box that was told whether it found an object, and for each object whether it was found."""

    right: list[bool]
    found: list[bool]

    @property
    def wrong(self) -> int:
        return self.right.count(False)

    @property
    def missed(self) -> int:
        return self.found.count(False)


def match(told: Sequence[Mapping[str, Any]], true: Sequence[Mapping[str, Any]]) -> Matched:
    """Match as COCO does: the surest first, each with the free object of its label that it overlaps most."""
    right, found = [False] * len(told), [False] * len(true)
    for place in sorted(range(len(told)), key=lambda place: -(told[place].get("score") or 0.0)):
        label, box = told[place]["label"], told[place]["box"]
        free = [k for k, each in enumerate(true) if not found[k] and each["label"] == label]
        best = max(free, key=lambda k: (overlap(box, true[k]["box"]), k), default=None)
        if best is not None and overlap(box, true[best]["box"]) >= OVERLAP:
            right[place] = found[best] = True
    return Matched(right, found)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes, x1, y1, x2, y2."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
