"""Sentences of United Nations documents, and of film reviews as another domain: passages for a language model.

The package nlp-corpus (https://github.com/spencermountain/nlp-corpus, MIT) holds 100,000 English sentences of some
twenty sources, drawn at random and mixed: no order and no name of a source is left, so a row is one sentence, and a
domain is known by its words. Its README asks that the texts be not republished commercially; some that are not taken
here are offensive.

``train.jsonl`` (900 rows), ``validation.jsonl`` (150) and ``test.jsonl`` (300), with the column ``text``, are from
United Nations documents, nearly all of 1993 and 1994: Eisele and Chen, MultiUN: A Multilingual Corpus from United
Nation Documents, LREC 2010, pages 2868 to 2872. This source is taken since it is the narrowest: its words are
unmistakable, its style is of a kind, and nothing in it offends. ``other.jsonl`` (300) is from film reviews: Maas et
al., Learning Word Vectors for Sentiment Analysis, 2011, https://aclanthology.org/P11-1015.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack
from regraft.fingerprint import draw

PACKAGE = Package(
    name="nlp-corpus",
    version="4.4.0",
    file="nlp-corpus-4.4.0.tgz",
    sha256="099df43749ba6bb26953f98863a5d38ff764648ce21872ceb1515a3eacb5682a",
    registry="npm",
)

SENTENCES = 100_000

# Tables and their rows, filled in this order.
TABLES = {"test": 300, "validation": 150, "train": 900}
OTHER = 300

_NATIONS = re.compile(
    r"\b(?:United Nations|General Assembly|Secretary-General|Security Council|Economic and Social Council|"
    r"Member States|States [Pp]arties|States Members|draft resolution|Special Rapporteur|Working Group|Sub-Commission|"
    r"(?:Special|Advisory|Preparatory) Committee|the Committee|delegations|Commission on Human Rights|peace-keeping|"
    r"the biennium|subprogrammes?|programme of action|plenary meeting|agenda item|ECLAC|ESCAP|"
    r"UN(?:DP|ICEF|HCR|CTAD|ESCO|PROFOR|FPA|IDO|DCP|EP|TAC|RWA)|"
    r"(?:A|E|S|CD|DP|CEDAW|CERD|ST|CCPR)/[A-Z0-9][A-Z0-9./]*\d)\b"  # the number of a document
)
# What newspapers write of the same matters: of later years, in other words, with other quotation marks and dashes.
_PAPERS = re.compile(
    r"\b(?:199[5-9]|20\d\d|Obama|Bush|Trump|Clinton|Putin|EU|euro|eurozone|Taliban|[Aa]l[- ]Qaeda|UN|US)\b|[‘’“”–—]"
)
_FILMS = re.compile(r"\b(?:films?|movies?)\b")
# From a capital, a number or a bracket to the end of a sentence: many in the package are cut off in front.
_WHOLE = re.compile(r"[A-Z0-9(\"].*[.;:?!][\")]?")


def fill(target: Path, scratch: Path) -> None:
    """Write the four tables and the package's description, which names the sources."""
    package = unpack(download(PACKAGE, scratch), scratch / "package") / "package"
    rows = sentences(package / "builds")
    nations = [row for row in rows if _NATIONS.search(row) and not _PAPERS.search(row)]
    films = [row for row in rows if _FILMS.search(row) and not _NATIONS.search(row)]
    tables = {**split(nations, TABLES), **split(films, {"other": OTHER})}
    for name, texts in tables.items():
        write(target / f"{name}.jsonl", texts)
    (target / "README.md").write_bytes((package / "README.md").read_bytes())


def sentences(folder: Path) -> list[str]:
    """The whole sentences of 8 to 120 words; ``DamagedMaterial`` unless the files hold as many as is known."""
    files = sorted(folder.glob("doc-*.json"))
    rows = [row for path in files for row in json.loads(path.read_text(encoding="utf-8"))]
    if len(rows) != SENTENCES:
        raise DamagedMaterial(f"{PACKAGE.file} has {len(rows):,} sentences, not {SENTENCES:,}.")
    joined = (" ".join(row.split()) for row in rows)  # some hold characters that other programs end a line at
    return [row for row in joined if _WHOLE.fullmatch(row) and 8 <= len(row.split()) <= 120]


def split(rows: Iterable[str], tables: dict[str, int]) -> dict[str, list[str]]:
    """Tables of sentences in a drawn order. Of those that begin alike only one is taken.

    Raises ``DamagedMaterial`` if there are too few.
    """
    distinct = {beginning(row): row for row in sorted(rows, reverse=True)}
    order = sorted(distinct.values(), key=lambda row: draw("nlp-corpus", row))
    if len(order) < sum(tables.values()):
        raise DamagedMaterial(f"{PACKAGE.file} has too few sentences of a kind: {len(order):,}.")
    parts = iter(order)
    return {name: [next(parts) for _ in range(count)] for name, count in tables.items()}


def beginning(row: str) -> tuple[str, ...]:
    """The first eight words, in small letters and with 0 for every number: what set phrases have in common."""
    words = re.sub(r"\d+", "0", re.sub(r"\W+", " ", row)).casefold().split()
    return tuple(words[:8])


def write(path: Path, texts: Iterable[str]) -> None:
    """One table, a JSON object a line."""
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    path.write_text("".join(lines), encoding="utf-8")


MATERIAL = Material(
    name="nlp-corpus",
    summary="1,350 sentences of United Nations documents, 300 of film reviews (0.4 MB; 4 MB are fetched)",
    licence="MIT",
    sources=(PACKAGE,),
    fill=fill,
)
