"""Augmentation of texts: pure functions of a text, a share and a source of chance; together, of a text and a key.

Words are what spaces separate; of scripts that are written without spaces (Chinese, Japanese) each character is one.
What has neither letter nor digit is no word and stays as it is, and no text ever becomes empty. Words are dropped and
swapped as by Wei and Zou (2019, EDA, arXiv 1901.11196), but swapped with their neighbours; words are misspelt as by
Belinkov and Bisk (2018, arXiv 1711.02173). Feng et al. (2021, arXiv 2105.03075) survey these and other ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import TypeVar

from regraft.data.augment.options import TextAugmentation
from regraft.fingerprint import draw

__all__ = ["TextAugmentation", "augment", "chance", "drop_tokens", "drop_words", "misspell", "recase", "swap_words"]

Key = tuple[int | str, ...]
T = TypeVar("T")
Chance = Callable[[], float]  # a number in [0, 1) at each call

_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_PIECES = re.compile(rf"\s+|[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# From a key to those beside it: in its row, above and below it; each row stands half a key further right.
_STEPS = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
_PLACES = {(row, at): key for row, keys in enumerate(_ROWS) for at, key in enumerate(keys)}
_BESIDE = {
    key: "".join(_PLACES.get((row + down, at + right), "") for down, right in _STEPS)
    for (row, at), key in _PLACES.items()
}


def augment(text: str, options: TextAugmentation, *, key: Key) -> str:
    """One augmented view of a text: words dropped, swapped and misspelt, then put in another case.

    Args:
        key: (seed, number of the view, example id, which text), which all that is random is drawn from.
    """
    whole = options.settled
    ways = {"word_dropout": drop_words, "swaps": swap_words, "typos": misspell, "casing": recase}
    for name, change in ways.items():
        if share := getattr(whole, name):
            text = change(text, share, chance(key, name))
    return text


def chance(key: Key, name: str) -> Chance:
    """Numbers that follow from a key and from what they are for: no change moves what another one draws."""
    return Random(draw(*key, name)).random


def drop_words(text: str, share: float, random: Chance) -> str:
    """Leave out each word with this probability, but never all."""
    pieces = _PIECES.findall(text)
    words = _words(pieces)
    dropped = {place for place in words if random() < share}
    if not dropped:
        return text
    if len(dropped) == len(words):
        dropped.remove(_one_of(words, random))
    spaces = {place + 1 for place in dropped if pieces[place + 1 : place + 2] and pieces[place + 1].isspace()}
    return "".join(piece for place, piece in enumerate(pieces) if place not in dropped | spaces).strip()


def swap_words(text: str, share: float, random: Chance) -> str:
    """Let each word change places with the next one with this probability, no word twice."""
    pieces = _PIECES.findall(text)
    words = _words(pieces)
    swapped = -1
    for place, following in pairwise(words):
        if place != swapped and random() < share:
            pieces[place], pieces[following] = pieces[following], pieces[place]
            swapped = following
    return "".join(pieces)


def misspell(text: str, share: float, random: Chance) -> str:
    """Misspell each word with this probability: one letter is that of a key beside it, doubled, missing, or transposed.

    Only letters of scripts with capitals change; a word with fewer than two of them or with digits is left alone.
    """
    return "".join(_misspelt(piece, random) if random() < share else piece for piece in _PIECES.findall(text))


def recase(text: str, share: float, random: Chance) -> str:
    """With this probability put a text in lower, UPPER or Title Case, or its first letter in the other case."""
    if random() >= share:
        return text
    return _one_of((str.lower, str.upper, _titled, _first_turned), random)(text)


def drop_tokens(tokens: Sequence[int], special: frozenset[int], share: float, random: Chance) -> list[int]:
    """The places of the tokens that the model is not to see: each with this probability, but never all.

    Args:
        special: tokens that are never dropped.
    """
    places = [place for place, token in enumerate(tokens) if token not in special]
    dropped = [place for place in places if random() < share]
    if dropped and len(dropped) == len(places):
        dropped.remove(_one_of(dropped, random))
    return dropped


def _words(pieces: Sequence[str]) -> list[int]:
    """The places of the words."""
    return [place for place, piece in enumerate(pieces) if any(letter.isalnum() for letter in piece)]


def _misspelt(word: str, random: Chance) -> str:
    places = [place for place, letter in enumerate(word) if _typed(letter)]
    if len(places) < 2 or any(letter.isdigit() for letter in word):
        return word
    place = _one_of(places, random)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    ways = [before + after, before + letter + letter + after]
    if near := _BESIDE.get(letter.lower()):
        other = _one_of(near, random)
        ways.append(before + (other.upper() if letter.isupper() else other) + after)
    if after and _typed(after[0]) and after[0] != letter:
        ways.append(before + after[0] + letter + after[1:])
    return _one_of(ways, random)


def _typed(letter: str) -> bool:
    """Whether it is a letter of a script that has capitals."""
    return letter.isalpha() and letter.lower() != letter.upper()


def _titled(text: str) -> str:
    """Each word with a capital; unlike str.title it takes "don't" for one word."""
    return "".join(piece[:1].upper() + piece[1:].lower() for piece in _PIECES.findall(text))


def _first_turned(text: str) -> str:
    place = next((place for place, letter in enumerate(text) if _typed(letter)), None)
    return text if place is None else text[:place] + text[place].swapcase() + text[place + 1 :]


def _one_of(values: Sequence[T], random: Chance) -> T:
    return values[int(random() * len(values))]
