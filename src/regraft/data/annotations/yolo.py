"""YOLO: a text file beside each image, with a line an object: class, then box or outline in parts of the image.

The layout is that of Ultralytics (https://docs.ultralytics.com/datasets/detect/, .../segment/): ``images/`` and
``labels/`` with the same names, and ``data.yaml`` with the names of the classes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from regraft.data.cells import Row, broken, fault, shown
from regraft.data.example import BadRow
from regraft.data.folders import IMAGES
from regraft.data.objects import outside, parse_object
from regraft.data.pictures import upright_size
from regraft.errors import DataError

_YAML = (".yaml", ".yml")
_NO_LABELS = frozenset(("classes.txt",))  # names that tools write among the labels
_LARGEST = 16_000_000  # bytes of a label file or of data.yaml
_LEEWAY = 0.01  # by which a coordinate may leave [0, 1]; boxes have to fit to the pixel


@dataclass(frozen=True)
class _Dataset:
    """Where images are: in folders, or in text files that list them. Names may be unknown. Others are splits that
    are not read."""

    root: Path
    sources: tuple[Path, ...]
    names: dict[int, str] | None
    others: tuple[str, ...] = ()


def fits(path: Path) -> bool:
    """Whether this is ``data.yaml``, a folder with it, one with images/ and labels/, or one below images/."""
    if path.is_file():
        return path.suffix.lower() in _YAML and _is_dataset(path)
    if not path.is_dir():
        return False
    if (path / "data.yaml").is_file() and _is_dataset(path / "data.yaml"):
        return True
    images = path / "images" if (path / "images").is_dir() else path
    labels = _label_path(images)
    return labels != images and labels.is_dir() and next(labels.rglob("*.txt"), None) is not None


def header(_: Path) -> list[str]:
    """The columns; a mask is drawn from the outlines, if there are any."""
    return ["image", "objects", "mask"]


def root(path: Path) -> Path:
    """The folder itself; of ``data.yaml`` what it calls ``path``, or the folder it is in."""
    return _dataset(path, str(path)).root


def remarks(path: Path, *, file: str) -> list[str]:
    """Which splits of ``data.yaml`` are not read, and how many images have no label file."""
    dataset = _dataset(path, file)
    said = [f"{file}: of {', '.join(('train', *dataset.others))} only train is read"] if dataset.others else []
    images = [image for source in dataset.sources for image in _images(source, dataset.root)]
    bare = sum(not _label_path(image).with_suffix(".txt").is_file() for image in images)
    if bare:
        said.append(f"{file}: {bare} of {len(images)} images have no label file and count as images without objects")
    return said


def rows(path: Path, *, file: str, only: Collection[str] | None) -> Iterator[Row | BadRow]:
    """The images in the order of their names, then the label files that belong to none. An image without a label
    file has no objects.

    Of a ``data.yaml``, or a folder with one, these are the images of ``train``.
    """
    dataset = _dataset(path, file)
    wanted = {"image", "objects"} if only is None else set(only)
    images = [image for source in dataset.sources for image in _images(source, dataset.root)]
    if not images:
        raise broken(file, 1, "there are no images", fix=f"looked in {', '.join(map(str, dataset.sources))}")
    if wanted & {"objects", "mask"}:
        _check_labels(images, dataset, wanted, file)
    for number, image in enumerate(images, start=1):
        yield _row(image, number, dataset, wanted, file)
    if wanted & {"objects", "mask"}:
        yield from _strays(images, dataset)


def _row(image: Path, number: int, dataset: _Dataset, wanted: set[str], file: str) -> Row | BadRow:
    name = _relative(image, dataset.root)
    reason = fault(name) or ("leads out of the data folder" if name.startswith(("../", "/")) else None)
    if reason:
        return BadRow(file, number, "image", f"{shown(name)} {reason}")
    cells: dict[str, Any] = {"image": name}
    if wanted & {"objects", "mask"}:
        try:
            width, height = upright_size(image)
        except ValueError as error:
            return BadRow(file, number, "image", f"{shown(name)} {error}")
        labels = _label_path(image).with_suffix(".txt")
        objects = _objects(labels, width, height, dataset.names, wanted)
        if isinstance(objects, BadRow):
            return objects
        names = list(dict.fromkeys((dataset.names or {}).values()))
        cells["objects"] = objects
        cells["mask"] = {"objects": objects, "width": width, "height": height, "names": names}
    return Row({key: value for key, value in cells.items() if key in wanted}, number)


def _objects(
    labels: Path, width: int, height: int, names: dict[int, str] | None, wanted: set[str]
) -> list[dict[str, Any]] | BadRow:
    if not labels.is_file():
        return []
    try:
        text = _text(labels)
    except ValueError as error:
        return BadRow(str(labels), 1, "objects", str(error))
    objects = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                objects.append(_object(line.split(), width, height, names, outlined="mask" in wanted))
            except ValueError as error:
                return BadRow(str(labels), number, "objects", str(error))
    return objects


def _object(
    parts: list[str], width: int, height: int, names: dict[int, str] | None, *, outlined: bool
) -> dict[str, Any]:
    try:
        kind, *numbers = (float(part) for part in parts)
    except ValueError:
        raise ValueError("holds something that is not a number") from None
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise ValueError(
            f"has {len(parts)} numbers: expected are class, x, y, width, height, or class and 3 or more points"
        )
    for value in numbers:
        if not -_LEEWAY <= value <= 1 + _LEEWAY:
            raise ValueError(f"{value:g} is not between 0 and 1: coordinates are parts of the image's width and height")
    item: dict[str, Any] = {"label": _label(kind, names)}
    if len(numbers) == 4:
        if outlined:
            raise ValueError("has a box but no outline (3 or more points)")
        x, y, w, h = numbers
        item["box"] = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
    else:
        item["segments"] = [
            [value * (height if place % 2 else width) for place, value in enumerate(numbers)],
        ]
    reason = outside([parse_object(item)], width, height)
    if reason:
        raise ValueError(reason.removeprefix("object 1: "))
    return item


def _label(kind: float, names: dict[int, str] | None) -> str:
    if not math.isfinite(kind) or kind != int(kind) or not 0 <= kind < 1e6:
        raise ValueError(f"the class is {kind:g}, not a whole number from 0")
    if names is None:
        return str(int(kind))
    if int(kind) not in names:
        raise ValueError(f"class {int(kind)} has no name: there are {len(names)}, {min(names)} to {max(names)}")
    return names[int(kind)]


def _check_labels(images: list[Path], dataset: _Dataset, wanted: set[str], file: str) -> None:
    """What concerns all images at once."""
    if not any(_label_path(image).with_suffix(".txt").is_file() for image in images):
        example = _label_path(images[0]).with_suffix(".txt")
        raise broken(file, 1, f"none of the {len(images)} images has a label file", fix=f"expected is, say, {example}")
    if "mask" in wanted and dataset.names is None:
        raise broken(file, 1, "the classes have no names, and a mask needs to know all", fix="list them in data.yaml")


def _strays(images: list[Path], dataset: _Dataset) -> Iterator[BadRow]:
    """Label files without an image, below the folders that were read whole."""
    used = {_label_path(image).with_suffix(".txt") for image in images}
    for source in dataset.sources:
        labels = _label_path(source)
        if source.is_dir() and labels != source:
            for found in sorted(labels.rglob("*.txt")):
                if found not in used and found.name not in _NO_LABELS:
                    yield BadRow(str(found), 1, "image", "there is no image of this name")


def _images(source: Path, base: Path) -> list[Path]:
    if source.is_dir():
        found = (entry for entry in source.rglob("*") if IMAGES.names(entry.name) and entry.is_file())
        return sorted(found, key=lambda entry: entry.as_posix())
    try:
        lines = [line.strip().replace("\\", "/") for line in _text(source).split("\n")]
    except ValueError as error:
        raise broken(str(source), 1, str(error)) from None
    return [(source.parent if line.startswith("./") else base) / line for line in lines if line]


def _label_path(path: Path) -> Path:
    """The same path with labels for the last folder called images."""
    parts = list(path.parts)
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            parts[place] = "labels"
            return Path(*parts)
    return path


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(os.path.normpath(path), os.path.normpath(base))).as_posix()


def _dataset(path: Path, file: str) -> _Dataset:
    if path.is_dir() and (path / "data.yaml").is_file():
        path = path / "data.yaml"
    if path.is_file():
        return _of_yaml(path, file)
    images = path / "images" if (path / "images").is_dir() else path
    return _Dataset(path, (images,), _names_near(path, _label_path(images), file))


def _of_yaml(path: Path, file: str) -> _Dataset:
    settings = _settings(path, file)
    listed = settings.get("train")
    listed = listed if isinstance(listed, list) else [listed]
    entries = [entry for entry in listed if isinstance(entry, str) and entry.strip() and not fault(entry)]
    if not entries or len(entries) < len(listed):
        raise broken(file, 1, "train is not the path of a folder of images", fix="train: images/train")
    given = settings.get("path")
    base = path.parent / given if isinstance(given, str) and not fault(given) else path.parent
    for folder in dict.fromkeys((base, path.parent)):
        sources = [_source(folder, entry) for entry in entries]
        if all(source is not None for source in sources):
            present = tuple(source for source in sources if source is not None)
            others = tuple(split for split in ("val", "test") if settings.get(split))
            return _Dataset(folder, present, _names(settings, file), others)
    tried = ", ".join(dict.fromkeys(str(folder / entry) for folder in (base, path.parent) for entry in entries))
    raise broken(file, 1, f"the images of train are not there: tried {tried[:500]}", fix="correct path and train in it")


def _source(folder: Path, entry: str) -> Path | None:
    """A folder or list of images. Roboflow writes ../train/images for train/images."""
    for name in (entry, entry.removeprefix("../")):
        try:
            if (folder / name).exists():
                return folder / name
        except OSError:
            return None
    return None


def _names_near(path: Path, labels: Path, file: str) -> dict[int, str] | None:
    """The names of the classes, from a data.yaml in the folder or up to two above, or from a classes.txt."""
    near = (path, *path.parents[:2])
    for folder in near:
        if (folder / "data.yaml").is_file():
            return _names(_settings(folder / "data.yaml", file), file)
    for folder in (labels, labels.parent, *near):
        if (folder / "classes.txt").is_file():
            try:
                lines = _text(folder / "classes.txt").rstrip().split("\n")
            except ValueError as error:
                raise broken(str(folder / "classes.txt"), 1, str(error)) from None
            return _names({"names": [line.strip() for line in lines]}, str(folder / "classes.txt"))
    return None


def _is_dataset(path: Path) -> bool:
    with path.open("rb") as opened:
        start = opened.read(1 << 20)
    return re.search(rb"^['\"]?train['\"]?\s*:", start, re.M) is not None and (
        re.search(rb"^['\"]?(names|nc)['\"]?\s*:", start, re.M) is not None
    )


def _settings(path: Path, file: str) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(_text(path))
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else 1
        raise broken(str(path), row, f"is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, KeyError, IndexError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise broken(str(path), 1, f"cannot be read: {reason}") from None
    if not isinstance(settings, dict):
        raise broken(file, 1, f"{path.name} has no keys such as train and names")
    if "kpt_shape" in settings:
        raise broken(
            file, 1, "the labels hold key points, which are not read", fix="use a dataset of boxes or outlines"
        )
    return settings


def _names(settings: dict[str, Any], file: str) -> dict[int, str] | None:
    names = settings.get("names")
    if names is None:
        return None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise broken(file, 1, "names is not a list of the classes' names", fix="names: [cat, dog]")
    checked: dict[int, str] = {}
    for key, name in names.items():
        if type(key) is not int or not 0 <= key < 1_000_000:
            raise broken(file, 1, "a key of names is not a class number from 0", fix="names: {0: cat, 1: dog}")
        if isinstance(name, bool) or not isinstance(name, str | int) or fault(name) or not str(name).strip():
            raise _name_error(key, file)
        checked[key] = str(name).strip()
    return dict(sorted(checked.items()))


def _name_error(key: int, file: str) -> DataError:
    return broken(
        file, 1, f"the name of class {key} is not text", fix='put it in quotes: "yes", "no" and "on" need them'
    )


def _text(path: Path) -> str:
    """The text of a small file.

    Raises:
        ValueError: it cannot be read as text.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"has more than {_LARGEST:,} bytes")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeError:
        raise ValueError("the text is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
