"""What it says: some of the test examples with its answers and the truth, neither the best nor the worst."""

from __future__ import annotations

import pyarrow as pa

from regraft.report.blocks import Block, Section
from regraft.report.detections import OVERLAP
from regraft.report.gallery import gallery
from regraft.report.material import TEXTS, Material
from regraft.report.writings import writings

PLACE = 12
_MOST = {"boxes": 12, "masks": 8, "speech": 6, **dict.fromkeys(TEXTS, 8)}
_MOST_SMALL, _MOST_HEARD = 24, 8
_TITLES = {
    "translations": "What does it write?",
    "completions": "What does it write?",
    "passages": "Which texts does it find likely?",
    "transcripts": "What does it hear?",
    "speech": "How does it speak?",
}


def render(material: Material) -> Section | None:
    table, kind = material.predictions, material.kind or ""
    written = kind in TEXTS or kind == "speech"
    if table is None or not len(table) or not (written or material.of_images or material.of_sounds):
        return None
    most = _MOST.get(kind, _MOST_HEARD if material.of_sounds else _MOST_SMALL)
    rows = drawn(table, most)
    share = f"{len(rows)} of {len(table):,} test {material.unit}s, drawn by chance."
    told = share if len(rows) < len(table) else f"All test {material.unit}s."
    sentence = f"{told} {_legend(material)}".strip()
    blocks: list[Block] = writings(material, sentence, rows) if written else gallery(material, sentence, rows)
    return Section("samples", _TITLES.get(kind, "What does it say?"), blocks)


def drawn(table: pa.Table, most: int) -> list[int]:
    """Rows of the predictions by chance. Their ids follow from what is in the files: the draw is the same each time."""
    ids = table.column("id").to_pylist()
    return sorted(range(len(ids)), key=lambda row: str(ids[row]))[:most]


def _legend(material: Material) -> str:
    if material.kind == "boxes":
        threshold = (material.recipe.get("task") or {}).get("threshold", 0.3)
        return (
            f"Boxes are told from a score of {threshold:g} on. A cross marks a false one: no object of its label "
            f"overlaps with it by half (IoU {OVERLAP})."
        )
    if material.kind == "passages":
        return "Nothing is written here: of a text that is known, the perplexity tells how likely the model finds it."
    return ""
