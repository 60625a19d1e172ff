"""What a sweep costs beside runs of transformers' Trainer, and beside forward passes over the same data.

A sweep of twelve learning rates, on the long texts of ``peer_trainer.py``, with five epochs a trial and an empty store:

    top-2           the seconds of all twelve trials, with one documented run of Trainer and with twelve at its best
    linear-probe    the same seconds, in forward passes over the training and validation rows

Trials score the validation rows (a tenth as many) after every epoch and draw an interval; Trainer is not asked to.
Beside the documented run ours have the model's own dropout too, beside the best none, like the peer. Not timed on
either side: imports, and reading data and model, which a sweep does once. Twelve of Trainer's best runs are one of
them, times twelve.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peer_trainer import child, prepare
from benchmarks.sides import LEARNING_RATES, Job, measured, recipe_of

TRIALS = 12
EPOCHS = 5
ROWS = 1000
VALIDATION = 10  # training rows for each row that is scored
STRATEGIES = ("top-2", "linear-probe")


def main(arguments: Sequence[str] = ()) -> None:
    """Print what each side takes; write the JSON file."""
    asked = _read(arguments)
    results = []
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        place = prepare("long", Path(folder), 0, rows=asked.rows, test_rows=asked.rows // VALIDATION + 1)
        for strategy in asked.strategy or STRATEGIES:
            job = Job("sweep", str(place["folder"]), "", strategy, EPOCHS, 0)
            results.append(_compared(job, asked.rows))
            print(json.dumps(results[-1]), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"training rows; else {ROWS}")
    parser.add_argument("--strategy", action="append", choices=STRATEGIES, help="may be given twice; else both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser.parse_args(arguments)


def _compared(job: Job, rows: int) -> dict[str, Any]:
    ours = child(job)
    found = {"strategy": job.strategy, "rows": rows, "trials": TRIALS, "epochs": EPOCHS, "seconds": ours["wall"]}
    if job.strategy == "linear-probe":
        return found | {"forward_pass": ours["forward"], "forward_passes": ours["wall"] / ours["forward"]}
    without = child(replace(job, dropout=False))
    documented, best = (child(replace(job, do=do))["wall"] for do in ("documented", "best"))
    return found | {
        "seconds_without_dropout": without["wall"],
        "documented_run": documented,
        "best_run": best,
        "documented_runs": ours["wall"] / documented,
        "share_of_best_runs": without["wall"] / (TRIALS * best),
    }


def trials(job: Job) -> dict[str, Any]:
    """What ``benchmarks.sides`` does for this benchmark: the trials of a sweep, and before them a forward pass."""
    from regraft.frozen import features
    from regraft.probing import probe_tap
    from regraft.recipe import CacheOptions
    from regraft.sources import make_rows
    from regraft.sweeping.space import recipe_at
    from regraft.sweeping.trial import Bench, run_trial

    recipe, bench = _with_validation(recipe_of(job)), Bench()
    ready = bench.untouched(recipe)
    subject = ready.subject()
    sides = [ready.rows, make_rows(ready.splits.validation, ready.task, ready.answers, ready.pretrained)]
    encoded = [row for side in sides for row in side.encoded]
    nowhere = CacheOptions(store="never")
    seconds = []
    for _ in range(2):  # once unseen: kernels are made for every shape, for the trials too
        begun = time.perf_counter()
        features(subject, encoded, [probe_tap(subject)], nowhere, root=Path())
        seconds.append(time.perf_counter() - begun)
    rates = [LEARNING_RATES[job.strategy] * 4.0 ** (index / (TRIALS - 1) - 0.5) for index in range(TRIALS)]
    with measured() as usage:
        for rate in rates:
            run_trial(bench, recipe_at(recipe, {"strategy.learning_rate": rate}), lambda: None)
    return usage | {"forward": seconds[-1]}


def _with_validation(recipe: Any) -> Any:
    """The same training rows; the test rows but one are there to choose by."""
    test = Path(recipe.data.test)
    with test.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    sides = {"validation": rows[:-1], "test": rows[-1:]}
    paths = {side: test.with_name(f"sweep-{side}.csv") for side in sides}
    for side, path in paths.items():
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head, *sides[side]])
    data = recipe.data.model_copy(update={side: str(path) for side, path in paths.items()})
    return recipe.model_copy(update={"data": data})


if __name__ == "__main__":
    main(sys.argv[1:])
