"""G.722: what another decoder gives, and clips that do not disturb each other."""

import base64
import hashlib

import numpy as np
import pytest

from materials.g722 import RATE, decode

# 6000 sin(2π 440 t) + 4000 sin(2π 5000 t), a tone in either band, for 60 ms; coded by ffmpeg 9.0.2.
TONES = base64.b64decode(
    "+hiWIISgoCClpiuuMTm+GpSTEpMWGJ08+LEwsG40tDhe3RaU1VOYWty5eLPwca9z+rhfm9tUlFTT3x7883mwbvSvOft9WZlWUtgT230c9jR07DHy"
    "cx/3HFXaE9VaVJ19f/A08Gw28jhf+BbWWU+eWNS4f7jsdq9z+/E+3H8Q2BRQ3Rbfc1qucvmrf7hwWJ3cz/oRlvxY/TNe6z3vdHi1fNb5EdZdENwe"
    "2+8d8/D1sDFa8ViZ31KcVpW427rxX+wvXW1/vPVTv1bTehLcfF6zdvzpO/UyGfdblr3RlvzT9T5b7Xf3cPqyPFz6VNU+DvwcVHZfsu9d7zZ88FyX"
    "dw57EtneH15vVuwy+rN+vfPT+lbWnxrYOVjy93+sdrc1GnR/UN5Tn3tPtfpfbjv3bn6zf1r1VJRbFN4fVu9Y9m47tHHc8le+n9OfXc/xGH52Pe5y"
    "n619e3tRvlvTulFadFy2NHmq/nkwHflb0b3U1F4U93vc7TVy7hzyeZm4U1b/T7ta2bV4dWsb7TQ6eVqYus6/1lZ7W/3uH63yd3N///USv9bTvdXX"
    "9RrxdXbvOnfxGrfZUv5U07pUul93r3h2rPu1fFi609WcUJr/2PIfMux1svTf7xYZ31aa2dH3WH2yP/Bt"
)
DELAY = 22  # samples, of the filters of coder and decoder


def test_it_gives_bit_for_bit_what_ffmpeg_gives() -> None:
    found = decode([TONES])[0]
    assert found.dtype == np.int16
    assert hashlib.sha256(found.astype("<i2").tobytes()).hexdigest() == (
        "32e4b9752f89dd23b897f228913656e6abcabeabf90d4cbae92e2e4366670164"
    )


def test_both_tones_are_heard_and_little_else() -> None:
    time = np.arange(2 * len(TONES)) / RATE
    meant = 6000 * np.sin(2 * np.pi * 440 * time) + 4000 * np.sin(2 * np.pi * 5000 * time)
    found = decode([TONES])[0].astype(float)
    settled = slice(200, None)
    meant, found = meant[:-DELAY][settled], found[DELAY:][settled]
    noise = 10 * np.log10(np.square(meant).sum() / np.square(meant - found).sum())
    assert noise == pytest.approx(27.6, abs=0.1)  # decibels


def test_clips_side_by_side_are_decoded_as_each_alone() -> None:
    generator = np.random.default_rng(0)
    clips = [generator.integers(0, 256, length, np.uint8).tobytes() for length in (50, 300, 0, 1, 300)]
    for clip, found in zip(clips, decode(clips), strict=True):
        assert len(found) == 2 * len(clip)
        assert np.array_equal(found, decode([clip])[0])


def test_no_clips_give_none() -> None:
    assert decode([]) == []
