"""Two texts side by side: which words of each the other has not.

A word is a run of letters and digits; a sign is one by itself, and so is a letter of a script that puts no spaces
between words. As many words as can be are common to both, in their order (longest common subsequence). What is spoken
has neither signs nor capitals: there only words count, whatever their case, and an exchanged word is one error and not
two (Levenshtein, 1966), as in the word error rate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from regraft.report.blocks import Span

MOST = 600  # words of a text that are compared

# The first and last letters of scripts without spaces: Thai to Tibetan, Myanmar, Khmer, kana, ideographs.
_UNSPACED = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
_JOINERS = "\u200c\u200d"
_APOSTROPHES = "'’"

Pair = tuple[int | None, int | None]


@dataclass(frozen=True)
class Compared:
    """Two texts, marked where they differ.

    Attributes:
        apart: words of the longer text that are not common to both; of what is spoken, the errors.
        wanted, longest: how many words the truth has, and the longer of the two.
        exchanged: what stands in the truth and in the answer at each difference; one of them may be empty.
        unspaced: whether most words are single letters.
        cut: whether more words follow that were not compared.
    """

    true: list[Span]
    told: list[Span]
    apart: int
    wanted: int
    longest: int
    exchanged: list[tuple[str, str]]
    unspaced: bool
    cut: bool

    @property
    def share(self) -> float:
        """The share of the words that differ, 0 to 1."""
        return self.apart / self.longest if self.longest else 0.0


def compare(true: str, told: str, *, spoken: bool = False) -> Compared:
    """Mark what differs; ``spoken`` looks at words alone, whatever their case."""
    parts = [_parts(text) for text in (true, told)]
    places = [_counted(each, spoken=spoken) for each in parts]
    keys = [
        [_key(each[place], spoken=spoken) for place in where[:MOST]]
        for each, where in zip(parts, places, strict=True)
    ]  # fmt: skip
    pairs = aligned(*keys, exchange=1 if spoken else 2)
    gaps = _gaps(pairs, *keys)
    longest = max(map(len, keys))
    common = sum(i is not None and j is not None and keys[0][i] == keys[1][j] for i, j in pairs)
    words = keys[0] or keys[1]
    return Compared(
        true=_spans(parts[0], {places[0][i] for gap, _ in gaps for i in gap}),
        told=_spans(parts[1], {places[1][j] for _, gap in gaps for j in gap}),
        apart=len(pairs) - common if spoken else longest - common,
        wanted=len(keys[0]),
        longest=longest,
        exchanged=[
            (_text(parts[0], places[0], i, spoken=spoken), _text(parts[1], places[1], j, spoken=spoken))
            for i, j in gaps
        ],
        unspaced=2 * sum(_kind(word[0]) == "alone" and word[0].isalnum() for word in words) > len(words),
        cut=max(map(len, places)) > MOST,
    )


def aligned(true: Sequence[str], told: Sequence[str], *, exchange: int) -> list[Pair]:
    """Places of both sequences in pairs, at the lowest cost: 1 without a partner, ``exchange`` with an unlike one."""
    table = _distances(true, told, exchange)
    row, column = len(true), len(told)
    pairs: list[Pair] = []
    while row or column:
        here = table[row, column]
        if row and column and here == table[row - 1, column - 1] + exchange * (true[row - 1] != told[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif row and here == table[row - 1, column] + 1:
            row -= 1
            pairs.append((row, None))
        else:
            column -= 1
            pairs.append((None, column))
    return pairs[::-1]


def _distances(
    true: Sequence[str], told: Sequence[str], exchange: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """The cost from every beginning of one to every beginning of the other, int32 [true + 1, told + 1]."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*true, *told]))}
    answer = np.array([numbers[word] for word in told], dtype=np.int32)
    columns = np.arange(len(told) + 1, dtype=np.int32)
    table = np.empty((len(true) + 1, len(told) + 1), dtype=np.int32)
    table[0] = columns
    for row, word in enumerate(true):
        above = table[row]
        table[row + 1, 0] = row + 1
        table[row + 1, 1:] = np.minimum(above[1:] + 1, above[:-1] + exchange * (answer != numbers[word]))
        table[row + 1] = np.minimum.accumulate(table[row + 1] - columns) + columns  # words put in, from the left
    return table


def _gaps(pairs: Sequence[Pair], true: Sequence[str], told: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """The places of both that differ, those that follow each other together."""
    gaps: list[tuple[list[int], list[int]]] = []
    inside = False
    for i, j in pairs:
        same = i is not None and j is not None and true[i] == told[j]
        if not same:
            if not inside:
                gaps.append(([], []))
            gaps[-1][0].extend([] if i is None else [i])
            gaps[-1][1].extend([] if j is None else [j])
        inside = not same
    return gaps


def _text(parts: Sequence[str], places: Sequence[int], words: Sequence[int], *, spoken: bool) -> str:
    """Words that follow each other as they are written; of what is spoken, in small letters."""
    text = "".join(parts[places[words[0]] : places[words[-1]] + 1]) if words else ""
    return text.casefold() if spoken else text


def _parts(text: str) -> list[str]:
    """Words, signs and the spaces between them; together they are the text."""
    parts: list[str] = []
    for letter in text:
        kind = _kind(letter)
        before = _kind(parts[-1][0]) if parts else ""
        joined = kind == "joins" or (parts and parts[-1][-1] == "\u200d" and before == "alone")
        if parts and ((kind == before != "alone") or (joined and before != "space")):
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


@lru_cache(maxsize=4096)
def _kind(letter: str) -> str:
    code = ord(letter)
    if letter.isspace():
        return "space"
    if unicodedata.category(letter)[0] == "M" or letter in _JOINERS or 0x1F3FB <= code <= 0x1F3FF:
        return "joins"
    if any(first <= code <= last for first, last in _UNSPACED):
        return "alone"
    return "word" if letter.isalnum() or letter == "_" or letter in _APOSTROPHES else "alone"


def _counted(parts: Sequence[str], *, spoken: bool) -> list[int]:
    """The places of what is compared."""
    return [place for place, part in enumerate(parts) if not part.isspace() and _key(part, spoken=spoken)]


def _key(part: str, *, spoken: bool) -> str:
    """What a word is compared by; nothing for a sign in what is spoken."""
    if not spoken:
        return part
    key = unicodedata.normalize("NFKC", part).casefold().replace("’", "'").strip("'")
    return key if any(map(str.isalnum, key)) else ""


def _spans(parts: Sequence[str], marked: set[int]) -> list[Span]:
    """The text in runs that differ and runs that do not; a space between two words that differ belongs to them."""
    spans: list[Span] = []
    for place, part in enumerate(parts):
        differs = place in marked or (part.isspace() and {place - 1, place + 1} <= marked)
        if spans and spans[-1].differs == differs:
            spans[-1] = Span(spans[-1].text + part, differs)
        else:
            spans.append(Span(part, differs))
    return spans


def cut(spans: Sequence[Span], most: int) -> list[Span]:
    """The first ``most`` characters of a text."""
    found: list[Span] = []
    for span in spans:
        room = most - sum(len(each.text) for each in found)
        if len(span.text) > room:
            return [*found, Span(span.text[: max(0, room - 1)].rstrip() + "…", span.differs)]
        found.append(span)
    return found
