"""Asterisk's English prompts: what a telephone exchange says, one voice, 16 kHz, each with its text.

Recorded by Allison Smith (https://www.theivrvoice.com), paid for by Digium, Inc.; CC BY-SA 3.0, so whoever passes
clips on names both and keeps the licence. The texts are those that come with them, without what is not spoken (notes
in brackets, dots where a sentence goes on in another prompt), with the signs * and # written as the words that are
said and a few slips of the pen corrected. Left out are tones, silence, monkeys, and three prompts of more than 30
seconds, which is all that Whisper hears.

The three tables share no text, case and punctuation aside. Columns: ``audio`` is the path of a FLAC file, from the
table's folder, ``seconds`` its length.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.g722 import RATE, decode
from materials.material import Material
from materials.unpack import unpack
from regraft.fingerprint import uniform

TEXTS = Package(
    name="asterisk-core-sounds-en",
    version="1.6.1-1",
    file="asterisk-core-sounds-en_1.6.1-1_all.deb",
    sha256="973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    registry="debian",
)

# The one package with more than 8 kHz.
SOUNDS = Package(
    name="asterisk-core-sounds-en-g722",
    version="1.6.1-1",
    file="asterisk-core-sounds-en-g722_1.6.1-1_all.deb",
    sha256="38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    registry="debian",
)

HEADER = ("audio", "text", "seconds")
COUNT = 548

# Table → the part of the texts that it gets, drawn by the text.
SPLITS = {"test": 0.16, "validation": 0.08, "train": 0.76}

_LONGEST = 30.0  # seconds

_SPOKEN = {"*": "star", "#": "pound"}

_CORRECTED = {
    "umute": "unmute",
    "represenatives": "representatives",
    "fourtieth": "fortieth",
    "exclaimation-point": "exclamation point",
    "Un-indentified": "Unidentified",
    "witheld": "withheld",
}

_NOTE = re.compile(r"\[[^]]*\]|<[^>]*>|\([^)]*\)")
_PLACE = "usr/share/asterisk/sounds/en_US_f_Allison"


@dataclass(frozen=True)
class Prompt:
    """A clip's name, such as ``digits/1``, and what is said in it."""

    name: str
    text: str


def fill(target: Path, scratch: Path) -> None:
    """Write the clips, the three tables and the licence."""
    package = unpack(download(TEXTS, scratch), scratch / "texts", only=("*/core-sounds-en.txt.gz", "*/copyright"))
    sounds = unpack(download(SOUNDS, scratch), scratch / "sounds", only=("*.g722",)) / _PLACE
    documents = package / "usr/share/doc/asterisk-core-sounds-en"
    listed = gzip.decompress((documents / "core-sounds-en.txt.gz").read_bytes()).decode("utf-8")
    spoken = [prompt for prompt in prompts(listed) if _fits(sounds / f"{prompt.name}.g722")]
    if len(spoken) != COUNT:
        raise DamagedMaterial(f"{TEXTS.file} and {SOUNDS.file} hold {len(spoken)} prompts, not {COUNT}.")
    seconds = write_clips(sounds, target / "clips", [prompt.name for prompt in spoken])
    write_tables(target, spoken, seconds)
    (target / "LICENSE").write_bytes((documents / "copyright").read_bytes())


def prompts(listed: str) -> Iterator[Prompt]:
    """The prompts of a list with lines ``name: text`` in which something is said."""
    for line in listed.splitlines():
        name, colon, text = line.partition(":")
        if colon and not line.startswith(";") and (said := spoken_text(text)):
            yield Prompt(name, said)


def spoken_text(text: str) -> str:
    """What is said, of a text of the list; nothing if that is no words."""
    text = _NOTE.sub(" ", text).replace("...", " ")
    for written, said in {**_SPOKEN, **_CORRECTED}.items():
        text = text.replace(written, said)
    return " ".join(text.split())


def _fits(path: Path) -> bool:
    """Whether there is such a recording (one that is listed was never made), and it is short enough: 8 kB a second."""
    return path.is_file() and 2 * path.stat().st_size <= _LONGEST * RATE


def write_clips(sounds: Path, folder: Path, names: list[str]) -> dict[str, float]:
    """Write each as 16-bit FLAC; the length of each in seconds."""
    import soundfile

    waves = decode([(sounds / f"{name}.g722").read_bytes() for name in names])
    for name, wave in zip(names, waves, strict=True):
        path = folder / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE, subtype="PCM_16")
    return {name: len(wave) / RATE for name, wave in zip(names, waves, strict=True)}


def write_tables(target: Path, spoken: list[Prompt], seconds: Mapping[str, float]) -> None:
    """Write ``train.csv``, ``validation.csv`` and ``test.csv``, ordered by the clips' names."""
    rows: dict[str, list[tuple[str, str, str]]] = {split: [] for split in SPLITS}
    for prompt in sorted(spoken, key=lambda prompt: prompt.name):
        rows[split_of(prompt.text)].append((f"clips/{prompt.name}.flac", prompt.text, f"{seconds[prompt.name]:.3f}"))
    for split, table in rows.items():
        with (target / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(table)


def split_of(text: str) -> str:
    """The table that a text is in; texts that differ in case, punctuation and spaces only are in the same."""
    left = uniform("asterisk", bare(text))
    for split, share in SPLITS.items():
        if left < share:
            return split
        left -= share
    return split


def bare(text: str) -> str:
    """The text in small letters, without punctuation."""
    return " ".join(re.sub(r"[^\w\s]", "", text.casefold()).split())


MATERIAL = Material(
    name="asterisk-en",
    summary="548 prompts of a telephone exchange with their texts, one voice, 16 kHz (27 MB)",
    licence="CC-BY-SA-3.0",
    sources=(TEXTS, SOUNDS),
    fill=fill,
)
