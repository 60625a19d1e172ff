"""Speech recognition with a frozen encoder: runs from stored rows beside the same runs without a store.

Whisper tiny.en on Asterisk's prompts, the encoder frozen. Each run has an empty store of its own. Counted are the
seconds of the steps of each epoch after the first, and what filling the store and the first epoch take; not the look at
the validation recordings. The weights have to be equal to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPOCHS, ROWS = 4, 120


def main(arguments: Sequence[str] = ()) -> None:
    """Print the comparison; write the JSON file."""
    asked = _read(arguments)
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        data = _some(Path(folder), asked.rows)
        _timed(_recipe(data, epochs=1, store="never"), Path(folder) / "warm")
        stored, without = (
            _timed(_recipe(data, epochs=asked.epochs, store=store), Path(folder) / store)
            for store in ("always", "never")
        )
    later = [statistics.median(side["epochs"][1:]) for side in (stored, without)]
    found = {
        "rows": asked.rows,
        "epochs": asked.epochs,
        "filling": stored["filling"],
        "epoch_stored": later[0],
        "epoch_unstored": later[1],
        "times_faster_later": later[1] / later[0],
        "times_faster_in_all": sum(without["epochs"]) / (stored["filling"] + sum(stored["epochs"])),
        "same_weights": stored["weights"] == without["weights"],
        "reason": stored["reason"],
    }
    print(json.dumps(found), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.speech", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"training recordings; else {ROWS}")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"else {EPOCHS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser.parse_args(arguments)


def _some(folder: Path, rows: int) -> dict[str, str]:
    """The first rows of the training table, and a few of the others."""
    from regraft.data.table import locate

    sides = {}
    for side, most in (("train", rows), ("validation", 2), ("test", 2)):
        whole = locate(f"materials:asterisk-en/{side}.csv")
        lines = whole.read_text(encoding="utf-8").splitlines()[: most + 1]
        (folder / f"{side}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        sides[side] = str(folder / f"{side}.csv")
    return {**sides, "images": str(locate("materials:asterisk-en", folders=True))}


def _recipe(data: dict[str, str], *, epochs: int, store: str) -> dict[str, Any]:
    return {
        "task": "automatic-speech-recognition",
        "model": "whisper-tiny.en",
        "data": data,
        "strategy": {"name": "full", "learning_rate": 3e-5, "freeze": "encoder"},
        "training": {"epochs": epochs, "max_tokens": 32_768},  # a step in one pass
        "evaluation": {"baselines": False, "resamples": 100},
        "cache": {"store": store},
    }


def _timed(recipe: dict[str, Any], place: Path) -> dict[str, Any]:
    """The seconds of filling and of each epoch's steps, and a hash of the weights."""
    from regraft import make_recipe, tune_events
    from regraft.fingerprint import tensors_sha256

    place.mkdir(parents=True)
    os.environ["REGRAFT_STORE"] = str(place / "store")
    events = tune_events(make_recipe({**recipe, "output": str(place / "runs"), "name": "run"}))
    filling, last, reason = 0.0, time.perf_counter(), ""
    epochs: list[float] = []
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            weights = tensors_sha256(finished.value.tuned.pretrained.model.state_dict())
            return {"filling": filling, "epochs": epochs, "reason": reason, "weights": weights}
        now = time.perf_counter()
        if event.name == "execution":
            filling, last, reason = now - last, now, event.values["reason"]
        elif event.name == "step" and event.values["epoch"] % 1 == 0:  # the last of an epoch
            epochs.append(now - last)
        elif event.name in {"plan", "checkpoint"}:
            last = now


if __name__ == "__main__":
    main(sys.argv[1:])
