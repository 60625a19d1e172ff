"""Pascal VOC: an xml file for each image (Everingham et al. 2010, doi:10.1007/s11263-009-0275-4, section 3).

Pixels are numbered from 1 there and both corners belong to the box: xmin = 1 and xmax = width is the whole width.
What is marked as difficult, which VOC's evaluation leaves out, becomes a crowd.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from regraft.data.cells import Row, broken, fault, shown
from regraft.data.example import BadRow
from regraft.data.objects import parse_object

_ANNOTATIONS, _IMAGES, _MASKS, _LISTS = "Annotations", "JPEGImages", "SegmentationClass", "ImageSets"
_LARGEST = 16_000_000  # bytes of an xml file


def fits(path: Path) -> bool:
    """Whether this is a folder with Annotations/ and JPEGImages/, or a list in its ImageSets/."""
    folder = root(path)
    return (path.is_dir() or folder != path) and all((folder / name).is_dir() for name in (_ANNOTATIONS, _IMAGES))


def header(path: Path) -> list[str]:
    """The columns: with a mask where there is SegmentationClass/."""
    return ["image", "objects", *(["mask"] if (root(path) / _MASKS).is_dir() else [])]


def root(path: Path) -> Path:
    """The folder that has Annotations/ in it."""
    listed = path.suffix.lower() == ".txt" and path.parent.parent.name == _LISTS
    return path.parent.parent.parent if listed else path


def remarks(path: Path, *, file: str) -> list[str]:
    """How many images have no xml file. A list says which it means."""
    folder = root(path)
    if path != folder:
        return []
    known = set(_all(folder))
    left = sum(image.stem not in known for image in (folder / _IMAGES).iterdir())
    return [f"{file}: {left} images in {_IMAGES}/ have no xml file and are not read"] if left else []


def rows(path: Path, *, file: str, only: Collection[str] | None) -> Iterator[Row | BadRow]:
    """One row an xml file, in the order of their names or of the list.

    Where a mask is asked for, an image that the file does not call segmented is no row.
    """
    folder = root(path)
    stems = _listed(path, file) if path != folder else _all(folder)
    if not stems:
        raise broken(file, 1, f"there are no xml files in {_ANNOTATIONS}/" if path == folder else "the list is empty")
    images = defaultdict(list)
    for image in sorted((folder / _IMAGES).iterdir()):
        images[image.stem].append(image.name)
    wanted = {"image", "objects"} if only is None else set(only)
    for number, stem in enumerate(stems, start=1):
        row = _row(folder, stem, images, wanted, number)
        if row is not None:
            yield row


def _row(
    folder: Path, stem: str, images: Mapping[str, list[str]], wanted: set[str], number: int
) -> Row | BadRow | None:
    file = folder / _ANNOTATIONS / f"{stem}.xml"
    if fault(stem):
        return BadRow(str(folder), number, "image", f"the name {shown(stem)} {fault(stem)}")
    found = images.get(stem, [])
    if wanted == {"image"} and len(found) == 1:
        return Row({"image": f"{_IMAGES}/{found[0]}"}, number)
    try:
        annotation = _parsed(file)
        image = _image(annotation, found, images)
        cells = {"image": f"{_IMAGES}/{image}", "objects": _objects(annotation) if "objects" in wanted else None}
        if "mask" in wanted:
            mask = f"{_MASKS}/{stem}.png"
            if not (folder / mask).is_file():
                if _text(annotation, "segmented") != "1":
                    return None
                raise _Wrong(1, "mask", f"the image is called segmented, and there is no {mask}")
            cells["mask"] = mask
    except _Wrong as wrong:
        return BadRow(str(file), wrong.place, wrong.column, str(wrong))
    return Row({key: value for key, value in cells.items() if key in wanted}, number)


class _Wrong(ValueError):
    """What is wrong with a file, and where in it."""

    def __init__(self, place: int, column: str | None, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.column = column


def _image(annotation: Element, found: list[str], images: Mapping[str, list[str]]) -> str:
    """The image of the same name; else, or if there are several, the one that the xml file names."""
    if len(found) == 1:
        return found[0]
    name = _text(annotation, "filename").replace("\\", "/").rsplit("/", 1)[-1]
    if name and name in images.get(Path(name).stem, []):
        return name
    if found:
        raise _Wrong(1, "image", f"there are {len(found)} images of this name: {', '.join(map(shown, found[:5]))}")
    raise _Wrong(1, "image", f"there is no image of this name in {_IMAGES}/, nor {shown(name)}")


def _objects(annotation: Element) -> list[dict[str, Any]]:
    objects = []
    size = [_side(_text(annotation, f"size/{name}")) for name in ("width", "height")]
    for number, element in enumerate(annotation.findall("object"), start=1):
        try:
            item = {**_object(element), "drawn_on": size}
            parse_object(item)
        except ValueError as error:
            raise _Wrong(number, "objects", f"object {number}: {error}") from None
        objects.append(item)
    return objects


def _object(element: Element) -> dict[str, Any]:
    corners = element.find("bndbox")
    if corners is None:
        raise ValueError("has no bndbox")
    try:
        x1, y1, x2, y2 = (float(_text(corners, side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        raise ValueError("its bndbox has not the numbers xmin, ymin, xmax and ymax") from None
    label, difficult = _text(element, "name"), _text(element, "difficult") == "1"
    return {"label": label, "box": [max(x1 - 1, 0.0), max(y1 - 1, 0.0), x2, y2], "crowd": difficult}


def _side(text: str) -> int:
    """0 where it is no number; the size is then not known."""
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _parsed(file: Path) -> Element:
    """The root of an xml file. One with a DOCTYPE is refused: it could name other files, or blow up."""
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise _Wrong(1, None, f"has more than {_LARGEST:,} bytes")
        parser.Parse(content, True)
        element: Element = builder.close()
    except expat.ExpatError as error:
        raise _Wrong(error.lineno, None, f"is not valid XML: {expat.errors.messages[error.code]}") from None
    except OSError as error:
        raise _Wrong(1, None, f"cannot be read: {error.strerror or error}") from None
    except _Wrong:
        raise
    except (ValueError, LookupError) as error:
        raise _Wrong(1, None, f"has an encoding that cannot be read: {error}") from None
    if element.tag != "annotation":
        raise _Wrong(1, None, f"begins with <{element.tag[:60]}>, not with <annotation>")
    return element


def _refuse_doctype(*_: object) -> None:
    raise _Wrong(1, None, "has a DOCTYPE, which no annotation needs: refused")


def _all(folder: Path) -> list[str]:
    return sorted(found.stem for found in (folder / _ANNOTATIONS).glob("*.xml"))


def _listed(path: Path, file: str) -> list[str]:
    """The names in a list such as ImageSets/Main/train.txt."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeError:
        raise broken(file, 1, "the text is not UTF-8") from None
    except OSError as error:
        raise broken(file, 1, f"cannot be read: {error.strerror or error}") from None
    names = [(row, line.strip()) for row, line in enumerate(lines, start=1) if line.strip()]
    for row, name in names:
        if "/" in name or len(name.split()) > 1:
            fix = "name a list with one name a line, such as ImageSets/Main/train.txt"
            raise broken(file, row, f"{shown(name)} is not the name of an image", fix=fix)
    return [name for _, name in names]
