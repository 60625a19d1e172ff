"""The mistakes it was most sure of: often a wrong label in the data, sometimes what the model cannot see.

Of texts, the truths that surprised it most, and the answers that are furthest from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from regraft.report.blocks import Block, Note, Quote, Quotes, Section
from regraft.report.detections import OVERLAP, match
from regraft.report.gallery import counts_in_words, gallery, gap, iou_of, row_of
from regraft.report.material import TEXTS, Material
from regraft.report.sections.samples import drawn
from regraft.report.words import number, percent, shortened, told
from regraft.report.writings import compared, perplexity_in_words, writings

PLACE = 60
_MOST = 12
_MOST_MASKS = 6
_MOST_TEXTS = 8  # of each of two kinds
_MOST_SOUNDS = 8
_MOST_SPOKEN = 4
_MOST_COMPARED = 200  # masks that are read again to find the worst
_MOST_READ = 2000  # texts, likewise
_LONGEST = 600
_TRUTHS = ("target", "true_mask")  # columns in which a mask, or its path, can be
_KNOWN = ("id", "file", "row", "target", "prediction", "confidence", "probabilities")


@dataclass(frozen=True)
class _Worst:
    """Rows, worst first, with what is told of each beside the answer, and the sentence above them."""

    rows: Sequence[int]
    asides: dict[int, str]
    sentence: str


def render(material: Material) -> Section | None:
    table = material.predictions
    if table is None or not {"target", "prediction"} <= set(table.column_names):
        return None
    if material.kind in TEXTS:
        return _of_texts(material, table)
    if material.kind == "speech":
        return _of_speech(material, table)
    if material.kind == "masks" and not _known_truth(table):
        note = (
            "The true masks were drawn from outlines and were not kept, so the worst answers are not told apart here."
        )
        return Section("mistakes", "Where it is furthest off", [Note(note)])
    find = {"numbers": _of_numbers, "boxes": _of_boxes, "masks": _of_masks}.get(material.kind or "", _of_labels)
    worst = find(material, table)
    if not worst.rows:
        return None
    blocks: list[Block]
    if material.of_images or material.of_sounds:
        blocks = gallery(material, worst.sentence, worst.rows, worst.asides)
    else:
        blocks = [Quotes(worst.sentence, [_quote(table, row, worst.asides.get(row, "")) for row in worst.rows])]
    off = material.kind in {"numbers", "boxes", "masks"}
    return Section("mistakes", "Where it is furthest off" if off else "Its most confident mistakes", blocks)


def _of_numbers(material: Material, table: pa.Table) -> _Worst:  # noqa: ARG001
    pairs = zip(table.column("target").to_pylist(), table.column("prediction").to_pylist(), strict=True)
    gaps = {row: distance for row, pair in enumerate(pairs) if (distance := gap(*pair)) > 0}
    rows = sorted(gaps, key=lambda row: -gaps[row])[:_MOST]
    asides = {row: f"off by {number(gaps[row])}" for row in rows}
    return _Worst(rows, asides, "The answers that are furthest off.")


def _of_labels(material: Material, table: pa.Table) -> _Worst:
    targets, answers = table.column("target").to_pylist(), table.column("prediction").to_pylist()
    sure = table.column("confidence").to_pylist() if "confidence" in table.column_names else [None] * len(targets)
    wrong = [row for row in range(len(targets)) if _differ(targets[row], answers[row])]
    rows = sorted(wrong, key=lambda row: -(sure[row] or 0.0))[: _MOST_SOUNDS if material.of_sounds else _MOST]
    asides = {row: f"{percent(value)} sure" for row in rows if isinstance(value := sure[row], float)}
    sentence = (
        f"The wrong answers that the model was most sure of, {len(rows)} of {len(wrong):,}. "
        "Some may be labelled wrongly in the data."
    )
    return _Worst(rows, asides, sentence)


def _differ(target: Any, answer: Any) -> bool:
    if isinstance(target, list) and isinstance(answer, list):
        return set(target) != set(answer)
    return bool(target != answer)


def _of_boxes(material: Material, table: pa.Table) -> _Worst:
    pairs = list(zip(table.column("prediction").to_pylist(), table.column("target").to_pylist(), strict=True))
    found = [match(said or [], true or []) for said, true in pairs]
    wrong = [row for row, each in enumerate(found) if each.wrong + each.missed]
    rows = sorted(wrong, key=lambda row: -(found[row].wrong + found[row].missed))[:_MOST]
    asides = {row: counts_in_words(len(found[row].found), found[row].wrong, found[row].missed) for row in rows}
    missed, false, all_ = (
        sum(counts) for counts in zip(*((f.missed, f.wrong, len(f.found)) for f in found), strict=True)
    )
    threshold = (material.recipe.get("task") or {}).get("threshold", 0.3)
    sentence = (
        f"The images with the most false and missed boxes. Of the {all_:,} objects in {len(found):,} test images, "
        f"{missed:,} {'is' if missed == 1 else 'are'} missed, and {false:,} of the boxes "
        f"{'is' if false == 1 else 'are'} false. Boxes are told from a score of {threshold:g} on, and are right from "
        f"an overlap (IoU) of {OVERLAP} on."
    )
    return _Worst(rows, asides, sentence)


def _of_texts(material: Material, table: pa.Table) -> Section | None:
    """First the answers that are furthest off, then the truths that surprised the model, which may be wrong."""
    far = _furthest(material, table)
    surprising = list(islice((row for row in _surprising(table) if _still(material, row, far)), _MOST_TEXTS))
    part = f" Of {_MOST_READ:,} that were compared." if len(table) > _MOST_READ else ""
    blocks: list[Block] = []
    if far:
        sentence = f"The answers whose words differ most from the truth.{part}"
        blocks += writings(material, sentence, far)
    if surprising and material.kind == "passages":
        sentence = "The texts that surprised the model most: of another kind than the others, or damaged."
        blocks += writings(material, sentence, surprising)
    elif surprising:
        sentence = (
            "The truths that surprised the model most: it would not have gone on like this. Some may be wrong in the "
            "data, others may say more than can be known."
        )
        losses = table.column("loss").to_pylist()
        blocks += writings(
            material, sentence, surprising, {row: perplexity_in_words(losses[row]) for row in surprising}
        )
    title = "What surprises it most" if material.kind == "passages" else "Where it is furthest off"
    return Section("mistakes", title, blocks) if blocks else None


def _of_speech(material: Material, table: pa.Table) -> Section | None:
    """The sentences that were understood worst."""
    far = _furthest(material, table)[:_MOST_SPOKEN]
    if not far:
        return None
    part = f" Of {_MOST_READ:,} that were compared." if len(table) > _MOST_READ else ""
    sentence = f"The sentences whose words were understood worst.{part}"
    return Section("mistakes", "Where it is hard to understand", writings(material, sentence, far))


def _still(material: Material, row: int, shown: Sequence[int]) -> bool:
    """Whether a row is still to be shown: it was not yet, and the model did not find the truth in the end."""
    found = compared(material, row_of(material, row))
    return row not in shown and (found is None or found.apart > 0)


def _furthest(material: Material, table: pa.Table) -> list[int]:
    """By the share of words that differ; of two that are wholly different the longer."""
    found = {
        row: (each.share, each.apart)
        for row in drawn(table, _MOST_READ)
        if (each := compared(material, row_of(material, row))) is not None and each.apart
    }
    return sorted(found, key=lambda row: found[row], reverse=True)[:_MOST_TEXTS]


def _surprising(table: pa.Table) -> list[int]:
    """Rows by the loss of their truth, highest first; none where no model was asked."""
    losses = table.column("loss").to_pylist() if "loss" in table.column_names else []
    known = [row for row, loss in enumerate(losses) if isinstance(loss, float) and math.isfinite(loss)]
    return sorted(known, key=lambda row: -losses[row])


def _known_truth(table: pa.Table) -> bool:
    return any(table.column(name).null_count < len(table) for name in _TRUTHS if name in table.column_names)


def _of_masks(material: Material, table: pa.Table) -> _Worst:
    """By the mean IoU of each image, of as many images as can be read again without much waiting."""
    ids = table.column("id").to_pylist()
    chosen = sorted(range(len(ids)), key=lambda row: str(ids[row]))[:_MOST_COMPARED]
    found = ((row, iou_of(material, row_of(material, row))) for row in chosen)
    values = {row: value for row, value in found if value is not None}
    rows = sorted((row for row in values if values[row] < 1), key=lambda row: values[row])[:_MOST_MASKS]
    asides = {row: f"mean IoU {number(values[row])}" for row in rows}
    part = f" of {len(values):,} that were compared" if len(values) < len(ids) else ""
    sentence = f"The images{part} with the lowest mean IoU of the classes that are there or were told."
    return _Worst(rows, asides, sentence)


def _quote(table: pa.Table, row: int, aside: str) -> Quote:
    values = {name: table.column(name)[row].as_py() for name in table.column_names}
    texts = [
        shortened(str(value), _LONGEST) for name, value in values.items() if name not in _KNOWN and value is not None
    ]
    source = f"{values.get('file', 'row')}, row {values.get('row', row + 1)}"
    return Quote(texts, told(values["target"]), told(values["prediction"]), aside, source)
