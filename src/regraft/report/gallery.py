"""Examples that are images, as cards: their pictures with what was answered and what is true drawn on them.

Sounds that were given an answer have a player instead of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from regraft.data.masks import IGNORE
from regraft.report import masks
from regraft.report.blocks import Block, Card, Clip, Gallery, Key, Note, Outline, Shot
from regraft.report.colours import IGNORED, colours_of, ink_on
from regraft.report.detections import match
from regraft.report.material import Material
from regraft.report.words import number, percent, shortened, told

SMALL, LARGE = 160, 240  # pixels: pictures that stand for themselves, and those on which boxes are drawn
_COARSE = 64  # pixels a side up to which each is shown as a square
_MOST_TAGS = 6  # on one picture
_MOST_DRAWN = 60  # boxes on one picture, of each kind
_MOST_KEYS = 24
_LONGEST = 60
_TRUE = "#ffffff"


def gallery(
    material: Material, sentence: str, rows: Sequence[int], asides: Mapping[int, str] | None = None
) -> list[Block]:
    """Rows of the predictions as cards.

    Args:
        asides: what else is told of a row, if anything.
    """
    read = [(row, row_of(material, row)) for row in rows]
    cards = [card(material, values, (asides or {}).get(row, "")) for row, values in read]
    blocks: list[Block] = [*faults(material)]
    size = "sounds" if material.of_sounds else {"boxes": "large", "masks": "row"}.get(material.kind or "", "small")
    return [*blocks, Gallery(sentence, cards, _keys(material, [values for _, values in read]), size)]


def faults(material: Material) -> list[Note]:
    """Why there are no pictures or no sounds, where that is so."""
    found = (("pictures", material.album.fault), ("recordings", material.recordings.fault))
    return [Note(f"The {what} are left out: {fault}.", tone="warn") for what, fault in found if fault]


def row_of(material: Material, row: int) -> dict[str, Any]:
    """The row of the predictions that a place stands for."""
    assert material.predictions is not None
    found: dict[str, Any] = material.predictions.slice(row, 1).to_pylist()[0]
    return found


def card(material: Material, values: Mapping[str, Any], aside: str = "") -> Card:
    """One row of the predictions."""
    path = str(values.get("image") or values.get("audio") or "")
    name = shortened(PurePath(path).name, _LONGEST)
    if material.kind == "boxes":
        return Card([_with_boxes(material, values)], aside=aside or _counts(values), source=name, path=path)
    if material.kind == "masks":
        iou = None if aside else iou_of(material, values)
        aside = aside or (f"mean IoU {number(iou)}" if iou is not None else "")
        return Card(_with_masks(material, values), aside=aside, source=name, path=path)
    answer, truth = told(values["prediction"]), told(values["target"])
    sure = values.get("confidence")
    aside = aside or (f"{percent(sure)} sure" if isinstance(sure, float) else "")
    alt = f"{name}: answered {answer}, true {truth}"
    heard = material.of_sounds
    return Card(
        [] if heard else [shot(material, path, alt=alt)], answer, truth,
        right=_same(values["prediction"], values["target"]), aside=aside, source=name, path=path,
        clips=[clip(material, path, alt=alt)] if heard else [],
    )  # fmt: skip


def clip(material: Material, path: Any, *, alt: str, caption: str = "") -> Clip:
    """The sound at a path."""
    made = material.recordings.copy_of(path)
    return Clip(made.source, alt, caption, made.length, made.gone)


def shot(
    material: Material, path: str, *, alt: str, size: int = SMALL, caption: str = "", outlines: Sequence[Outline] = ()
) -> Shot:
    """The image at a path."""
    made = material.album.print_of(path, size)
    coarse = max(made.width, made.height) <= _COARSE
    return Shot(made.source, made.width, made.height, alt, caption, made.gone, coarse, outlines)


def _same(answer: Any, truth: Any) -> bool:
    if isinstance(answer, list) and isinstance(truth, list) and all(isinstance(each, str) for each in answer):
        return set(answer) == set(truth)
    return bool(answer == truth)


def _counts(values: Mapping[str, Any]) -> str:
    found = match(values["prediction"] or [], values["target"] or [])
    return counts_in_words(len(found.found), found.wrong, found.missed)


def counts_in_words(objects: int, wrong: int, missed: int) -> str:
    """What became of the objects of one image."""
    objects_told = "1 object" if objects == 1 else f"{objects:,} objects"
    if not objects:
        return f"no object, {wrong:,} false" if wrong else "no object, none told"
    if not wrong and not missed:
        return f"{objects_told}, all found"
    parts = ((objects - missed, "found"), (missed, "missed"), (wrong, "false"))
    return ", ".join([objects_told, *(f"{amount:,} {what}" for amount, what in parts if amount)])


def _with_boxes(material: Material, values: Mapping[str, Any]) -> Shot:
    path, answers, truths = str(values.get("image") or ""), values["prediction"] or [], values["target"] or []
    made = material.album.print_of(path, LARGE)
    outlines = _outlines(material, answers, truths, made.width, made.height) if made.source else []
    said = [f"{each['label']} {number(each.get('score'))}" for each in answers[:10]]
    true = [str(each["label"]) for each in truths[:10]]
    alt = f"{PurePath(path).name}: told {', '.join(said) or 'nothing'}; true {', '.join(true) or 'nothing'}"
    return shot(material, path, alt=alt, size=LARGE, outlines=outlines)


def _outlines(
    material: Material,
    answers: Sequence[Mapping[str, Any]],
    truths: Sequence[Mapping[str, Any]],
    width: int,
    height: int,
) -> list[Outline]:
    """The boxes of an image, those of the truth on top of the others; tags for what matters most."""
    found, colours = match(answers, truths), colours_of(material.labels)
    tags, outlines = _MOST_TAGS, []
    for each, right in list(zip(answers, found.right, strict=True))[:_MOST_DRAWN]:
        colour = colours.get(each["label"], IGNORED)
        tag = f"{'' if right else '✗ '}{each['label']} {each.get('score') or 0:.2f}" if tags > 0 else ""
        tags -= 1
        outlines.append(Outline(*_placed(each["box"], width, height), colour, ink_on(colour), tag=tag))
    for each, hit in list(zip(truths, found.found, strict=True))[:_MOST_DRAWN]:
        tag = f"missed {each['label']}" if not hit and tags > 0 else ""
        tags -= bool(tag)
        outlines.append(Outline(*_placed(each["box"], width, height), _TRUE, dashed=True, tag=tag))
    return outlines


def _placed(box: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, width and height in parts of the image, cut to it."""
    x1, x2 = (min(max(side / width, 0.0), 1.0) for side in (box[0], box[2]))
    y1, y2 = (min(max(side / height, 0.0), 1.0) for side in (box[1], box[3]))
    return x1, y1, max(0.0, x2 - x1), max(0.0, y2 - y1)


def _with_masks(material: Material, values: Mapping[str, Any]) -> list[Shot]:
    """The image, what is true and what was told; without the truth where it was not kept."""
    path = str(values.get("image") or "")
    name = PurePath(path).name
    image = shot(material, path, alt=name, caption="image")
    true = _painted(material, name, "true", lambda: masks.truth_of(values, material.labels))
    told = _painted(material, name, "predicted", lambda: masks.told_mask(values["mask"]))
    return [each for each in (image, true, told) if each is not None]


def _painted(material: Material, name: str, caption: str, read: Callable[[], masks.Mask | None]) -> Shot | None:
    try:
        mask = read()
    except (OSError, ValueError) as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else str(error)
        return Shot("", 0, 0, f"{name}, {caption}", caption, reason)
    if mask is None:
        return None
    found = masks.shares(mask, material.labels)[:5]
    alt = f"{name}, {caption}: {', '.join(f'{label} {percent(share)}' for label, share in found) or 'nothing'}"
    source = masks.painted(mask, material.labels, colours_of(material.labels), SMALL)
    return Shot(source, mask.shape[1], mask.shape[0], alt, caption, coarse=max(mask.shape) <= _COARSE)


def _keys(material: Material, rows: Sequence[Mapping[str, Any]]) -> list[Key]:
    """The legend: the labels that occur in these rows, in the order of their names in the model."""
    if material.kind not in {"boxes", "masks"}:
        return []
    colours = colours_of(material.labels)
    seen = {each["label"] for values in rows for each in values["prediction"] or []}
    ignored: list[Key] = []
    if material.kind == "boxes":
        told_of = [Key("predicted, with its score", line="solid"), Key("true", line="dashed")]
    else:
        told_of = []
        truths = [mask for values in rows if (mask := _truth(material, values)) is not None]
        seen |= {label for mask in truths for label, _ in masks.shares(mask, material.labels)}
        ignored = [Key("does not count", IGNORED)] if any((mask == IGNORE).any() for mask in truths) else []
    labels = [label for label in material.labels if label in seen]
    keys = [Key(shortened(label, 28), colours[label]) for label in labels[:_MOST_KEYS]]
    more = [Key(f"and {len(labels) - _MOST_KEYS} more")] if len(labels) > _MOST_KEYS else []
    return [*told_of, *keys, *more, *ignored]


def _truth(material: Material, values: Mapping[str, Any]) -> masks.Mask | None:
    """The true mask; a file that is gone is told where it would be shown."""
    try:
        return masks.truth_of(values, material.labels)
    except (OSError, ValueError):
        return None


def iou_of(material: Material, values: Mapping[str, Any]) -> float | None:
    """The mean IoU of one image; None where a mask cannot be read."""
    true = _truth(material, values)
    try:
        return None if true is None else masks.mean_iou(true, masks.told_mask(values["mask"]))
    except (TypeError, ValueError):
        return None


def gap(target: Any, answer: Any) -> float:
    """How far numbers are from those that are true."""
    pairs = zip(target, answer, strict=True) if isinstance(target, list) else [(target, answer)]
    return math.hypot(*(one - other for one, other in pairs))
