"""Is the data sound? What was found of the rows, the gravest first, with examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from regraft.report.blocks import Block, Card, Gallery, Line, Note, Section, Span, Table, Writing, Writings
from regraft.report.gallery import clip, shot
from regraft.report.material import Material
from regraft.report.words import count, shortened

PLACE = 71
_SHOWN = 4  # cases of a finding
_LONGEST = 300


def render(material: Material) -> Section | None:
    found = material.quality
    if not found:
        return None
    findings = found.get("findings") or []
    looked = ", ".join(each.replace("-", " ") for each in found.get("looked_for") or [])
    blocks: list[Block] = [] if findings else [Note("Nothing was found.", tone="good")]
    for finding in findings:
        blocks += _finding(material, finding)
    return Section("quality", "Is the data sound?", [*blocks, Note(f"Looked for: {looked}.", tone="small")])


def _finding(material: Material, finding: Mapping[str, Any]) -> list[Block]:
    told = f"{finding['told']} What to do: {finding['fix'].removesuffix('…')}." if finding["fix"] else finding["told"]
    note = Note(told, tone="plain" if finding["level"] == "note" else "warn")
    items = (finding["items"] or [])[:_SHOWN]
    if not items:
        return [note]
    more = f" The strongest {len(items)} of {count(finding['count'])}." if finding["count"] > len(items) else ""
    if material.of_images or material.of_sounds:
        return [note, Gallery(f"The rows.{more}", [_card(material, item) for item in items], size="row")]
    if all(not place["shown"] for item in items for place in item["rows"]):
        rows = [[place["file"], str(place["row"]), item["told"]] for item in items for place in item["rows"]]
        return [note, Table(f"The rows.{more}", ["File", "Row", "Why"], rows, numeric=3)]
    return [note, Writings(f"The rows.{more}", [_writing(item) for item in items])]


def _writing(item: Mapping[str, Any]) -> Writing:
    """The texts of a case, one below the other."""
    places = item["rows"][:2]
    lines = [
        Line(f"{place['side']}, {place['label']}", [Span(shortened(place["shown"], _LONGEST))]) for place in places
    ]
    files = dict.fromkeys(place["file"] for place in places)
    source = "; ".join(
        f"{file}, row {' and '.join(str(place['row']) for place in places if place['file'] == file)}" for file in files
    )
    return Writing(lines, aside=str(item["told"]), source=source)


def _card(material: Material, item: Mapping[str, Any]) -> Card:
    places = item["rows"][:2]
    labels = " / ".join(dict.fromkeys(str(place["label"]) for place in places))
    source = "; ".join(f"{place['side']}: {PurePath(place['shown'] or place['file']).name}" for place in places)
    aside = f"labelled {labels}" + (f"; {item['told']}" if item["told"] else "")
    paths = [place["shown"] for place in places if place["shown"]]
    shots = [shot(material, path, alt=f"{path}, {aside}") for path in paths] if material.of_images else []
    clips = [clip(material, path, alt=f"{path}, {aside}") for path in paths] if material.of_sounds else []
    return Card(shots, aside=aside, source=source, path=", ".join(paths), clips=clips)
