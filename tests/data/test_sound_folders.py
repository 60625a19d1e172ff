"""Folders of sounds in place of tables, and tables with a column of sounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.data import BadRow, Column, Example, Splits, load_splits, read_examples, stream_examples
from regraft.data.sounds import Sound, open_sound
from regraft.data.table import read_header
from regraft.errors import DataError
from tests.data.images import write_image
from tests.data.samples import LABEL, options_for, parse_text
from tests.data.sounds import write_sound

Write = Callable[[str, str | bytes], str]

AUDIO = Column("audio", "input", parse_text, synonyms=("file_name", "path"), opens=open_sound)
SAID = Column("text", "target", parse_text, synonyms=("transcription", "sentence"))
SOUNDS = (AUDIO, LABEL)


def read(
    path: str | Path, columns: tuple[Column, ...] = SOUNDS, **given: Any
) -> tuple[list[Example], list[BadRow], dict[str, str]]:
    return read_examples(str(path), columns, options_for(path, **{"on_bad_rows": "skip", **given}))


def bad(path: str | Path, columns: tuple[Column, ...] = SOUNDS) -> list[str]:
    return [str(row) for row in read(path, columns)[1]]


def error(path: str | Path, columns: tuple[Column, ...] = SOUNDS) -> str:
    with pytest.raises(DataError) as raised:
        read(path, columns)
    return str(raised.value)


def load(path: str | Path, columns: tuple[Column, ...] = SOUNDS, **given: Any) -> Splits:
    return load_splits(options_for(path, **given), columns, seed=0, stratify=True)


def sounds(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write_sound(folder / name, seed=seed, seconds=0.05)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    folder = tmp_path / "words"
    sounds(folder, "yes/2.wav", "yes/10.flac", "no/deep/1.ogg", "no/3.mp3")
    return folder


# A column of paths.


def test_a_path_in_a_cell_starts_from_the_folder_of_the_table(tmp_path: Path, write: Write) -> None:
    sounds(tmp_path, "clips/a.wav", "b.flac")
    (first, second), _, mapping = read(write("a.csv", "file_name,label\nclips/a.wav,yes\nb.flac,no\n"))
    assert isinstance(first.inputs["audio"], Sound)
    assert first.inputs["audio"].path == str(tmp_path / "clips" / "a.wav")
    assert (second.target, second.row) == ("no", 3)
    assert mapping == {"audio": "file_name", "label": "label"}


def test_every_file_that_cannot_be_used_names_its_row_and_column(tmp_path: Path, write: Write) -> None:
    sounds(tmp_path, "good.wav", "cut.wav")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-200])
    rows = ["good.wav", "cut.wav", "god.wav", "good.flac", "", "http://x.org/a.wav", "a.csv"]
    path = write("a.csv", "path,label\n" + "".join(f"{row},yes\n" for row in rows))
    assert bad(path) == [
        f"{path}, row 3, column 'path': is truncated: 1,400 of its 1,600 bytes of samples are there",
        f"{path}, row 4, column 'path': names no file: 'god.wav'; did you mean 'good.wav'?",
        f"{path}, row 5, column 'path': names no file: 'good.flac'; did you mean 'good.wav'?",
        f"{path}, row 6, column 'path': is empty",
        f"{path}, row 7, column 'path': is an address: 'http://x.org/a.wav'; fetch the file into the data folder first",
        f"{path}, row 8, column 'path': is no sound that can be read: it begins with b'path,label\\ngood.', "
        "and read are WAV, FLAC, Ogg, MP3 and AIFF",
    ]


@pytest.mark.parametrize("cell", ["../secret.wav", "link.wav", "folder/a.wav", "inside/../../secret.wav"])
def test_no_path_leads_out_of_the_data_folder(tmp_path: Path, cell: str) -> None:
    data = tmp_path / "data"
    sounds(tmp_path, "secret.wav", "other/a.wav", "data/inside/a.wav")
    (data / "link.wav").symlink_to(tmp_path / "secret.wav")
    (data / "folder").symlink_to(tmp_path / "other")
    (data / "metadata.csv").write_text(f"file_name,label\n{cell},yes\ninside/a.wav,no\n")
    (said,) = bad(data)
    assert f"row 2, column 'file_name': leads out of the data folder {data}" in said


# A folder per class.


def test_a_folder_for_each_class_is_a_table_sorted_by_path(words: Path) -> None:
    examples, rows, mapping = read(words)
    assert mapping == {"audio": "audio", "label": "label"}
    assert rows == []
    assert [(example.file, example.row, example.target) for example in examples] == [
        (f"{words}/no/3.mp3", 1, "no"),
        (f"{words}/no/deep/1.ogg", 2, "no"),
        (f"{words}/yes/10.flac", 3, "yes"),
        (f"{words}/yes/2.wav", 4, "yes"),
    ]


@pytest.mark.parametrize("ending", ["m4a", "AAC", "wma", "amr", "mp4", "webm"])
def test_a_sound_of_a_kind_that_is_not_read_is_named_and_not_passed_over(words: Path, ending: str) -> None:
    (words / "yes" / f"9.{ending}").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0")
    (said,) = bad(words)
    assert said == (
        f"{words}/yes/9.{ending}, row 5, column 'audio': is MP4 or M4A (AAC), which is not read; save it as WAV or FLAC"
    )


def test_what_is_passed_over_is_counted(words: Path) -> None:
    for name in ("yes/Thumbs.db", "no/cover.jpg", "no/._3.wav", "README.md"):
        (words / name).write_bytes(b"?")
    (words / "maybe").mkdir()
    write_sound(words / "lost.wav", seed=9)
    assert load(words, split={"train": 1.0, "validation": 0.0, "test": 0.0}).notes == [
        f"{words}: 3 files not named like a sound are passed over: no/._3.wav, no/cover.jpg, yes/Thumbs.db.",
        f"{words}: 1 file in no folder of a class is passed over: lost.wav.",
        f"{words}: there are no sounds in 'maybe'.",
    ]


def test_links_in_a_folder_are_followed_inside_it_only(words: Path, tmp_path: Path) -> None:
    sounds(tmp_path, "outside/a.wav")
    (words / "maybe").symlink_to(tmp_path / "outside")
    assert bad(words) == [f"{words}/maybe, row 1: leads out of the data folder"]


def test_prediction_takes_a_folder_of_sounds_alone(words: Path) -> None:
    items = list(stream_examples(str(words / "yes"), SOUNDS, options_for(words / "yes")))
    assert [(item.file, item.row) for item in items] == [(f"{words}/yes/10.flac", 1), (f"{words}/yes/2.wav", 2)]


def test_a_folder_that_does_not_say_what_is_asked_says_what_to_write(words: Path) -> None:
    said = error(words, (AUDIO, SAID))
    assert f"{words} holds a folder for each class; that does not say what the 'text' of a sound is" in said
    assert "name a table with the columns 'audio' and 'text', or put one named metadata.csv into it" in said
    assert "holds sounds alone; that does not say what the 'label' of a sound is" in error(words / "yes")


def test_a_folder_without_sounds_says_so(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "a.png")
    said = error(tmp_path)
    assert f"{tmp_path} is not a file but a folder, and one without sounds" in said
    assert "files that end in .wav" in said


def test_the_task_decides_what_is_read_of_a_folder_with_images_and_sounds(words: Path) -> None:
    write_image(words / "yes" / "spectrogram.png")
    assert len(read(words)[0]) == 4
    image = Column("image", "input", parse_text, opens=lambda path: path.name)
    assert [example.inputs["image"] for example in read(words, (image, LABEL))[0]] == ["spectrogram.png"]


def test_a_folder_of_sounds_shows_what_it_is_where_nobody_asks(words: Path) -> None:
    assert read_header(str(words), options_for(words)) == ["audio", "label"]
    assert read_header(str(words / "yes"), options_for(words)) == ["audio"]


def test_a_folder_named_masks_is_a_class_of_sounds(tmp_path: Path) -> None:
    sounds(tmp_path, "images/a.wav", "masks/b.wav")
    assert [example.target for example in read(tmp_path)[0]] == ["images", "masks"]


# A table in the folder.


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_metadata_in_a_folder_is_its_table(tmp_path: Path, ending: str) -> None:
    sounds(tmp_path, "clips/a.wav", "clips/b.flac")
    rows = [{"file_name": "clips/a.wav", "transcription": "yes"}, {"file_name": "clips/b.flac", "transcription": "no"}]
    path = tmp_path / f"metadata.{ending}"
    if ending == "csv":
        path.write_text("file_name,transcription\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    examples, _, mapping = read(tmp_path, (AUDIO, SAID))
    assert [(example.file, example.target) for example in examples] == [(str(path), "yes"), (str(path), "no")]
    assert mapping == {"audio": "file_name", "text": "transcription"}


# The sides of a split.


@pytest.fixture
def sided(tmp_path: Path) -> Path:
    folder = tmp_path / "sided"
    counts = {"train": 6, "validation": 2, "test": 3}
    sounds(
        folder,
        *(f"{side}/{label}/{n}.wav" for side, count in counts.items() for label in ("no", "yes") for n in range(count)),
    )
    return folder


def test_folders_of_a_split_are_its_sides(sided: Path) -> None:
    splits = load(sided)
    assert [len(side) for side in (splits.train, splits.validation, splits.test)] == [12, 4, 6]
    assert splits.train[0].file == f"{sided}/train/no/0.wav"


def test_each_side_may_have_a_table_of_its_own(sided: Path) -> None:
    for side in ("train", "validation", "test"):
        rows = [f"{path.relative_to(sided / side)},said\n" for path in sorted((sided / side).rglob("*.wav"))]
        (sided / side / "metadata.csv").write_text("file_name,text\n" + "".join(rows))
    splits = load(sided, (AUDIO, SAID))
    assert [len(side) for side in (splits.train, splits.validation, splits.test)] == [12, 4, 6]


def test_the_same_sound_on_two_sides_is_left_out_of_train(sided: Path) -> None:
    (sided / "train" / "no" / "again.wav").write_bytes((sided / "test" / "no" / "0.wav").read_bytes())
    assert "1 row of train left out, because test has the same inputs" in load(sided).notes[0]
