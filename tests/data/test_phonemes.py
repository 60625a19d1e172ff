"""Texts as phonemes, by espeak-ng; where that is not installed, saying so is all there is to test."""

import subprocess
import sys

import pytest

from regraft.data.phonemes import available, ended_by, phonemes
from regraft.errors import RecipeError


@pytest.fixture
def espeak() -> None:
    if reason := available():
        pytest.skip(reason)


def test_words_and_signs_are_as_piper_writes_them(espeak: None) -> None:
    """What piper-tts 1.8.0 gives, sentences joined as in its training."""
    texts = ["Hello, world. How are you?", "Press 1 now...", "Well: no; yes", ""]
    assert phonemes(texts) == ["həlˈoʊ, wˈɜːld.hˈaʊ ɑːɹ juː?", "pɹˈɛs wˈʌn nˈaʊ", "wˈɛl: nˈoʊ; jˈɛs", ""]


def test_accents_are_characters_of_their_own(espeak: None) -> None:
    found = phonemes(["ich bin"], "de")[0]
    assert "ç" not in found
    assert "c\u0327" in found


def test_the_voice_decides_and_is_not_left_over(espeak: None) -> None:
    english, german = phonemes(["water"], "en-us"), phonemes(["water"], "de")
    assert english == ["wˈɔːɾɚ"]
    assert german != english
    assert phonemes(["water"], "en-us") == english


def test_another_language_is_spoken_without_saying_so(espeak: None) -> None:
    assert "(" not in phonemes(["das Wochenende beim Computer mit dem Download"], "de")[0]


def test_a_voice_that_is_not_there_is_an_error(espeak: None) -> None:
    with pytest.raises(RecipeError, match="no voice 'xx-nowhere'"):
        phonemes(["hello"], "xx-nowhere")


@pytest.mark.parametrize(
    ("read", "sign"),
    [
        ("Hello, w", ", "),
        ("Wait?! N", "?"),
        ('said "hello."', "."),
        ("(so it is!) a", "!"),
        ("and left — c", "; "),
        ("Press 1 now...", ""),
        ("Hello… w", ""),
        ("a,b", ""),
        ("version 3.5", ""),
        ("one\n\nt", ""),
    ],
)
def test_the_sign_is_found_in_what_was_read(read: str, sign: str) -> None:
    assert ended_by(read) == sign


WITHOUT = """
import ctypes.util, importlib.util
ctypes.util.find_library = importlib.util.find_spec = lambda name: None
from regraft.data.phonemes import available, phonemes
from regraft.errors import ResourceError
try:
    phonemes(["hello"])
except ResourceError as error:
    print(available(), error.fix)
"""


def test_without_espeak_it_says_what_to_install() -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True).stdout
    assert "is not installed" in said
    assert "pip install espeakng-loader" in said
