"""A recogniser before and after tuning, on every recording: the recipe of the example, in folds.

The test side of ``examples/asterisk_recognition.yaml`` holds 485 words, of which an untouched Whisper gets 26 wrong: an
interval as wide as what is measured. So the three tables are joined and cut into folds; each fold is tested once, by
a model that learned from the others. The errors of all folds add up to the word error rate of all recordings.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = 5
_RECIPE = Path(__file__).parent.parent / "examples" / "asterisk_recognition.yaml"
_SIDES = ("train", "validation", "test")


def main(arguments: Sequence[str] = ()) -> None:
    """Print each fold and the sum; write the JSON file."""
    asked = _read(arguments)
    folds = []
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        for fold, tables in enumerate(_folds(Path(folder), asked.folds, asked.only)):
            folds.append(_tested(Path(folder), fold, tables, asked.overrides))
            print(json.dumps(folds[-1]), flush=True)
    found = {"overrides": asked.overrides, "folds": folds, **_summed(folds)}
    print(json.dumps({name: value for name, value in found.items() if name != "folds"}))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.recognition", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"else {FOLDS}")
    parser.add_argument("--only", type=int, metavar="N", help="the first N folds alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser.parse_args(arguments)


def _folds(folder: Path, count: int, only: int | None) -> Iterator[dict[str, str]]:
    """The tables of each fold: a share to test, a tenth of the rest to choose the epoch by, the rest to learn from."""
    from regraft.data.table import locate

    rows = [row for side in _SIDES for row in _rows(locate(f"materials:asterisk-en/{side}.csv"))]
    order = np.random.default_rng(0).permutation(len(rows))
    for fold in list(range(count))[:only]:
        test = order[fold::count]
        rest = order[~np.isin(order, test)]
        sides = {"test": test, "validation": rest[: len(rest) // 10], "train": rest[len(rest) // 10 :]}
        tables = {side: folder / f"{fold}-{side}.csv" for side in sides}
        for side, places in sides.items():
            with tables[side].open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows[place] for place in sorted(places))
        yield {side: str(path) for side, path in tables.items()} | {
            "images": str(locate("materials:asterisk-en", folders=True))
        }


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tested(folder: Path, fold: int, tables: dict[str, str], overrides: Sequence[str]) -> dict[str, Any]:
    """Tune on a fold, and count the words that were wrong in its test side, before and after."""
    from regraft import read_recipe, tune

    chosen = [f"data.{name}={value}" for name, value in tables.items()]
    place = [f"output={folder / 'runs'}", f"name=fold-{fold}", f"seed={fold}"]
    outcome = tune(read_recipe(_RECIPE, [*chosen, *place, *overrides]))
    scores, looks = outcome.scores, [event for event in outcome.run.history() if event["event"] == "validation"]
    after, before = scores["test"]["wer"]["value"], scores["baselines"]["untouched"]["wer"]["value"]
    words = _words(Path(tables["test"]))
    wrong = {"before": round(before * words), "after": round(after * words)}
    chosen_by = min(look["scores"]["wer"] for look in looks)
    return {"fold": fold, "words": words, **wrong, "wer_before": before, "wer_after": after, "validation": chosen_by}


def _words(table: Path) -> int:
    """How many words a table holds, as the word error rate counts them."""
    from regraft.data.spoken import spoken_form

    return sum(len(spoken_form(row["text"]).split()) for row in _rows(table))


def _summed(folds: Sequence[dict[str, Any]]) -> dict[str, float]:
    words, before, after = (sum(fold[name] for fold in folds) for name in ("words", "before", "after"))
    looks = sum(fold["validation"] for fold in folds) / len(folds)
    return {"wer_before": before / words, "wer_after": after / words, "share": after / before, "validation": looks}


if __name__ == "__main__":
    main(sys.argv[1:])
