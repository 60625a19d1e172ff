"""Texts as they are said: what a transcript is compared in, and spelled in."""

from __future__ import annotations

import unicodedata

DESCRIPTION = "small letters, no punctuation but apostrophes within words, single spaces (NFKC)"


def spoken_form(text: str) -> str:
    """A text in small letters, without punctuation but apostrophes within words, with single spaces."""
    kept = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    letters = [
        letter if letter.isalnum() or letter in "' " or unicodedata.combining(letter) else " " for letter in kept
    ]
    words = (word.strip("'") for word in "".join(letters).split())
    return " ".join(word for word in words if word)
