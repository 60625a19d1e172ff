"""What is planted in rows is found and told with its rows; of sound rows nothing grave is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft import make_recipe
from regraft.errors import QualityError
from regraft.quality import Finding, Quality, left_out, look, require_sound
from regraft.sources import read_data
from regraft.tasks import make_task
from regraft.testing import toy_table

Rows = Sequence[Sequence[str]]


def _written(file: Path, rows: Rows, header: Sequence[str] = ("text", "label")) -> str:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])
    return str(file)


def _look(data: dict[str, Any], task: str = "text-classification") -> Quality:
    recipe = make_recipe({"task": task, "data": data})
    made = make_task(recipe.task)
    splits, answers = read_data(recipe, made)
    return look(recipe, made, splits, answers, model=False)


def _of(quality: Quality, kind: str) -> list[Finding]:
    return [finding for finding in quality.findings if finding.kind == kind]


def _sentences(count: int, seed: int = 0) -> list[list[str]]:
    """Sentences of ten made-up words, half of each label; the words say nothing of it."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(400)]
    return [[" ".join(rng.choice(words, 10)), ("good", "bad")[place % 2]] for place in range(count)]


def _changed(text: str, way: int) -> str:
    words = text.split()
    ways: list[Callable[[], str]] = [
        lambda: " ".join(words[1:]),
        lambda: text.upper().replace(" ", ", ") + "!",
        lambda: " ".join([*words[:5], "and", *words[5:]]),
        lambda: text.replace(words[3], words[3][::-1]),
    ]
    return ways[way % len(ways)]()


def test_rows_of_test_that_are_nearly_rows_of_train_are_found_and_grave(tmp_path: Path) -> None:
    train, test = _sentences(200), _sentences(60, seed=1)
    copies = [[_changed(text, way), label] for way, (text, label) in enumerate(train[:20])]
    data = {
        "train": _written(tmp_path / "a.csv", train),
        "test": _written(tmp_path / "b.csv", [*test, *copies]),
        "split": {"validation": 0},
    }
    (found,) = [each for each in _of(_look(data), "near-duplicates") if "test" in each.told]
    assert (found.level, found.count) == ("error", 20)
    pairs = {(item.rows[0].row, item.rows[1].row) for item in found.items}
    assert pairs == {(place + 2, len(test) + place + 2) for place in range(20)}
    with pytest.raises(QualityError, match="20 rows of test are nearly equal to one of train"):
        require_sound(_look(data))


def test_of_sound_rows_nothing_is_said(tmp_path: Path) -> None:
    quality = _look({"train": _written(tmp_path / "a.csv", _sentences(300))})
    assert quality.findings == ()
    require_sound(quality)


def test_chinese_rows_that_are_nearly_equal_are_found(tmp_path: Path) -> None:
    train = [["这家酒店的早餐很丰富,房间也干净", "好"], ["手机电池太差,用了一天就没电了", "差"]]
    test = [["这家酒店的早餐很丰富,房间也很干净!", "好"], ["快递送得很慢,包装也坏了", "差"]]
    quality = _look(
        {
            "train": _written(tmp_path / "a.csv", train),
            "test": _written(tmp_path / "b.csv", test),
            "split": {"validation": 0},
        }
    )
    (found,) = _of(quality, "near-duplicates")
    assert [(place.side, place.row) for place in found.items[0].rows] == [("train", 2), ("test", 2)]


def test_a_word_that_alone_tells_the_label_is_named(tmp_path: Path) -> None:
    rows = [
        [f"{text} zqx" if label == "good" and place % 3 == 0 else text, label]
        for place, (text, label) in enumerate(_sentences(400))
    ]
    (found,) = _of(_look({"train": _written(tmp_path / "a.csv", rows)}), "shortcut-word")
    assert found.level == "warning"
    assert "The word 'zqx' alone predicts the label 'good'" in found.told
    assert all("zqx" in item.rows[0].shown for item in found.items)


def test_a_length_that_alone_tells_the_label_is_named(tmp_path: Path) -> None:
    rows = [[text if label == "good" else text[:20], label] for text, label in _sentences(200)]
    (found,) = _of(_look({"train": _written(tmp_path / "a.csv", rows)}), "shortcut-length")
    assert found.told.startswith("The length of the text alone predicts the label: balanced accuracy 1.000")


def test_a_group_that_alone_tells_the_label_is_named(tmp_path: Path) -> None:
    rows = [[text, label, f"{label}-{place % 20}"] for place, (text, label) in enumerate(_sentences(240))]
    data = {"train": _written(tmp_path / "a.csv", rows, ("text", "label", "site")), "group": "site"}
    assert _of(_look(data), "shortcut-group")


def test_a_group_on_two_sides_is_found_and_grave(tmp_path: Path) -> None:
    train = [[text, label, f"g{place % 50}"] for place, (text, label) in enumerate(_sentences(200))]
    test = [[text, label, f"g{place + 40}"] for place, (text, label) in enumerate(_sentences(60, seed=1))]
    header = ("text", "label", "who")
    data = {
        "train": _written(tmp_path / "a.csv", train, header),
        "test": _written(tmp_path / "b.csv", test, header),
        "group": "who",
    }
    found = next(each for each in _of(_look(data), "groups") if "in test" in each.told)
    assert found.level == "error"
    assert {item.told for item in found.items} <= {f"group g{number}" for number in range(40, 50)}


def test_rare_classes_come_with_the_loss_that_fits(tmp_path: Path) -> None:
    rows = [[text, "good" if place < 150 else "bad"] for place, (text, _) in enumerate(_sentences(170))]
    (found,) = _of(_look({"train": _written(tmp_path / "a.csv", rows)}), "imbalance")
    assert "task.class_weights=balanced" in found.fix


def test_inputs_without_anything_are_found(tmp_path: Path) -> None:
    rows = [*_sentences(80), ["???", "good"], ["-- !", "bad"]]
    (found,) = _of(_look({"train": _written(tmp_path / "a.csv", rows)}), "empty-inputs")
    assert {item.rows[0].row for item in found.items} == {82, 83}


def _pictures(folder: Path, count: int) -> list[Path]:
    """Pictures of random smooth shapes in two folders."""
    rng = np.random.default_rng(0)
    paths = []
    for place in range(count):
        small = rng.integers(0, 255, (7, 7, 3), dtype=np.uint8)
        path = folder / ("cat", "dog")[place % 2] / f"{place:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def test_pictures_that_are_nearly_equal_are_found(tmp_path: Path) -> None:
    paths = _pictures(tmp_path / "train", 60)
    _pictures(tmp_path / "other", 1)
    for place, path in enumerate(paths[:6]):
        image = Image.open(path)
        changed = [
            lambda image: image.resize((48, 48)),
            lambda image: Image.fromarray((np.asarray(image) * 0.8).astype(np.uint8)),
            lambda image: Image.fromarray(np.roll(np.asarray(image), 2, axis=1)),
        ][place % 3](image)
        target = tmp_path / "test" / path.parent.name / f"copy-{place}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        changed.save(target, quality=80)
    data = {"train": str(tmp_path / "train"), "test": str(tmp_path / "test"), "split": {"validation": 0}}
    found = [each for each in _of(_look(data, "image-classification"), "near-duplicates") if "test" in each.told]
    pairs = {(Path(item.rows[0].shown).name, Path(item.rows[1].shown).name) for item in found[0].items}
    assert pairs == {(path.name, f"copy-{place}.jpg") for place, path in enumerate(paths[:6])}


def test_pictures_of_one_colour_are_found(tmp_path: Path) -> None:
    paths = _pictures(tmp_path / "train", 30)
    Image.new("RGB", (64, 64), (9, 9, 9)).save(paths[4])
    (found,) = _of(_look({"train": str(tmp_path / "train")}, "image-classification"), "empty-inputs")
    assert [(Path(item.rows[0].shown).name, item.told) for item in found.items] == [(paths[4].name, "one colour")]


def test_a_border_that_alone_tells_the_label_is_named(tmp_path: Path) -> None:
    for path in _pictures(tmp_path / "train", 80):
        pixels = np.array(Image.open(path))
        if path.parent.name == "cat":
            pixels[:6], pixels[-6:] = (255, 0, 0), (255, 0, 0)
        Image.fromarray(pixels).save(path)
    quality = _look({"train": str(tmp_path / "train")}, "image-classification")
    assert [finding.kind for finding in quality.findings] == ["shortcut-border"]


def test_what_is_left_out_leaves_test_whole_and_says_why(tmp_path: Path) -> None:
    train, test = _sentences(100), _sentences(40, seed=1)
    data = {
        "train": _written(tmp_path / "a.csv", [*train, train[0], ["!!", "bad"]]),
        "test": _written(tmp_path / "b.csv", [*test, [_changed(train[5][0], 1), train[5][1]]]),
        "split": {"validation": 0},
    }
    out = left_out(_look(data))
    assert {row: reason.split(" ")[0] for (_, row), reason in out.items()} == {7: "repeats", 102: "repeats", 103: "no"}
    assert {file for file, _ in out} == {data["train"]}


def test_what_was_found_is_read_again(tmp_path: Path) -> None:
    quality = _look({"train": _written(tmp_path / "a.csv", [*_sentences(80), ["???", "good"]])})
    assert Quality.from_json(json.loads(json.dumps(quality.to_json()))) == replace(quality, rows=dict(quality.rows))


@pytest.mark.parametrize(
    ("kind", "task"),
    [("numbers", "text-regression"), ("labels", "text-classification"), ("translations", "translation")],
)
def test_rows_of_every_kind_are_looked_at(kind: str, task: str, tmp_path: Path) -> None:
    quality = _look({"train": str(toy_table(tmp_path / "toy.jsonl", kind=kind))}, task)
    assert sum(quality.rows.values()) == 120
