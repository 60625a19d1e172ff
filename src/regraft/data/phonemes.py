"""Texts as phonemes of the International Phonetic Alphabet, by espeak-ng, which is not part of regraft.

The library is taken from the package espeakng-loader, which brings it along, or from the system. Its licence is
GPL-3.0-or-later: https://github.com/espeak-ng/espeak-ng. What is said may differ between its versions.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError, ResourceError

_IPA, _UTF8 = 2, 1  # how phonemes are written, and how the text
_NO_SOUND, _DO_NOT_EXIT = 1, 0x8000
_ONE_AT_A_TIME = threading.Lock()  # the library remembers voice and place in the text

# Where espeak-ng ends a clause: at signs that brackets or quotes may follow, then a space or the end. It has read the
# first letter of the next clause by then.
_END = re.compile(r"([.,:;?!…—]+)[^\w\s]*(?:\s+[^\w\s]*\w?)?$")
_OTHER_LANGUAGE = re.compile(r"\([^)]+\)")  # (en) before a word of another language than the voice's


def phonemes(texts: Iterable[str], voice: str = "en-us") -> list[str]:
    """What is said of each text, as Piper's voices are trained on it: a clause keeps the sign that ended it.

    Accents are characters of their own (NFD). https://github.com/OHF-Voice/piper1-gpl does the same.

    Raises:
        ResourceError: there is no espeak-ng.
        RecipeError: it has no such voice.
    """
    library = _library()
    with _ONE_AT_A_TIME:
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RecipeError(
                f"espeak-ng has no voice {voice!r}", fix="choose one that `espeak-ng --voices` lists, such as en-us"
            )
        return ["".join(_clauses(library, text)) for text in texts]


def available() -> str | None:
    """``None`` if there is an espeak-ng, else what is missing."""
    try:
        _library()
    except ResourceError as error:
        return error.problem
    return None


def _clauses(library: Any, text: str) -> Iterator[str]:
    """The phonemes of each clause, with its sign, and a space if the sentence goes on."""
    content = ctypes.create_string_buffer(text.replace("\0", " ").encode("utf-8", "replace"))
    start = ctypes.addressof(content)
    last, place = start, ctypes.c_void_p(start)
    while place.value:
        said = library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _IPA).decode("utf-8")
        end = place.value or start + len(content.value)
        sign = ended_by(content.raw[last - start : end - start].decode("utf-8", "ignore"))
        yield unicodedata.normalize("NFD", _OTHER_LANGUAGE.sub("", said) + sign)
        last = end


def ended_by(read: str) -> str:
    """The sign that ended a clause, of what espeak-ng read for it; with a space if it does not end the sentence."""
    found = _END.search(read)
    if found is None or found[1].startswith(("..", "…")):  # dots that leave a sentence open are not spoken
        return ""
    sign = found[1][0].replace("—", ";")
    return f"{sign} " if sign in ",:;" else sign


@lru_cache(maxsize=1)
def _library() -> Any:
    """espeak-ng, ready to be asked; loaded once a process."""
    path, data = _place()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ResourceError(f"espeak-ng cannot be loaded: {error}", fix=_FIX) from error
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
    if library.espeak_Initialize(_NO_SOUND, 0, data, _DO_NOT_EXIT) <= 0:
        raise ResourceError(f"espeak-ng at {path} does not find its data", fix=_FIX)
    return library


_FIX = "install it: `pip install espeakng-loader`, or on Debian `apt-get install libespeak-ng1`"


def _place() -> tuple[str, bytes | None]:
    """The library's file, and the folder with its data unless it knows that itself."""
    package = importlib.util.find_spec("espeakng_loader")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent
        for name in ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll"):
            if (folder / name).is_file():
                return str(folder / name), str(folder / "espeak-ng-data").encode()
    found = ctypes.util.find_library("espeak-ng")
    if found is None:
        raise ResourceError("espeak-ng, which turns texts into phonemes, is not installed", fix=_FIX)
    return found, None
