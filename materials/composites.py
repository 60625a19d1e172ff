"""Composites: cut-out animals, apples and flowers pasted on photographs, with exact boxes and masks.

The cut-outs are Tux Paint's stamps and most of the photographs its templates, both under GPL-2. Half of those that
training sees are wallpapers of Lomiri under Creative Commons licences (CC0, BY and BY-SA), so that it knows of more
than woods and rocks. LICENSE names them all; this is data to try things on, not to pass on. Training, validation and
test share no photograph. Test shares no cut-out with the others; validation has its own ones of the classes that have
enough. Three classes are also classes of COCO.

    train.json  validation.json  test.json    COCO annotations, masks as run lengths
    train/images/0001.jpg                     320x320
    train/masks/0001.png                      the number of the class of every pixel, 0 for background
    train/classes.txt                         the names of these numbers
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack
from regraft.fingerprint import draw

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

STAMPS = Package(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    file="tuxpaint-stamps-default_2022.06.04-1_all.deb",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    registry="debian",
)

TEMPLATES = Package(
    name="tuxpaint-data",
    version="1:0.9.28-sdl2-1",
    file="tuxpaint-data_1%3a0.9.28-sdl2-1_all.deb",
    sha256="f5d0de8f9a70d2efc1241d19f26168cb8bf279f1b77abd3631e7a1a55c40e5e5",
    registry="debian",
)

WALLPAPERS = Package(
    name="lomiri-wallpapers-16.04",
    version="20.04.0-2",
    file="lomiri-wallpapers-16.04_20.04.0-2_all.deb",
    sha256="a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    registry="debian",
)

SIZE = 320
COUNTS = {"train": 400, "validation": 100, "test": 200}

# Class → the stamps' folder and their names in it, all photographs; empty for every one in the folder.
CLASSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "apple": ("food/fruit", ("apple_fuji", "apple_granny_smith", "apple_green", "apple_red", "apple_sierra_beauty")),
    "bird": ("animals/birds", ()),
    "cow": (
        "animals/mammals/bovines",
        (
            *("bison", "bull", "cow", "cow_white", "gnu-baby", "gnu-baby-stand", "gnu-sitting", "gnu-stand"),
            *("yak", "zebu"),
        ),
    ),
    "fish": (
        "animals/fish",
        (
            *("bluegroper", "butterflyfish", "clownfish", "coraltrout", "dolphinfish", "lionfish", "moonwrasse"),
            "stripedfish",
        ),
    ),
    "flower": ("plants/flowers", ()),
}

PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "train": (
        *("burnt_bark", "corn_maze", "jellyfish", "mossy_bark", "mudstone", "ocean_splash", "redwoods_above"),
        *("rocks", "sun_behind_clouds", "sun_behind_leaves", "wool_mill_machine"),
        *("aitzgorri_by_Aitzol_Berasategi", "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly"),
        *("friends_by_Aitzol_Berasategi", "greentock_by_Peter_Nerlich", "life_by_Aitzol_Berasategi"),
        *("Picture_0B_by_freespace", "Picture_1A_by_freespace", "picosdeeuropa_by_Aitzol_Berasategi"),
        *("sunset_by_Aitzol_Berasategi", "Wine_by_Jakkub_Mede"),
    ),
    "validation": ("spiders_web", "trees_above", "ocean_waves"),
    "test": ("cliff", "lighthouse", "mossy_log", "trees_at_dusk", "china"),
}

_LARGEST = 1300  # pixels a side of a photograph; larger ones are scaled down
_TRIES = 30  # to find a place for an object
_SOLID = 128  # the alpha from which on a pixel belongs to the object
_LEAST_SEEN = 0.65  # of an object, under those pasted later


@dataclass(frozen=True)
class Pasted:
    """An object in an image: its class, its visible pixels, bool [320, 320], and how many it would have alone."""

    label: str
    mask: np.ndarray
    whole: int


def fill(target: Path, scratch: Path) -> None:
    """Draw the three sides."""
    stamps = unpack(download(STAMPS, scratch), scratch / "stamps", only=("*/stamps/*.png", "*/copyright"))
    templates = unpack(download(TEMPLATES, scratch), scratch / "templates", only=("*/templates/*.jpg", "*/copyright"))
    wallpapers = unpack(download(WALLPAPERS, scratch), scratch / "wallpapers", only=("*.jpg", "*/copyright"))
    album = {path.stem: path for package in (templates, wallpapers) for path in package.rglob("*.jpg")}
    shelf = cutouts(stamps / "usr/share/tuxpaint/stamps")
    for side, count in COUNTS.items():
        photographs = [photograph(album, name) for name in PHOTOGRAPHS[side]]
        write_side(target, side, count, photographs, shelf[side])
    notes = [
        package / f"usr/share/doc/{name}/copyright"
        for package, name in (
            (stamps, STAMPS.name),
            (templates, TEMPLATES.name),
            (wallpapers, WALLPAPERS.name),
        )
    ]
    (target / "LICENSE").write_text("\n".join(note.read_text(encoding="utf-8") for note in notes), encoding="utf-8")


def cutouts(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """For each side and class the files of its stamps, drawn by their names."""
    sides: dict[str, dict[str, list[Path]]] = {side: {} for side in COUNTS}
    for label, (inside, names) in CLASSES.items():
        found = [folder / inside / f"{name}.png" for name in names] or list((folder / inside).glob("*.png"))
        drawn = sorted(found, key=lambda path: draw("stamp", path.stem))
        test = -(-3 * len(drawn) // 10)
        validation = round(0.15 * len(drawn)) if len(drawn) >= 8 else 0
        sides["test"][label] = drawn[:test]
        sides["validation"][label] = drawn[test : test + validation] or drawn[test:]
        sides["train"][label] = drawn[test + validation :]
    return sides


def photograph(album: dict[str, Path], name: str) -> Image:
    """One of the packages' photographs, or scikit-learn's picture of a palace."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    if name == "china":
        return Image.fromarray(load_sample_image("china.jpg"))
    with Image.open(album[name]) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return picture


def write_side(target: Path, side: str, count: int, photographs: list[Image], stamps: dict[str, list[Path]]) -> None:
    """Images, masks, classes.txt and the annotations of one side."""
    from PIL import Image

    for inner in ("images", "masks"):
        (target / side / inner).mkdir(parents=True)
    names = ["background", *CLASSES]
    (target / side / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    images, annotations = [], []
    for number in range(1, count + 1):
        picture, objects = scene(Random(draw("composite", side, number)), photographs, stamps)
        picture.save(target / side / "images" / f"{number:04}.jpg", quality=90)
        Image.fromarray(flat(objects)).save(target / side / "masks" / f"{number:04}.png")
        name = f"{side}/images/{number:04}.jpg"
        images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        annotations += [{"image_id": number, **annotation(pasted)} for pasted in objects]
    document = {
        "images": images,
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations, start=1)],
        "categories": [{"id": names.index(name), "name": name} for name in CLASSES],
    }
    (target / f"{side}.json").write_text(json.dumps(document), encoding="utf-8")


def scene(rng: Random, photographs: list[Image], stamps: dict[str, list[Path]]) -> tuple[Image, list[Pasted]]:
    """One image of one to four objects; later ones may hide a part of earlier ones, but not most of it."""
    picture = background(rng, rng.choice(photographs))
    objects: list[Pasted] = []
    for _ in range(rng.randint(1, 4)):
        label = rng.choice(sorted(stamps))
        stamp = cutout(rng, rng.choice(stamps[label]))
        placed = place(rng, stamp, objects)
        if placed is not None:
            corner, mask = placed
            picture.paste(stamp, corner, stamp)
            objects = [Pasted(one.label, one.mask & ~mask, one.whole) for one in objects]
            objects.append(Pasted(label, mask, int(mask.sum())))
    return picture, objects


def background(rng: Random, photo: Image) -> Image:
    """A square of a photograph, perhaps mirrored, lighter or darker."""
    from PIL import Image, ImageEnhance, ImageOps

    side = rng.randint(min(SIZE, *photo.size), min(photo.size))
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    picture = photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    return ImageEnhance.Brightness(picture).enhance(rng.uniform(0.75, 1.15))


def cutout(rng: Random, path: Path) -> Image:
    """A stamp, perhaps mirrored, a little turned, of 70 to 180 pixels, with other light and colours."""
    from PIL import Image, ImageEnhance, ImageOps

    with Image.open(path) as opened:
        stamp = opened.convert("RGBA")
    if rng.random() < 0.5:
        stamp = ImageOps.mirror(stamp)
    longest = max(stamp.size)
    factor = min(rng.uniform(70, 180), 2.5 * longest) / longest
    # Colours count by their opacity: else those that hide under clear pixels shine through at the edges.
    stamp = stamp.convert("RGBa").resize(
        [max(8, round(side * factor)) for side in stamp.size], Image.Resampling.LANCZOS
    )
    stamp = stamp.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True).convert("RGBA")
    alpha = stamp.getchannel("A")
    colours = stamp.convert("RGB")
    for kind in (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast):
        colours = kind(colours).enhance(rng.uniform(0.8, 1.2))
    colours.putalpha(alpha)
    return colours.crop(alpha.getbbox())


def place(rng: Random, stamp: Image, objects: list[Pasted]) -> tuple[tuple[int, int], np.ndarray] | None:
    """Where a stamp goes, and its pixels there; ``None`` where every place tried would hide too much."""
    import numpy as np

    solid = np.asarray(stamp.getchannel("A")) >= _SOLID
    for _ in range(_TRIES):
        left, top = rng.randint(0, SIZE - stamp.width), rng.randint(0, SIZE - stamp.height)
        mask = np.zeros((SIZE, SIZE), bool)
        mask[top : top + stamp.height, left : left + stamp.width] = solid
        if all((one.mask & ~mask).sum() >= _LEAST_SEEN * one.whole for one in objects):
            return (left, top), mask
    return None


def flat(objects: list[Pasted]) -> np.ndarray:
    """The number of the class of every pixel, uint8 [320, 320]."""
    import numpy as np

    names = ["background", *CLASSES]
    found = np.zeros((SIZE, SIZE), np.uint8)
    for one in objects:
        found[one.mask] = names.index(one.label)
    return found


def annotation(pasted: Pasted) -> dict[str, Any]:
    """What COCO says of an object: class, area, box as left, top, width and height, and the mask's run lengths."""
    import numpy as np

    rows, columns = np.flatnonzero(pasted.mask.any(1)), np.flatnonzero(pasted.mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "category_id": 1 + list(CLASSES).index(pasted.label),
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(pasted.mask.sum()),
        "segmentation": {"size": [SIZE, SIZE], "counts": list(run_lengths(pasted.mask))},
        "iscrowd": 0,
    }


def run_lengths(mask: np.ndarray) -> Iterator[int]:
    """How many pixels are out, in, out, …, down the columns one after the other, as COCO counts."""
    import numpy as np

    flat = np.concatenate(([False], mask.flatten(order="F")))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    yield from np.diff(np.concatenate(([0], changes, [mask.size]))).tolist()


MATERIAL = Material(
    name="composites",
    summary="700 images of cut-outs on photographs, five classes, with boxes and masks (25 MB; 185 MB are fetched)",
    licence="GPL-2; photographs GPL-2, CC0, CC BY 4.0 and CC BY-SA 4.0",
    sources=(STAMPS, TEMPLATES, WALLPAPERS),
    fill=fill,
)
