"""Runs on images from stored rows beside the same runs without a store, and what augmentation is worth.

Fashion-MNIST with EfficientNet-Lite0, ten epochs: each strategy as it is, and with four augmented views in turn.
Each run has an empty store of its own. Counted are the seconds from the plan to the end of training: filling the store,
all epochs, and the look at the validation images after each; not reading, baselines and saving, which are the same.
Without a store, what is frozen is computed in every epoch; with one, once a view. The scores have to be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STRATEGIES: dict[str, dict[str, Any]] = {
    "linear-probe": {"name": "linear-probe"},
    "top-4-blocks": {"name": "top-layers", "n": 4, "learning_rate": 5e-4},
}
AUGMENTED = {"policy": "light", "crop": 0.7, "colour": 0.0, "views": 4}
EPOCHS, ROWS, SIDE = 10, 1000, 128


def main(arguments: Sequence[str] = ()) -> None:
    """Print a line for each strategy, plain and augmented; write the JSON file."""
    asked = _read(arguments)
    results = []
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        data = _some(Path(folder) / "data", asked.rows)
        _timed(_recipe(data, "linear-probe", {}, asked.side, epochs=1, store="never"), Path(folder) / "warm")
        for strategy in asked.strategy or STRATEGIES:
            for augmentation in ({}, AUGMENTED):
                place = Path(folder) / f"{strategy}-{len(augmentation)}"
                results.append(_compared(data, strategy, augmentation, asked, place))
                print(json.dumps(results[-1]), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.images", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"training images; else {ROWS}")
    parser.add_argument("--side", type=int, default=SIDE, help=f"pixels a side; else {SIDE}")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"else {EPOCHS}")
    parser.add_argument("--strategy", action="append", choices=STRATEGIES, help="may be given twice; else all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser.parse_args(arguments)


def _some(folder: Path, rows: int) -> dict[str, str]:
    """As many of the training images of each class, and the other sides as they are: tables beside the images."""
    from regraft.data.table import locate

    whole = locate("materials:fashion-mnist", folders=True)
    folder.mkdir(parents=True)
    sides = {}
    for side, most in (("train", rows), ("validation", rows // 5), ("test", 2000)):
        classes = sorted(path for path in (whole / side).iterdir() if path.is_dir())
        lines = [
            json.dumps({"image": str(path), "label": of.name})
            for of in classes
            for path in sorted(of.iterdir())[: most // len(classes)]
        ]
        (folder / f"{side}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        sides[side] = str(folder / f"{side}.jsonl")
    return {**sides, "images": str(whole)}


def _recipe(
    data: Mapping[str, str], strategy: str, augmentation: Mapping[str, Any], side: int, *, epochs: int, store: str
) -> dict[str, Any]:
    return {
        "task": {"name": "image-classification", "image_size": side},
        "model": "efficientnet-lite0",
        "data": dict(data),
        "strategy": STRATEGIES[strategy],
        "augmentation": dict(augmentation),
        "training": {"epochs": epochs, "batch_size": 32, "precision": "fp32"},
        "evaluation": {"baselines": False, "resamples": 100},
        "cache": {"store": store},
    }


def _compared(
    data: Mapping[str, str], strategy: str, augmentation: Mapping[str, Any], asked: argparse.Namespace, place: Path
) -> dict[str, Any]:
    sides = {}
    for store in ("always", "never"):
        recipe = _recipe(data, strategy, augmentation, asked.side, epochs=asked.epochs, store=store)
        sides[store] = _timed(recipe, place / store)
    stored, without = sides["always"], sides["never"]
    return {
        "strategy": strategy,
        "views": augmentation.get("views", 0),
        "rows": asked.rows,
        "side": asked.side,
        "epochs": asked.epochs,
        "stored": stored["seconds"],
        "unstored": without["seconds"],
        "times_faster": without["seconds"] / stored["seconds"],
        "accuracy": stored["accuracy"],
        "accuracy_unstored": without["accuracy"],
        "reason": stored["reason"],
    }


def _timed(recipe: dict[str, Any], place: Path) -> dict[str, Any]:
    """The seconds of a run's training, and its score on the test images."""
    from regraft import make_recipe, tune_events

    place.mkdir(parents=True)
    os.environ["REGRAFT_STORE"] = str(place / "store")
    events = tune_events(make_recipe({**recipe, "output": str(place / "runs"), "name": "run"}))
    begun = ended = 0.0
    reason = ""
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            score = finished.value.scores["test"]["accuracy"]["value"]
            return {"seconds": ended - begun, "accuracy": score, "reason": reason}
        begun = time.perf_counter() if event.name == "plan" else begun
        ended = time.perf_counter() if event.name == "frozen" else ended
        reason = event.values["reason"] if event.name == "execution" else reason


if __name__ == "__main__":
    main(sys.argv[1:])
