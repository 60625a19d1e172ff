"""VADER: 23,703 English sentences of four kinds, each with the mean human sentiment score, from -4 to 4.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM
2014. The data are in the package's source archive only, as a tar inside the tar.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

SDIST = Package(
    name="vaderSentiment",
    version="3.3.2",
    file="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)

HEADER = ("id", "text", "score", "label")

# Our file → the file it is made from, and how many sentences that must give.
TABLES = {
    "movie.csv": ("movieReviewSnippets_GroundTruth.txt", 10_605),
    "tweets.csv": ("tweets_GroundTruth.txt", 4_200),
    "amazon.csv": ("amazonReviewSnippets_GroundTruth.txt", 3_708),
    "nyt.csv": ("nytEditorialSnippets_GroundTruth.txt", 5_190),
}


def fill(target: Path, scratch: Path) -> None:
    """Write the four tables and the licence into ``target``."""
    package = unpack(download(SDIST, scratch), scratch / "sdist") / f"{SDIST.name}-{SDIST.version}"
    inner = package / "additional_resources" / "hutto_ICWSM_2014.tar.gz"
    data = unpack(inner, scratch / "data") / "hutto_ICWSM_2014"
    for name, (source, count) in TABLES.items():
        convert(data / source, target / name, count)
    shutil.copyfile(package / "LICENSE.txt", target / "LICENSE.txt")


def convert(source: Path, target: Path, count: int) -> None:
    """Write one ground-truth file as a table; ``DamagedMaterial`` unless it has ``count`` rows."""
    table = list(rows(source))
    if len(table) != count:
        raise DamagedMaterial(f"{source.name} has {len(table):,} sentences, not {count:,}.")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(table)


def rows(source: Path) -> Iterator[tuple[str, str, str, str]]:
    """Lines ``id<tab>score<tab>text`` as (id, text, score, label); a mean of exactly 0 counts as negative.

    The score stays the text it was, so that no digit changes.
    """
    for line in source.read_text(encoding="utf-8").splitlines():
        try:
            key, score, text = line.split("\t", 2)
            label = "positive" if float(score) > 0 else "negative"
        except ValueError:
            raise DamagedMaterial(f"{source.name} has a line that is not id, score and text: {line!r}.") from None
        yield key, text, score, label


MATERIAL = Material(
    name="vader",
    summary="23,703 sentences with human sentiment scores: movies, tweets, products, editorials (3 MB)",
    licence="MIT",
    sources=(SDIST,),
    fill=fill,
)
