"""Colours of classes in pictures: told apart by readers who are colour-blind, on any photograph.

The first seven are those of the sheets of augmented examples.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from regraft.data.augment.palette import PALETTE

BACKGROUND = "#454b55"
IGNORED = "#b9bec7"  # what does not count in a mask
_GOLDEN = 0.618034  # of the circle of hues, so that neighbours differ


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """A colour, as ``#rrggbb``, for each label; a background is grey."""
    others = [label for label in labels if label != "background"]
    return {"background": BACKGROUND, **{label: _colour(place) for place, label in enumerate(others)}}


def ink_on(colour: str) -> str:
    """Black or white: what is read better on a colour."""
    red, green, blue = bytes.fromhex(colour[1:])
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "#ffffff"


def _colour(place: int) -> str:
    if place < len(PALETTE):
        return PALETTE[place]
    shade = colorsys.hls_to_rgb(place * _GOLDEN % 1, (0.38, 0.55, 0.72)[place % 3], 0.6)
    return "#" + "".join(f"{round(255 * part):02x}" for part in shade)
