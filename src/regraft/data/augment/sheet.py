"""A contact sheet: pictures side by side, with boxes and masks drawn on them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from regraft.data.augment.palette import PALETTE
from regraft.data.augment.sample import Sample, resized
from regraft.data.masks import IGNORE

_GAP, _EDGE = 12, 2  # pixels between pictures; of a box's line
_SOFT = (127, 133, 143)  # of captions: readable on white and on black
_TINT = 0.5  # of a mask


def sheet(
    samples: Sequence[Sample],
    names: Sequence[str],
    *,
    captions: Sequence[str] = (),
    columns: int = 4,
    width: int = 240,
    background: int | None = None,
) -> Image.Image:
    """Draw samples in rows, on nothing (RGBA), with a legend of the classes that occur in masks.

    Args:
        names: of the labels of boxes and of the values of masks.
        captions: one below each picture, if any.
        width: of each picture, in pixels; its height follows.
        background: the value of a mask that is not painted.
    """
    cells = [_cell(sample, names, width, background) for sample in samples]
    rows = [range(start, min(start + columns, len(cells))) for start in range(0, len(cells), columns)]
    below = 24 if captions else 0
    heights = [max(cells[place].height for place in row) + below + _GAP for row in rows]
    legend = [value for value in _values(samples) if value not in (background, IGNORE)]
    whole_width = columns * (width + _GAP) - _GAP
    keys = _legend(legend, names, whole_width)
    image = Image.new("RGBA", (whole_width, sum(heights) - _GAP + (keys.height + _GAP if keys else 0)), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place in row:
            left = (place - row.start) * (width + _GAP)
            image.paste(cells[place], (left, top))
            if captions:
                draw.text((left, top + cells[place].height + 5), captions[place], fill=_SOFT, font=_font(13))
        top += height
    if keys:
        image.paste(keys, (0, top))
    return image


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class: seven that are easily told apart, then others for ever."""
    if label < len(PALETTE):
        red, green, blue = bytes.fromhex(PALETTE[label][1:])
        return red, green, blue
    shade = colorsys.hls_to_rgb(label * 0.618034 % 1, 0.5 + 0.1 * (label % 2), 0.75)
    return round(shade[0] * 255), round(shade[1] * 255), round(shade[2] * 255)


def _cell(sample: Sample, names: Sequence[str], width: int, background: int | None) -> Image.Image:
    sample = resized(sample, (max(1, round(width * sample.size[0] / sample.size[1])), width))
    pixels = sample.image.mul(255).round().byte().permute(1, 2, 0).numpy()
    if sample.mask is not None:
        pixels = _painted(pixels, sample.mask.numpy(), background)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if sample.boxes is not None:
        _draw_boxes(image, sample.boxes.tolist(), names)
    return image


def _painted(pixels: NDArray[np.uint8], mask: NDArray[np.integer], background: int | None) -> NDArray[np.uint8]:
    """The mask's classes laid over the picture, their outlines drawn, and hatched what is ignored."""
    out = pixels.astype(np.float32)
    for value in np.unique(mask).tolist():
        inside = mask == value
        if value == IGNORE:
            y, x = np.indices(mask.shape)
            stripes = inside & ((x + y) % 12 < 4)
            out[inside] *= 0.6
            out[stripes] = out[stripes] * 0.6 + 60
        elif value != background:
            colour = np.array(colour_of(value), dtype=np.float32)
            out[inside] += (colour - out[inside]) * _TINT
            edge = inside & ~_shrunk(inside)
            out[edge] = colour
    return out.round().clip(0, 255).astype(np.uint8)


def _shrunk(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the pixels at the edge. That of the picture is none."""
    padded = np.pad(inside, 1, mode="edge")
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _draw_boxes(image: Image.Image, boxes: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    """Boxes with a light rim, so that they are seen on any picture; then their names, none below a box."""
    draw, font = ImageDraw.Draw(image), _font(11)
    scale = [image.width, image.height] * 2
    drawn = [(int(label), *(round(v * s) for v, s in zip(box, scale, strict=True))) for label, *box in boxes]
    for label, x1, y1, x2, y2 in drawn:
        x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(255, 255, 255))
        draw.rectangle((x1, y1, x2, y2), outline=colour_of(label), width=_EDGE if min(x2 - x1, y2 - y1) > 12 else 1)
    for label, x1, y1, *_ in drawn:
        text = _shown(label, names)
        wide = round(draw.textlength(text, font=font)) + 8
        left, top = max(0, min(x1, image.width - wide)), y1 - 15 if y1 >= 15 else y1
        draw.rectangle((left, top, left + wide - 1, top + 14), fill=colour_of(label))
        draw.text((left + 4, top + 1), text, fill=_on(colour_of(label)), font=font)


def _legend(values: Sequence[int], names: Sequence[str], width: int) -> Image.Image | None:
    """A patch of colour and a name for each value, in as many lines as it takes."""
    if not values:
        return None
    font, places, left, top = _font(13), [], 0, 0
    for value in values:
        wide = 20 + round(font.getlength(_shown(value, names))) + 18
        if left and left + wide > width:
            left, top = 0, top + 24
        places.append((left, top))
        left += wide
    image = Image.new("RGBA", (width, top + 24), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for value, (x, y) in zip(values, places, strict=True):
        draw.rounded_rectangle((x, y + 5, x + 13, y + 18), radius=3, fill=colour_of(value))
        draw.text((x + 20, y + 3), _shown(value, names), fill=_SOFT, font=font)
    return image


def _shown(value: int, names: Sequence[str]) -> str:
    """A name that the font can show, else the number; the font that every machine has knows Latin letters only."""
    name = names[value] if 0 <= value < len(names) else ""
    return name if name and all(letter < "\u0250" for letter in name) else f"#{value}"


def _values(samples: Sequence[Sample]) -> list[int]:
    masks = [sample.mask for sample in samples if sample.mask is not None]
    return sorted({value for mask in masks for value in set(mask.flatten().tolist())})


def _on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white: what is read best on a colour."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else (255, 255, 255)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
