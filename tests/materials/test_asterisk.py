"""The prompts of Asterisk: clips of 16 kHz with what is said in them."""

import csv
from pathlib import Path

import pytest
import soundfile

from materials.asterisk import COUNT, HEADER, SPLITS, bare, prompts, split_of, spoken_text

MATERIAL = "asterisk-en"


def rows(place: Path, split: str) -> list[dict[str, str]]:
    with (place / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("split", "clips", "words"), [("train", 420, 2251), ("validation", 43, 188), ("test", 85, 479)]
)
def test_a_table_has_known_clips_and_words(place: Path, split: str, clips: int, words: int) -> None:
    table = rows(place, split)
    assert tuple(table[0]) == HEADER
    assert len(table) == clips
    assert sum(len(row["text"].split()) for row in table) == words


def test_every_clip_is_in_one_table_and_no_text_in_two(place: Path) -> None:
    tables = {split: rows(place, split) for split in SPLITS}
    named = [row["audio"] for table in tables.values() for row in table]
    assert len(set(named)) == len(named) == COUNT
    assert {path.relative_to(place).as_posix() for path in (place / "clips").rglob("*.flac")} == set(named)
    texts = [{bare(row["text"]) for row in table} for table in tables.values()]
    assert len(set.union(*texts)) == sum(len(found) for found in texts)


def test_a_clip_is_mono_of_16_khz_and_as_long_as_is_said(place: Path) -> None:
    for row in rows(place, "test"):
        info = soundfile.info(place / row["audio"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert float(row["seconds"]) == pytest.approx(info.duration, abs=0.001)
        assert 0.1 < info.duration <= 30
    wave, _ = soundfile.read(place / "clips" / "hello-world.flac")
    assert 0.05 < abs(wave).max() < 1


def test_the_licence_names_the_speaker(place: Path) -> None:
    text = (place / "LICENSE").read_text(encoding="utf-8")
    assert "Allison Smith" in text
    assert "CC-BY-SA-3.0" in text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (" [ascending tones]", ""),
        (" <beep ascending>", ""),
        (" (10 seconds of silence)", ""),
        (" ...", ""),
        (" at [@]", "at"),
        (' IAX (note: does not say "2")', "IAX"),
        (" ...to lock, or  unlock it.", "to lock, or unlock it."),
        (" This message lasts ...", "This message lasts"),
        (" press * to pause, # to exit", "press star to pause, pound to exit"),
        (" to mute or umute all", "to mute or unmute all"),
    ],
)
def test_what_is_not_spoken_goes(written: str, said: str) -> None:
    assert spoken_text(written) == said


def test_a_list_is_read() -> None:
    found = list(prompts("; Sounds\n\nbeep: [a beep]\ndigits/1: one\nvm-login: Mail.  Mailbox: which?\n"))
    assert [(prompt.name, prompt.text) for prompt in found] == [
        ("digits/1", "one"),
        ("vm-login", "Mail. Mailbox: which?"),
    ]


def test_a_split_sees_neither_case_nor_punctuation() -> None:
    for text in ("Goodbye!", "Please try again.", "Thank you.", "I'm sorry."):
        assert split_of(text) == split_of(text.upper().replace("!", " !").replace("'", ""))
