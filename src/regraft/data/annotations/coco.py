"""COCO: one json file with lists of images, annotations and categories (Lin et al. 2014, arXiv 1405.0312).

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from regraft.data.cells import Row, broken, fault, shown
from regraft.data.example import BadRow
from regraft.data.objects import parse_object
from regraft.errors import DataError

_BLOCK = 1 << 20  # bytes
_MARKS = (b'"images"', b'"annotations"', b'"categories"')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.){1,4096}")')


def fits(path: Path) -> bool:
    """Whether this is a json file with images, and annotations or categories. Reads up to where it is known."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    missing, tail = set(_MARKS), b""
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            missing -= {mark for mark in missing if mark in tail + block}
            if _MARKS[0] not in missing and len(missing) < 2:
                return True
            tail = block[-max(map(len, _MARKS)) :]
    return False


def header(_: Path) -> list[str]:
    """The columns; a mask is drawn from the outlines, if there are any."""
    return ["image", "objects", "mask"]


def remarks(_: Path, *, file: str) -> list[str]:  # noqa: ARG001 - as of the others
    """Nothing: what lies beside a json file is not its own."""
    return []


def root(path: Path) -> Path:
    """The folder where the first image lies: beside the json file, one above, or in ``images`` there, or in the
    folder that the json file is named after (``instances_train2017.json``: ``train2017``)."""
    first = _first_name(path)
    after = [path.stem, *(path.stem[place.end() :] for place in re.finditer("_", path.stem))]
    for folder in (path.parent, path.parent.parent):
        for inner in (".", "images", *after, *(f"images/{name}" for name in after)):
            if first and _is_file(folder / inner / first):
                return folder / inner
    return path.parent


def rows(path: Path, *, file: str, only: Collection[str] | None) -> Iterator[Row | BadRow]:
    """The images in their order, then the annotations that belong to none."""
    data = _read(path, file)
    wanted = {"image", "objects"} if only is None else set(only)
    images = _entries(data, "images", file)
    if not images:
        raise broken(file, 1, "there are no images", fix='"images" is a list of {"id": 1, "file_name": "a.jpg"}')
    if wanted & {"objects", "mask"}:
        yield from _annotated(images, _entries(data, "annotations", file), _categories(data, file), wanted, file)
        return
    for number, image in enumerate(images, start=1):
        try:
            yield Row({"image": _name(image)}, number)
        except ValueError as error:
            yield BadRow(file, number, "image", str(error))


class _Wrong(ValueError):
    """What is wrong with an annotation, and its place."""

    def __init__(self, place: int, column: str, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.column = column


def _annotated(
    images: list[Any], annotations: list[Any], categories: dict[Any, str], wanted: set[str], file: str
) -> Iterator[Row | BadRow]:
    times = Counter(_id(image, "id") for image in images)
    of_image = defaultdict(list)
    for number, annotation in enumerate(annotations, start=1):
        of_image[_id(annotation, "image_id")].append((number, annotation))
    names = list(dict.fromkeys(categories.values()))
    for number, image in enumerate(images, start=1):
        try:
            name = _name(image)
            identity = _identity(image, name, times)
        except ValueError as error:
            yield BadRow(file, number, "image", str(error))
            continue
        try:
            size = [image.get("width"), image.get("height")]
            objects = [
                {**_object(*found, categories, wanted), "drawn_on": size} for found in of_image.get(identity, [])
            ]
            cells = {"image": name, "objects": objects, "mask": _mask(image, objects, names, number, wanted)}
            yield Row({key: value for key, value in cells.items() if key in wanted}, number)
        except _Wrong as wrong:
            yield BadRow(file, wrong.place, wrong.column, f"{wrong} (in {shown(name)})")
    for identity, strays in of_image.items():
        if identity is None or identity not in times:
            yield from (BadRow(file, _place(*stray), "objects", _stray(*stray)) for stray in strays)


def _identity(image: dict[str, Any], name: str, times: Counter[Any]) -> Any:
    identity = _id(image, "id")
    if identity is None:
        raise ValueError(f"{shown(name)} has no id")
    if times[identity] > 1:
        raise ValueError(f"{shown(name)} has the id {shown(identity)}, as have {times[identity] - 1} other images")
    return identity


def _object(number: int, annotation: dict[str, Any], categories: dict[Any, str], wanted: set[str]) -> dict[str, Any]:
    """An annotation as :func:`~regraft.data.objects.parse_objects` takes it."""
    place, title, category = _place(number, annotation), _title(number, annotation), _id(annotation, "category_id")
    if category not in categories:
        shown_category = shown(annotation.get("category_id"))
        raise _Wrong(place, "objects", f"{title}: its category {shown_category} is not in the list of categories")
    given = {key: annotation.get(key) for key in ("bbox", "segmentation", "iscrowd")}
    item = {"label": categories[category], **{key: value for key, value in given.items() if value is not None}}
    try:
        parsed = parse_object(item)
    except ValueError as error:
        raise _Wrong(place, "objects", f"{title}: {error}") from None
    if "mask" in wanted and not parsed.segments:
        raise _Wrong(place, "mask", f"{title} has a box but no outline (segmentation)")
    return item


def _mask(image: dict[str, Any], objects: list[Any], names: list[str], number: int, wanted: set[str]) -> Any:
    """What :func:`~regraft.data.masks.parse_mask` draws, where it is wanted."""
    if "mask" not in wanted:
        return None
    width, height = image.get("width"), image.get("height")
    if not all(type(side) is int and side > 0 for side in (width, height)):
        raise _Wrong(number, "mask", "the image has no width and height")
    return {"objects": objects, "width": width, "height": height, "names": names}


def _read(path: Path, file: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise broken(file, error.lineno, f"is not valid JSON: {error.msg} at character {error.colno}") from None
    except UnicodeError:
        raise broken(file, 1, "the text is not UTF-8", fix="write the json file as UTF-8") from None
    except RecursionError:
        raise broken(file, 1, "is nested too deep") from None
    except ValueError as error:
        raise broken(file, 1, f"is not valid JSON: {error}") from None
    except (OSError, MemoryError) as error:
        raise broken(file, 1, f"cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise broken(file, 1, "is a list, not an object with images and annotations")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return value


def _entries(data: dict[str, Any], key: str, file: str) -> list[Any]:
    entries = data.get(key)
    if not isinstance(entries, list):
        fix = f'"{key}" is a list of objects; see https://cocodataset.org/#format-data'
        raise broken(file, 1, f"there is no list {key!r}", fix=fix)
    return entries


def _categories(data: dict[str, Any], file: str) -> dict[Any, str]:
    """The names by their ids, in the order of the ids."""
    known: dict[Any, str] = {}
    for number, category in enumerate(_entries(data, "categories", file), start=1):
        identity = _id(category, "id")
        name = category.get("name") if isinstance(category, dict) else None
        name = str(name).strip() if isinstance(name, str | int) and not isinstance(name, bool) else ""
        if identity is None or not name or fault(name):
            raise _category_error(file, f"category {number} of the list has no id, or no name")
        if identity in known:
            raise _category_error(file, f"two categories have the id {shown(identity)}")
        known[identity] = name
    return dict(sorted(known.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])))


def _category_error(file: str, problem: str) -> DataError:
    return broken(file, 1, problem, fix='"categories" is a list of {"id": 1, "name": "cat"}, each id once')


def _id(entry: Any, key: str) -> int | float | str | None:
    """An id that can be looked up. 1 and 1.0 are the same."""
    value = entry.get(key) if isinstance(entry, dict) else None
    usable = isinstance(value, int | float | str) and not isinstance(value, bool) and value == value
    return value if usable else None


def _name(image: Any) -> str:
    """The path of an image, with forward slashes."""
    name = image.get("file_name") if isinstance(image, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise ValueError("has no file_name")
    reason = fault(name)
    if reason:
        raise ValueError(f"its file_name {reason}")
    return name.replace("\\", "/")


def _place(number: int, annotation: Any) -> int:
    identity = _id(annotation, "id")
    return identity if isinstance(identity, int) and 0 < identity < 10**18 else number


def _title(number: int, annotation: Any) -> str:
    identity = _id(annotation, "id")
    return f"annotation {shown(identity)}" if identity is not None else f"annotation number {number} of the list"


def _stray(number: int, annotation: Any) -> str:
    identity = _id(annotation, "image_id")
    belongs = "names no image (image_id)" if identity is None else f"is of image {shown(identity)}, which is not listed"
    return f"{_title(number, annotation)} {belongs}"


def _first_name(path: Path) -> str | None:
    """The first file_name in the file, without reading on."""
    tail = b""
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            found = _FILE_NAME.search(tail + block)
            if found:
                break
            tail = block[-8192:]
        else:
            return None
    try:
        name = json.loads(found.group(1))
    except ValueError:
        return None
    return None if fault(name) else str(name).replace("\\", "/")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False
