"""Opening sounds: every kind as one channel at any rate; what is damaged or too long is told in plain words."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from regraft.data import sounds
from regraft.data.sounds import MOST_SECONDS, loose_sound, open_sound, playable
from regraft.errors import DataError, ResourceError
from regraft.fingerprint import example_id
from tests.data.sounds import KINDS, RATE, chirp, packed, set_bytes, wav, write_sound

Write = Callable[[str, str | bytes], str]
EXACT = ["wav", "flac", "aiff"]


def samples(path: Path | str, rate: int = RATE) -> np.ndarray:
    found = open_sound(Path(path)).samples(rate)
    assert (found.dtype, found.ndim) == (np.float32, 1)
    return found


def reason(path: Path | str) -> str:
    with pytest.raises(ValueError, match="^(is|has|holds|says|cannot be read)") as raised:
        open_sound(Path(path))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", EXACT)
def test_lossless_formats_give_their_samples(tmp_path: Path, ending: str) -> None:
    expected = np.round(chirp() * 32768) / 32768
    assert np.abs(samples(write_sound(tmp_path / f"a.{ending}")) - expected).max() <= 1 / 32768


@pytest.mark.parametrize("ending", ["ogg", "opus", "mp3"])
def test_lossy_formats_are_near_to_what_was_heard(tmp_path: Path, ending: str) -> None:
    found = samples(write_sound(tmp_path / f"a.{ending}", seconds=1))
    assert np.corrcoef(found[2000:14000], chirp(1)[2000:14000])[0, 1] > 0.98
    assert len(found) == RATE


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_width_of_samples_is_read(write: Write, subtype: str) -> None:
    found = samples(write("a.wav", packed(chirp(), ("WAV", subtype))))
    assert np.abs(found - chirp()).max() < 0.03


def test_what_is_known_of_a_sound(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", rate=44_100, channels=2, seconds=0.5)
    sound = open_sound(path)
    assert (sound.rate, sound.frames, sound.channels, sound.seconds) == (44_100, 22_050, 2, 0.5)
    assert sound.peak == pytest.approx(np.abs(chirp(0.5, rate=44_100, channels=2)).max(), abs=1e-4)
    assert sound.clipped == 0


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac").rename(tmp_path / "a.mp3")
    assert open_sound(path).content == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_copy_elsewhere_is_the_same_example(tmp_path: Path) -> None:
    first, second = (open_sound(write_sound(tmp_path / name)) for name in ("a.wav", "folder/b.wav"))
    assert example_id({"audio": first}) == example_id({"audio": second})
    assert example_id({"audio": first}) != example_id({"audio": open_sound(write_sound(tmp_path / "c.wav", seed=1))})


def test_a_sound_can_be_sent_to_another_process(tmp_path: Path) -> None:
    sound = open_sound(write_sound(tmp_path / "a.wav"))
    assert pickle.loads(pickle.dumps(sound)) == sound


def test_samples_can_be_written_to_and_are_new_each_time(tmp_path: Path) -> None:
    sound = open_sound(write_sound(tmp_path / "a.wav"))
    sound.samples(RATE)[:] = 0
    assert sound.samples(RATE).any()


@pytest.mark.parametrize("kind", KINDS)
def test_channels_are_mixed_to_their_mean(tmp_path: Path, kind: str) -> None:
    path = write_sound(tmp_path / f"a.{kind}", channels=2)
    both, _ = soundfile.read(path, dtype="float32")
    assert np.abs(samples(path) - both.mean(axis=1)).max() < 1e-5


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (8_000, 16_000), (48_000, 22_050), (16_000, 16_000)])
def test_a_sound_has_the_rate_that_is_asked_for(tmp_path: Path, old: int, new: int) -> None:
    found = samples(write_sound(tmp_path / "a.wav", rate=old, seconds=1), new)
    assert abs(len(found) - new) <= 1


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_sound(tmp_path / f"a.{kind}", rate=24_000, seconds=1) for kind in KINDS]
    whole = [samples(path) for path in paths]
    monkeypatch.setattr(sounds, "_BLOCK", 1000)
    for path, found in zip(paths, whole, strict=True):
        np.testing.assert_array_equal(samples(path), found)


def test_samples_are_what_soxr_makes_of_the_whole(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", rate=44_100, seconds=3)
    whole, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(samples(path), soxr.resample(whole, 44_100, 16_000, quality="HQ"))


def test_a_tone_keeps_its_pitch(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000).astype(np.float32) / 2
    (tmp_path / "a.wav").write_bytes(packed(tone, rate=48_000))
    assert np.abs(np.fft.rfft(samples(tmp_path / "a.wav"))).argmax() == 1000


def test_many_threads_give_what_one_gives(tmp_path: Path) -> None:
    kinds = list(KINDS)
    paths = [write_sound(tmp_path / f"{seed}.{kinds[seed % len(kinds)]}", seed=seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_sound, paths)) == [open_sound(path) for path in paths]


# What is wrong with a file.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = write_sound(tmp_path / f"a.{kind}", seconds=2)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert reason(path).startswith("is truncated")


def test_a_few_bytes_that_are_missing_do_no_harm(tmp_path: Path, write: Write) -> None:
    data = (chirp() * 32767).astype("<i2").tobytes()
    assert len(samples(write("a.wav", wav(data, declared=len(data) + 44)))) == RATE // 4
    path = write_sound(tmp_path / "a.mp3", seconds=1)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(samples(path)) > 0.9 * RATE


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_at_the_end_does_no_harm(write: Write, kind: str) -> None:
    assert len(samples(write("a", packed(chirp(), kind) + b"TAG" + bytes(125)))) == RATE // 4


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_tag_at_the_beginning_does_no_harm(write: Write, kind: str) -> None:
    tag = b"ID3\4\0\0\0\0\x07\x76" + bytes(1014)
    np.testing.assert_array_equal(
        samples(write("a", tag + packed(chirp(), kind))), samples(write("b", packed(chirp(), kind)))
    )


@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_that_was_written_into_a_pipe_is_read_to_its_end(write: Write, declared: int) -> None:
    data = (chirp() * 32767).astype("<i2").tobytes()
    assert len(samples(write("a.wav", wav(data, declared=declared)))) == RATE // 4


def test_a_wav_that_was_not_finished_says_so(write: Write) -> None:
    said = reason(write("a.wav", wav(bytes(8000), declared=0)))
    assert said.startswith("says that it holds no samples, and 8,000 bytes follow")


def test_two_mp3s_in_one_file_are_refused_where_one_would_be_read(write: Write) -> None:
    content = packed(chirp(1), "mp3")
    assert reason(write("a.mp3", content * 2)).startswith("says that it ends after 1.00 s, and goes on to 2.")


def test_an_mp3_without_a_word_on_its_length_that_is_not_read_whole_is_refused(write: Write) -> None:
    quiet = np.concatenate([chirp(1), np.zeros(5 * RATE, np.float32)])
    content = packed(quiet, "mp3")
    untold = set_bytes(content, content.index(b"Xing"), bytes(4))
    assert reason(write("a.mp3", untold)).startswith("says that it ends after")


def test_an_mp3_without_a_word_on_its_length_is_not_taken_for_one_that_was_cut(write: Write) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 3 * RATE)
    content = packed(np.concatenate([np.zeros(RATE), noise]).astype(np.float32), "mp3")
    second = content.index(content[:2], 2)  # the first frame is the one that tells
    assert b"Xing" not in content[second:]
    assert len(samples(write("a.mp3", content[second:]))) >= 4 * RATE


def test_two_oggs_in_one_file_are_refused_where_one_would_be_read(write: Write) -> None:
    content = packed(chirp(), "ogg") + packed(chirp(seed=1), "ogg")
    assert reason(write("a.ogg", content)).startswith("holds several streams")


def test_an_mp3_with_a_false_length_is_truncated_or_too_long(write: Write) -> None:
    content = packed(chirp(1), "mp3")
    place = content.index(b"Xing") + 8
    assert reason(write("a.mp3", set_bytes(content, place, struct.pack(">I", 1000)))).startswith("is truncated")
    assert reason(write("a.mp3", set_bytes(content, place, struct.pack(">I", 1 << 31)))).startswith("is longer than")


def test_a_flac_that_does_not_know_its_length_is_read_to_its_end(write: Write) -> None:
    content = packed(chirp(), "flac")
    unknown = set_bytes(content, 8 + 13, [content[8 + 13] & 0xF0, 0, 0, 0, 0])
    assert len(samples(write("a.flac", unknown))) == RATE // 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is no sound that can be read: it begins with b'<!DOCTYPE html><'"),
        (b"version https://git-lfs.github.com/spec/v1", "is no sound that can be read"),
        (b"RIFF\x04\0\0\0WEBP", "is no sound that can be read"),
        (b"\0\0\0\x20ftypM4A ", "is MP4 or M4A (AAC), which is not read; save it as WAV or FLAC"),
        (b"\xff\xf1\x50\x80", "is AAC, which is not read"),
        (b"0&\xb2u\x8ef\xcf\x11", "is WMA, which is not read"),
        (b"#!AMR\n", "is AMR, which is not read"),
        (b"\x1aE\xdf\xa3", "is WebM or Matroska, which is not read"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "is RF64, which is not read"),
        (b"RIFF\0\0\0\0WAVE", "is damaged, or of a kind that cannot be read"),
        (b"FORM\0\0\0\0AIFF", "is damaged, or of a kind that cannot be read"),
        (b"OggS", "is truncated: its last page is cut off"),
        (b"fLaC", "is damaged"),
        (b"ID3", "is damaged"),
        (b"\xff\xfb\x90", "is damaged"),
        (wav(b""), "is empty: it holds no samples"),
        (wav(bytes(8000)), "is silent"),
        (wav(bytes(8000), rate=0), "is damaged"),
        (wav(bytes(8000), rate=3999), "has a rate of 3,999 Hz; read are 4,000 to 192,000"),
        (wav(bytes(8000), rate=192_001), "has a rate of 192,001 Hz"),
        (wav(bytes(8100), channels=9), "has 9 channels; at most 8 are read"),
    ],
)
def test_what_is_no_good_says_so(write: Write, content: bytes, said: str) -> None:
    assert reason(write("a.wav", content)).startswith(said)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("channels", [1, 2])
def test_one_sample_that_is_not_finite_spoils_a_sound(write: Write, value: float, channels: int) -> None:
    values = chirp(channels=channels).astype(np.float64)
    values[1234, ...] = value
    assert reason(write("a.wav", packed(values, ("WAV", "DOUBLE")))) == "holds samples that are not finite"


@pytest.mark.parametrize("level", [0.0, 0.5, -1.0])
def test_a_line_that_never_moves_is_silence(write: Write, level: float) -> None:
    assert reason(write("a.flac", packed(np.full(4000, level, np.float32), "flac"))) == "is silent"


def test_the_last_bit_alone_is_silence(write: Write) -> None:
    dither = np.random.default_rng(0).integers(-1, 2, 8000).astype("<i2")
    assert reason(write("a.wav", wav(dither.tobytes()))) == "is silent"


def test_channels_that_cancel_each_other_say_so(write: Write) -> None:
    both = np.stack([chirp(), -chirp()], axis=1)
    said = reason(write("a.wav", packed(both, ("WAV", "FLOAT"))))
    assert said == "is silent as the mean of its channels: they cancel each other"


def test_whole_numbers_saved_as_floating_point_ones_are_refused(write: Write) -> None:
    content = packed(chirp() / np.abs(chirp()).max() * 32767, ("WAV", "FLOAT"))
    said = reason(write("a.wav", content))
    assert said == "has samples up to 32767, where 1 is full scale; divide them and save it again"


def test_what_is_louder_than_full_scale_is_kept(write: Write) -> None:
    path = write("a.wav", packed(chirp() * 4, ("WAV", "FLOAT")))
    assert open_sound(Path(path)).peak == pytest.approx(4 * np.abs(chirp()).max())
    np.testing.assert_array_equal(samples(path), chirp() * 4)


@pytest.mark.parametrize("kind", ["wav", "flac", ("WAV", "PCM_U8"), ("WAV", "FLOAT")], ids=str)
def test_flat_runs_at_full_scale_are_clipped(write: Write, kind: Any) -> None:
    values = np.clip(chirp() * 4, -1, 1)
    found = open_sound(Path(write("a", packed(values, kind)))).clipped
    assert found == pytest.approx(np.mean(np.abs(values) == 1), abs=0.02)


def test_a_tone_that_just_reaches_full_scale_is_not_clipped(write: Write) -> None:
    tone = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    assert open_sound(Path(write("a.wav", packed(tone)))).clipped == 0


def test_folders_pipes_and_nothing_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason(tmp_path) == f"is not a file: {tmp_path}"
    assert reason(tmp_path / "pipe.wav") == f"is not a file: {tmp_path}/pipe.wav"
    assert reason(tmp_path / "nothing.wav") == f"is not there: {tmp_path}/nothing.wav"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav")
    path.chmod(0)
    assert reason(path) == "cannot be read: Permission denied"


def test_a_file_that_changed_is_not_taken_for_the_one_that_was_listened_to(tmp_path: Path) -> None:
    sound = open_sound(write_sound(tmp_path / "a.wav"))
    write_sound(tmp_path / "a.wav", seed=1)
    with pytest.raises(DataError, match="has changed since it was listened to"):
        sound.samples(RATE)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    sound = open_sound(write_sound(tmp_path / "a.wav"))
    (tmp_path / "a.wav").unlink()
    with pytest.raises(DataError, match="a.wav: is not there"):
        sound.samples(RATE)


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    path = write_sound(tmp_path / "a.wav")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ResourceError, match=f'sounds need {package}.*\n  → pip install "regraft\\[audio\\]"'):
        samples(path, 8000)


# Bombs.

BOMB = """
import resource, sys
from pathlib import Path
from regraft.data.sounds import open_sound

open_sound(Path(sys.argv[1])).samples(8000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, open_sound(Path(sys.argv[2])))
except ValueError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def bomb(folder: Path, content: bytes) -> tuple[int, str]:
    """KB on top of what a small sound took (bytes on macOS, where bounds are then stricter), and what was said."""
    (folder / "bomb").write_bytes(content)
    small = write_sound(folder / "small.wav")
    told = subprocess.run(
        [sys.executable, "-c", BOMB, small, folder / "bomb"], capture_output=True, text=True, check=True, timeout=100
    )
    used, said = told.stdout.split(maxsplit=1)
    return int(used), said


def test_an_hour_of_flac_is_refused_by_its_header(tmp_path: Path) -> None:
    content = packed(np.zeros(3600 * RATE, np.int16), "flac")
    assert len(content) < 300_000
    used, said = bomb(tmp_path, content)
    assert said == f"is longer than {MOST_SECONDS} s (3,600 s); cut it into parts\n"
    assert used < 20_000


def test_an_hour_of_flac_that_does_not_say_so_is_read_up_to_the_limit_in_little_memory(tmp_path: Path) -> None:
    content = packed(np.tile((chirp(1) * 32767).astype(np.int16), 3600), "flac")
    used, said = bomb(tmp_path, set_bytes(content, 8 + 13, [content[8 + 13] & 0xF0, 0, 0, 0, 0]))
    assert said.startswith(f"is longer than {MOST_SECONDS} s")
    assert used < 50_000


@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0xF0000000, 0x40000000])
def test_a_wav_that_claims_gigabytes_takes_none(tmp_path: Path, declared: int) -> None:
    used, said = bomb(tmp_path, wav((chirp() * 32767).astype("<i2").tobytes(), declared=declared))
    assert "is truncated" in said if declared == 0x40000000 else "frames=4000" in said
    assert used < 20_000


def test_a_wav_of_gigabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(b"", declared=0xF0000000 - 44))
    os.truncate(path, 0xF0000000)  # with holes
    assert reason(path).startswith("is longer than")


def test_an_mp3_that_claims_days_takes_no_memory(tmp_path: Path) -> None:
    content = packed(chirp(1), "mp3")
    used, said = bomb(tmp_path, set_bytes(content, content.index(b"Xing") + 8, b"\x7f\xff\xff\xff"))
    assert said.startswith("is longer than")
    assert used < 20_000


def test_many_channels_at_a_high_rate_are_refused_by_their_number(tmp_path: Path) -> None:
    header = wav(b"", rate=192_000, channels=8, declared=16 * 192_000 * 500)
    (tmp_path / "a.wav").write_bytes(header)
    os.truncate(tmp_path / "a.wav", len(header) + 16 * 192_000 * 500)
    assert reason(tmp_path / "a.wav").startswith("has 768 million samples in 8 channels; at most 100 million")


# Sounds from Python.


@pytest.mark.parametrize(
    "value",
    [
        (chirp(), RATE),
        (chirp().astype(np.float64), RATE),
        {"array": chirp(), "sampling_rate": RATE},
        (np.stack([chirp(), chirp()], axis=1), RATE),
        (chirp().tolist(), RATE),
    ],
    ids=["floats", "doubles", "dictionary", "stereo", "list"],
)
def test_a_sound_from_python_is_one_channel(value: Any) -> None:
    sound = loose_sound(value)
    np.testing.assert_allclose(sound.samples(RATE), chirp(), atol=1e-7)
    assert (sound.frames, sound.seconds) == (4000, 0.25)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8])
def test_whole_numbers_have_their_own_full_scale(kind: type) -> None:
    limits = np.iinfo(kind)
    values = np.round((chirp() + (limits.min == 0)) * limits.max / (2 if limits.min == 0 else 1)).astype(kind)
    assert np.abs(loose_sound((values, RATE)).samples(RATE) - chirp()).max() < 0.01


def test_a_sound_from_python_is_what_the_same_sound_in_a_file_is(write: Write) -> None:
    path = write("a.wav", packed(chirp(1, rate=44_100), ("WAV", "FLOAT"), rate=44_100))
    loose = loose_sound((chirp(1, rate=44_100), 44_100))
    np.testing.assert_array_equal(loose.samples(RATE), samples(path))


def test_the_content_of_a_sound_from_python_is_its_samples_and_rate() -> None:
    first, same = loose_sound((chirp(), RATE)), loose_sound({"array": chirp(), "sampling_rate": RATE})
    assert example_id({"audio": first}) == example_id({"audio": same})
    assert first.content not in {loose_sound((chirp(), 8000)).content, loose_sound((chirp(seed=1), RATE)).content}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a.wav", "is str; a sound is (samples, rate)"),
        (chirp(), "is ndarray; a sound is (samples, rate)"),
        ((chirp(), 16_000.0), "is tuple; a sound is (samples, rate), the rate a whole number"),
        ((chirp(channels=2).T, RATE), "has samples [2, 4000]; they are [n, channels]: turn them round"),
        ((np.zeros((2, 2, 2)), RATE), "is float64 [2, 2, 2]"),
        ((np.array(["a"]), RATE), "is <U1 [1, 1]"),
        ((np.zeros(0), RATE), "is empty: it holds no samples"),
        ((np.zeros(100), RATE), "is silent"),
        ((np.full(100, np.nan), RATE), "holds samples that are not finite"),
        ((np.array([0, 1e300]), RATE), "holds samples that are not finite"),
        ((chirp(), 10), "has a rate of 10 Hz"),
        ((np.zeros(601 * 4000), 4000), "is longer than 600 s"),
    ],
)
def test_what_is_no_sound_from_python_says_so(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match="^(is|has|holds)") as raised:
        loose_sound(value)
    assert str(raised.value).startswith(said)


# Sounds to play.


def test_what_is_playable_is_a_file_of_16_bits(write: Write) -> None:
    content = playable(chirp(2), RATE)
    assert content.startswith(b"fLaC")
    assert np.abs(samples(write("a", content)) - chirp(2)).max() < 1e-4


def test_noise_is_playable_as_wav() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    assert playable(noise, RATE).startswith(b"RIFF")


def test_what_is_too_loud_is_cut_and_does_not_wrap(write: Write) -> None:
    found = samples(write("a", playable(chirp() * 3, RATE)))
    assert np.abs(found - np.clip(chirp() * 3, -1, 1)).max() < 1e-4
