"""Roads from a driver's view, drawn, with the number that a driver would steer by.

``heading`` is the angle in radians, right is positive, from where the car points to the middle of the road 15 m
ahead: what pure pursuit steers by (Coulter, Implementation of the Pure Pursuit Path Tracking Algorithm, 1992).

Training and validation are alike: day, overcast and dusk, green and yellow meadows. Test has what they never have:
night, rain and a red evening, sand, snow and heath, other road surfaces and lines; and half of its roads bend to one
side strongly while the car points to the other, which is left out of training.

    train/metadata.csv        file_name,heading
    train/0001.jpg            224x224
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from materials.material import Material
from regraft.fingerprint import draw

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

COUNTS = {"train": 1200, "validation": 300, "test": 400}
SIZE = 224
AHEAD = 15.0  # metres

_FINE = 2  # drawn twice as large, for smooth edges
_HORIZON = 0.42  # part of the image's height
_EYE = 1.4  # metres above the road
_HALF_VIEW = math.radians(35)
_HALF_ROAD = 3.6  # metres
_LINE = 0.09  # half the width of a painted line, metres


@dataclass(frozen=True)
class Light:
    """How a scene is lit: the sky's colours, how bright the ground is, how thick the haze."""

    zenith: Colour
    horizon: Colour
    ground: float
    haze: float  # 1 / metres
    headlights: bool = False
    rain: bool = False


LIGHTS = {
    "day": Light((78, 140, 214), (198, 220, 240), 1.0, 0.006),
    "overcast": Light((150, 158, 168), (205, 208, 210), 0.85, 0.012),
    "dusk": Light((64, 74, 128), (236, 176, 122), 0.7, 0.008),
    "night": Light((8, 10, 24), (30, 34, 54), 0.2, 0.01, headlights=True),
    "rain": Light((92, 100, 110), (150, 156, 162), 0.62, 0.022, rain=True),
    "evening": Light((72, 40, 84), (246, 104, 62), 0.6, 0.006),
}
GROUNDS: dict[str, Colour] = {
    "meadow": (82, 130, 58),
    "pasture": (112, 146, 70),
    "stubble": (176, 158, 88),
    "sand": (196, 128, 82),
    "snow": (222, 228, 236),
    "heath": (104, 82, 84),
}
SURFACES: dict[str, Colour] = {
    "asphalt": (104, 104, 108),
    "old asphalt": (126, 124, 122),
    "concrete": (158, 154, 148),
    "tar": (68, 68, 74),
    "laterite": (138, 112, 98),
}
_WHITE, _YELLOW = (236, 236, 232), (232, 190, 60)
_GRAVEL = (134, 122, 104)
_TRUNK = (86, 66, 48)
_LEAVES = ((44, 88, 42), (62, 104, 46), (84, 112, 52), (34, 70, 48))


@dataclass(frozen=True)
class Road:
    """Where the car stands on a road, and how it looks.

    ``offset`` is how many metres the car is to the right of the middle, ``turn`` by how many radians the road leads to
    the right of where the car points, ``bend`` the road's curvature in 1 / metres, positive to the right.
    """

    offset: float
    turn: float
    bend: float
    light: str
    ground: str
    surface: str
    edges: Colour
    middle: str  # dashed, solid or double
    paint: Colour

    def centre(self, distance: np.ndarray | float) -> np.ndarray | float:
        """Metres that the road's middle is to the right, at a distance ahead."""
        return -self.offset + math.tan(self.turn) * distance + self.bend * distance * distance / 2

    @property
    def heading(self) -> float:
        return math.atan2(float(self.centre(AHEAD)), AHEAD)


def fill(target: Path, scratch: Path) -> None:  # noqa: ARG001
    """Draw the three sides. Nothing is fetched."""
    for side, count in COUNTS.items():
        (target / side).mkdir()
        rows = []
        for number in range(1, count + 1):
            rng = _generator(side, number)
            road = drawn_road(rng, unseen=side == "test")
            picture(road, rng).save(target / side / f"{number:04}.jpg", quality=90)
            rows.append((f"{number:04}.jpg", f"{road.heading:.5f}"))
        with (target / side / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file_name", "heading"))
            writer.writerows(rows)


def _generator(side: str, number: int) -> Generator:
    import numpy as np

    return np.random.default_rng(draw("road", side, number))


def drawn_road(rng: Generator, *, unseen: bool) -> Road:
    """A road of the kind for training, or of the kind for test."""
    against = unseen and bool(rng.random() < 0.5)
    turn, bend = float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.012, 0.012))
    while is_against(turn, bend) != against:
        turn, bend = float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.012, 0.012))
    lights, grounds, surfaces = (
        [*names][:first] if not unseen else [*names][first:]
        for names, first in ((LIGHTS, 3), (GROUNDS, 3), (SURFACES, 2))
    )
    return Road(
        offset=float(rng.uniform(-1.3, 1.3)),
        turn=turn,
        bend=bend,
        light=str(rng.choice(lights)),
        ground=str(rng.choice(grounds)),
        surface=str(rng.choice(surfaces)),
        edges=_YELLOW if unseen and rng.random() < 0.5 else _WHITE,
        middle=str(rng.choice(["solid", "double"] if unseen else ["dashed", "dashed", "solid"])),
        paint=_YELLOW if rng.random() < 0.4 else _WHITE,
    )


def is_against(turn: float, bend: float) -> bool:
    """Whether a road bends strongly to the one side while it leads off to the other."""
    return turn * bend < 0 and abs(turn) > 0.06 and abs(bend) > 0.004


def picture(road: Road, rng: Generator) -> Image:
    """The view, [224, 224], RGB."""
    import numpy as np
    from PIL import Image, ImageFilter

    light = LIGHTS[road.light]
    side = SIZE * _FINE
    focal = side / 2 / math.tan(_HALF_VIEW)
    horizon = int(_HORIZON * side)
    rows, columns = np.mgrid[0 : side - horizon, 0:side].astype(np.float32) + 0.5
    distance = focal * _EYE / rows
    across = (columns - side / 2) * distance / focal
    colours = np.concatenate([_sky(light, rng, horizon, side), _ground(road, light, rng, distance, across)])
    view = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    _roadside(view, road, light, rng, focal)
    if light.rain:
        _rain(view, rng)
    view = view.filter(ImageFilter.GaussianBlur(0.6)).resize((SIZE, SIZE), Image.Resampling.BOX)
    grain = rng.normal(0, 5 if light.headlights or light.rain else 2.5, (SIZE, SIZE, 1))
    return Image.fromarray(np.clip(np.asarray(view) + grain, 0, 255).astype(np.uint8))


def _sky(light: Light, rng: Generator, height: int, width: int) -> np.ndarray:
    """From the zenith's colour to the horizon's, with clouds or stars and a line of hills."""
    import numpy as np

    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 1.5
    sky = np.repeat(_array(light.zenith) * (1 - down) + _array(light.horizon) * down, width, axis=1)
    if light.headlights:
        sky[rng.random((height, width)) < 0.0007] += rng.uniform(60, 190)
    else:
        clouds = np.clip(_noise(rng, (height, width), (4, 3), (9, 7), (22, 15)) - 0.52, 0, 1)[..., None] * 2.2
        sky += clouds * (_array((255, 250, 245)) * max(light.ground, 0.7) - sky) * 0.8
    ridge = height * (1 - 0.05 - 0.16 * _noise(rng, (1, width), (1, 5), (1, 13), (1, 40)))
    hills = _array(light.horizon) * 0.62 + _array(light.zenith) * 0.2
    sky[np.arange(height)[:, None] > ridge] = hills
    return sky


def _ground(road: Road, light: Light, rng: Generator, distance: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The land, on it the road with its lines, lit and hazy."""
    import numpy as np

    off = across - road.centre(distance) * (distance < 200)
    texture = _textured(rng, distance, across)[..., None]
    colours = _array(GROUNDS[road.ground]) * _array(rng.uniform(0.9, 1.1, 3).tolist()) * (0.8 + 0.4 * texture)
    layers = (
        (np.abs(off) < _HALF_ROAD + 0.7, _GRAVEL, 0.4),
        (np.abs(off) < _HALF_ROAD, SURFACES[road.surface], 0.16),
        (np.abs(np.abs(off) - (_HALF_ROAD - 0.3)) < _LINE, road.edges, 0.15),
        (_middle(road, off, distance, rng), road.paint, 0.0),
    )
    for where, colour, rough in layers:
        colours[where] = _array(colour) * (1 - rough / 2 + rough * texture[where])
    lit = np.full_like(distance, light.ground)
    if light.headlights:
        cone = np.exp(-distance / 26) * np.exp(-((across / (2.5 + 0.3 * distance)) ** 2))
        lit += 0.95 * cone * np.clip(distance / 4, 0.45, 1)
    haze = np.exp(-light.haze * np.minimum(distance, 400))[..., None]
    return np.asarray(colours * lit[..., None] * haze + _array(light.horizon) * (1 - haze))


def _array(colour: Sequence[float]) -> np.ndarray:
    import numpy as np

    return np.asarray(colour, dtype=np.float32)


def _middle(road: Road, off: np.ndarray, distance: np.ndarray, rng: Generator) -> np.ndarray:
    """Where the line in the middle is painted."""
    import numpy as np

    if road.middle == "double":
        return np.asarray(np.abs(np.abs(off) - 0.16) < _LINE * 0.8)
    line = np.abs(off) < _LINE
    if road.middle == "dashed":
        line &= (distance + rng.uniform(0, 9)) % 9 < 4.5
    return np.asarray(line)


def _textured(rng: Generator, distance: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Noise from 0 to 1 that lies on the ground, and fades into its mean where it would flicker."""
    import numpy as np

    tile = _noise(rng, (256, 256), (16, 16), (64, 64), (128, 128))
    tile = np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]])  # mirrored, so that it has no seams
    fine, coarse = (
        tile[(distance * scale).astype(int) % 512, (across * scale).astype(int) % 512] - 0.5 for scale in (24, 3)
    )
    return np.asarray(0.5 + fine * np.exp(-distance / 12) + coarse * np.exp(-distance / 60))


def _noise(rng: Generator, size: tuple[int, int], *grids: tuple[int, int]) -> np.ndarray:
    """Smooth noise from 0 to 1 of a size: coarse grids of random numbers blown up, each half as strong."""
    import numpy as np
    from PIL import Image

    total, weight = np.zeros(size, np.float32), 0.0
    for octave, grid in enumerate(grids):
        drawn = Image.fromarray(rng.random(grid, np.float32))
        total += np.asarray(drawn.resize(size[::-1], Image.Resampling.BICUBIC)) / 2**octave
        weight += 1 / 2**octave
    return np.asarray(np.clip(total / weight, 0, 1))


def _roadside(view: Image, road: Road, light: Light, rng: Generator, focal: float) -> None:
    """Trees and posts, the far ones first."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(view)
    for distance in sorted(rng.uniform(6, 90, int(rng.integers(6, 16))).tolist(), reverse=True):
        scale = focal / distance
        aside = float(rng.choice([-1, 1]) * (_HALF_ROAD + rng.uniform(2.0, 14)))
        foot = view.width / 2 + (float(road.centre(distance)) + aside) * scale, _HORIZON * view.height + _EYE * scale
        if rng.random() < 0.35:
            _post(pen, foot, scale, [_seen(colour, light, distance) for colour in (_WHITE, (190, 50, 40))])
        else:
            crown = (206, 214, 222) if road.ground == "snow" else _LEAVES[int(rng.integers(len(_LEAVES)))]
            _tree(pen, foot, scale, [_seen(colour, light, distance) for colour in (_TRUNK, crown)], rng)


def _seen(colour: Colour, light: Light, distance: float) -> Colour:
    """A colour as it looks in this light from that far."""
    shine = light.ground + (0.5 * math.exp(-distance / 20) if light.headlights else 0)
    haze = math.exp(-light.haze * distance)
    red, green, blue = (
        min(255, int(own * shine * haze + air * (1 - haze))) for own, air in zip(colour, light.horizon, strict=True)
    )
    return red, green, blue


def _post(pen: ImageDraw, foot: tuple[float, float], scale: float, colours: list[Colour]) -> None:
    x, y = foot
    pen.rectangle((x - 0.06 * scale, y - scale, x + 0.06 * scale, y), fill=colours[0])
    pen.rectangle((x - 0.06 * scale, y - 0.85 * scale, x + 0.06 * scale, y - 0.65 * scale), fill=colours[1])


def _tree(pen: ImageDraw, foot: tuple[float, float], scale: float, colours: list[Colour], rng: Generator) -> None:
    """A fir of three triangles, or a round crown of several discs."""
    x, y = foot
    height, width = rng.uniform(4, 8) * scale, rng.uniform(1.2, 2.2) * scale
    pen.rectangle((x - 0.14 * scale, y - 0.4 * height, x + 0.14 * scale, y), fill=colours[0])
    if rng.random() < 0.5:
        for part, low in ((1.0, 0.2), (0.75, 0.42), (0.5, 0.64)):
            base, tip = y - low * height, y - (low + 0.4) * height
            pen.polygon([(x - part * width, base), (x + part * width, base), (x, tip)], fill=colours[1])
        return
    for _ in range(7):
        size = width * rng.uniform(0.45, 0.75)
        left, top = x + width * rng.uniform(-0.6, 0.6), y - height * rng.uniform(0.5, 0.9)
        shade = rng.uniform(0.85, 1.1)
        red, green, blue = (min(255, int(value * shade)) for value in colours[1])
        pen.ellipse((left - size, top - size, left + size, top + size), fill=(red, green, blue))


def _rain(view: Image, rng: Generator) -> None:
    """Slanting streaks."""
    from PIL import Image as Images
    from PIL import ImageDraw

    streaks = Images.new("L", view.size)
    pen = ImageDraw.Draw(streaks)
    lean = rng.uniform(-0.3, 0.3)
    for x, y, length in zip(*(rng.uniform(0, 1, (3, 260)) * [[view.width], [view.height], [34]]), strict=True):
        pen.line((x, y, x + lean * (10 + length), y + 10 + length), fill=90, width=1)
    view.paste((215, 222, 230), (0, 0), streaks)


MATERIAL = Material(
    name="roads",
    summary="1,900 drawn views of a road with the angle to steer by; the test's roads and light are new (22 MB)",
    licence="CC0-1.0",
    sources=(),
    fill=fill,
)
