"""Is planted trouble found? Labels that were exchanged, rows that are nearly equal, a word, a group on two sides.

    python -m benchmarks.planted --dataset movie --dataset fashion --json FILE

Of each dataset a tenth of the rows, drawn by their content, is for testing, the rest for training; of Fashion-MNIST its
own sides. Planted are, by a seed:

- 5 % of the training labels exchanged: how many of them are in the top tenth of the list of wrong labels;
- 200 rows of test, changed, among the training rows: how many are found; and how many rows are told of without them;
- of texts a word in 30 % of the rows of one label: whether it is named; and what else is;
- of texts a group in both tables: whether it is told.

What is changed of a text: a word is left out, put in or turned around, case and punctuation, two letters. An image is
packed as a JPEG, made lighter or darker, moved by a pixel, turned by three degrees, given noise, or enlarged.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.few_labels import DATASETS, _images, _texts
from benchmarks.subset import Row
from regraft import make_recipe
from regraft.fingerprint import draw
from regraft.quality import Finding, Quality, look
from regraft.run import cache_root
from regraft.sources import read_data
from regraft.tasks import make_task

_FLIPPED, _TOP = 0.05, 0.1
_COPIES, _FEWEST_SIGNS = 200, 20
_MARKED = 0.3
_WORD = "zqx"


def main(arguments: Sequence[str] = ()) -> None:
    """Plant, look, and print a line for each."""
    parser = argparse.ArgumentParser("benchmarks.planted", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--dataset", action="append", choices=DATASETS, required=True, help="may be given several times"
    )
    parser.add_argument("--seed", action="append", type=int, help="may be given several times; else 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    asked = parser.parse_args(arguments)
    results = []
    for dataset in asked.dataset:
        for seed in asked.seed or [0]:
            for result in _planted(dataset, seed):
                print(json.dumps(result, ensure_ascii=False), flush=True)
                results.append(result)
    if asked.json is not None:
        lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in results)
        asked.json.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _planted(dataset: str, seed: int) -> Iterator[dict[str, Any]]:
    about = {"dataset": dataset, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="regraft-planted-") as place:
        bed = _Bed(dataset, Path(place), random.Random(seed))
        clean = bed.look(model=False)
        yield about | {"planted": "nothing", **_told_of_clean(clean, bed)}
        yield about | {"planted": "labels", **bed.flipped()}
        yield about | {"planted": "copies", **bed.copied()}
        if not bed.images:
            yield about | {"planted": "word", **bed.marked()}
            yield about | {"planted": "group", **bed.grouped()}


class _Bed:
    """The rows of a dataset, tables to write them to, and what is planted in them."""

    def __init__(self, dataset: str, place: Path, chance: random.Random) -> None:
        about = DATASETS[dataset]
        material = cache_root().absolute() / "materials" / about.material
        self.images, self.place, self.chance = not about.table, place, chance
        self.task = "image-classification" if self.images else "text-classification"
        self.model = str(cache_root().absolute() / "materials" / about.model)
        if self.images:
            self.train, self.test = [], []
            for side, rows in (("train", self.train), ("test", self.test)):
                for path, label in _images(material, side):
                    (place / path).parent.mkdir(parents=True, exist_ok=True)
                    (place / path).write_bytes((material / path).read_bytes())
                    rows.append((path, label))
        else:
            found = [(about.prefix + text, label) for text, label in _texts(material / about.table)]
            ordered = sorted(found, key=lambda row: draw("planted", row[0]))
            cut = len(ordered) // 10
            self.test, self.train = ordered[:cut], ordered[cut:]

    def look(
        self,
        *,
        train: Sequence[Row] | None = None,
        model: bool,
        groups: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> Quality:
        """What is found in the tables, with other training rows or with groups where those are given."""
        data: dict[str, Any] = {"split": {"validation": 0.0}}
        name = "image" if self.images else "text"
        for number, (side, rows) in enumerate((("train", train or self.train), ("test", self.test))):
            file = self.place / f"{side}.csv"
            header, cells = [name, "label"], [[*row] for row in rows]
            if groups is not None:
                header.append("who")
                cells = [[*row, group] for row, group in zip(cells, groups[number], strict=True)]
            with file.open("w", encoding="utf-8", newline="") as opened:
                csv.writer(opened).writerows([header, *cells])
            data[side] = str(file)
        data |= {"group": "who"} if groups is not None else {}
        recipe = make_recipe({"task": self.task, "model": self.model, "data": data})
        task = make_task(recipe.task)
        splits, answers = read_data(recipe, task)
        return look(recipe, task, splits, answers, model=model)

    def flipped(self) -> dict[str, Any]:
        """Exchanged labels, and how many of them are in the top tenth of the list."""
        labels = sorted({label for _, label in self.train})
        wrong = set(self.chance.sample(range(len(self.train)), round(_FLIPPED * len(self.train))))
        given = [
            (content, self.chance.choice([other for other in labels if other != label]) if place in wrong else label)
            for place, (content, label) in enumerate(self.train)
        ]
        found = _first(self.look(train=given, model=True), "wrong-labels")
        listed = [item.rows[0].row - 2 for item in found.items] if found is not None else []
        top = set(listed[: round(_TOP * len(given))])
        return {
            "rows": len(given),
            "exchanged": len(wrong),
            "in_the_top_tenth": round(len(top & wrong) / len(wrong), 4),
        }

    def copied(self) -> dict[str, Any]:
        """Changed copies of test rows in train, and how many are told of."""
        whole = [row for row in self.test if self.images or len(row[0]) >= _FEWEST_SIGNS]
        taken = self.chance.sample(range(len(whole)), min(_COPIES, len(whole)))
        copies = [(self._changed(whole[place][0], number), whole[place][1]) for number, place in enumerate(taken)]
        quality = self.look(train=[*self.train, *copies], model=False)
        first = len(self.train) + 2
        found = {
            place.row
            for finding in quality.findings
            if finding.kind == "near-duplicates"
            for item in finding.items
            if {place.side for place in item.rows} == {"train", "test"}
            for place in item.rows
            if place.side == "train" and place.row >= first
        }
        return {"copies": len(copies), "found": round(len(found) / len(copies), 4)}

    def marked(self) -> dict[str, Any]:
        """A word in some rows of a label, and which words are named."""
        label = sorted({label for _, label in self.train})[0]
        marked = [
            (f"{text} {_WORD}" if own == label and self.chance.random() < _MARKED else text, own)
            for text, own in self.train
        ]
        quality = self.look(train=marked, model=False)
        named = [finding.items[0].told for finding in quality.findings if finding.kind == "shortcut-word"]
        return {"named": named, "found": _WORD in named}

    def grouped(self) -> dict[str, Any]:
        """Groups of ten rows, one of which is in both tables."""
        groups = [f"a{place // 10}" for place in range(len(self.train))], [f"b{p // 10}" for p in range(len(self.test))]
        groups[1][:3] = ["a7"] * 3
        found = _first(self.look(model=False, groups=groups), "groups")
        return {"found": found is not None and [item.told for item in found.items] == ["group a7"]}

    def _changed(self, content: str, number: int) -> str:
        """A row that says the same in other signs; of an image, the path of its changed copy."""
        if not self.images:
            return _other_text(content, number, self.chance)
        path = f"copies/{number}.png"
        (self.place / path).parent.mkdir(exist_ok=True)
        _other_image(Image.open(self.place / content).convert("RGB"), number, self.chance).save(self.place / path)
        return path


def _other_text(text: str, number: int, chance: random.Random) -> str:
    words = text.split()
    at = chance.randrange(len(words))
    if number % 5 == 0:
        return " ".join(words[:at] + words[at + 1 :]) if len(words) > 1 else f"{text}."
    if number % 5 == 1:
        return " ".join([*words[:at], "really", *words[at:]])
    if number % 5 == 2:
        return " ".join([*words[:at], words[at][::-1], *words[at + 1 :]])
    if number % 5 == 3:
        return f"{text.upper().replace(',', ' ')} !!"
    signs = list(text)
    for place in chance.sample(range(len(signs)), 2):
        signs[place] = chance.choice("abcdefghij ")
    return "".join(signs)


def _other_image(image: Image.Image, number: int, chance: random.Random) -> Image.Image:
    pixels = np.asarray(image)
    if number % 6 == 0:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=70)
        return Image.open(packed).convert("RGB")
    if number % 6 == 1:
        return ImageEnhance.Brightness(image).enhance(chance.choice([0.8, 1.2]))
    if number % 6 == 2:
        return Image.fromarray(np.roll(pixels, 1, axis=chance.randrange(2)))
    if number % 6 == 3:
        return image.rotate(chance.choice([-3, 3]), resample=Image.Resampling.BILINEAR)
    if number % 6 == 4:
        noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 6, pixels.shape)
        return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    return image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC)


def _told_of_clean(quality: Quality, bed: _Bed) -> dict[str, Any]:
    """How many rows are told of as near copies, and which words as shortcuts, where nothing was planted."""
    near = {
        (place.side, place.row)
        for finding in quality.findings
        if finding.kind == "near-duplicates"
        for item in finding.items
        for place in item.rows
    }
    words = [finding.items[0].told for finding in quality.findings if finding.kind == "shortcut-word"]
    return {"near_rows": round(len(near) / (len(bed.train) + len(bed.test)), 4), "words": words}


def _first(quality: Quality, kind: str) -> Finding | None:
    return next((finding for finding in quality.findings if finding.kind == kind), None)


if __name__ == "__main__":
    main(sys.argv[1:])
