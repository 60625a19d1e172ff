"""Texts that are nearly equal: MinHash finds candidates, their shingles decide."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from regraft.quality.findings import Row
from regraft.training import Poll

_SHINGLE = 3  # characters
_ALIKE = 0.7  # of the shingles of both that either has: as measured (LOG.md)
_BANDS, _IN_A_BAND = 16, 4  # of 64 permutations: a pair of likeness 0.7 is a candidate with probability 0.99
_LONGEST = 20_000  # characters that are compared
_POLLED = 500  # texts between two polls


def alike_texts(rows: Sequence[Row], poll: Poll) -> list[tuple[int, int, float]]:
    """Pairs of texts, by their places, with the Jaccard index of their shingles of three characters.

    Case, punctuation and space do not count. MinHash with banding (Broder, On the resemblance and containment of
    documents, 1997) finds the candidates, so that not all pairs are compared; of those the index itself is taken.
    """
    if not rows or not all(isinstance(each, str) for each in rows[0].example.inputs.values()):
        return []
    from datasketch import MinHash, MinHashLSH

    shingles = [_shingles(row) for row in rows]
    hashes = MinHash.generator(_bytes(shingles, poll), num_perm=_BANDS * _IN_A_BAND, hashfunc=zlib.crc32)
    index = MinHashLSH(num_perm=_BANDS * _IN_A_BAND, params=(_BANDS, _IN_A_BAND))
    found: list[tuple[int, int, float]] = []
    for place, hashed in enumerate(hashes):
        for other in sorted(index.query(hashed)):
            likeness = _jaccard(shingles[other], shingles[place])
            if likeness >= _ALIKE:
                found.append((other, place, likeness))
        index.insert(place, hashed, check_duplication=False)
    return found


def words_of(row: Row) -> list[str]:
    """The words of a row's texts, in small letters."""
    text = " ".join(str(each) for each in row.example.inputs.values())
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def _shingles(row: Row) -> frozenset[str]:
    text = " ".join(words_of(row))[:_LONGEST]
    return frozenset(text[start : start + _SHINGLE] for start in range(max(1, len(text) - _SHINGLE + 1)))


def _bytes(shingles: Sequence[frozenset[str]], poll: Poll) -> Iterator[list[bytes]]:
    for place, each in enumerate(shingles):
        if place % _POLLED == 0:
            poll()
        yield [shingle.encode("utf-8", "surrogatepass") for shingle in each]


def _jaccard(first: frozenset[Any], second: frozenset[Any]) -> float:
    return len(first & second) / len(first | second)
