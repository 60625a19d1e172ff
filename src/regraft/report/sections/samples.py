"""What it says of images: some of the test images with its answers and the truth."""

from __future__ import annotations

from regraft.report.blocks import Section
from regraft.report.detections import OVERLAP
from regraft.report.gallery import gallery
from regraft.report.material import Material

PLACE = 12
_MOST = {"boxes": 12, "masks": 8}
_MOST_SMALL = 24


def render(material: Material) -> Section | None:
    table = material.predictions
    if table is None or not material.of_images or not len(table):
        return None
    # The ids follow from what is in the files: the first of them are a fair draw, and the same each time.
    ids = table.column("id").to_pylist()
    most = _MOST.get(material.kind or "", _MOST_SMALL)
    rows = sorted(range(len(ids)), key=lambda row: str(ids[row]))[:most]
    drawn = f"{len(rows)} of {len(ids):,} test images, drawn by chance." if len(rows) < len(ids) else "All test images."
    return Section("samples", "What does it say?", gallery(material, f"{drawn} {_legend(material)}".strip(), rows))


def _legend(material: Material) -> str:
    if material.kind == "boxes":
        threshold = (material.recipe.get("task") or {}).get("threshold", 0.3)
        return (
            f"Boxes are told from a score of {threshold:g} on. A cross marks a false one: no object of its label "
            f"overlaps with it by half (IoU {OVERLAP})."
        )
    return ""
