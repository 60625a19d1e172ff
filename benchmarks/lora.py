"""LoRA in the top half of the blocks: regraft from its store beside transformers' Trainer with peft, at its best.

    python -m benchmarks.lora --json FILE
    python -m benchmarks.lora --workload long --precision fp32
    python -m benchmarks.lora --quick

Both train the same adapters (rank 8 in all linear layers of the upper three of MiniLM's six blocks) and the head, on
the tables of ``peer_trainer.py``, each in a fresh process and ours from an empty store. Plain peft opens the untouched
adapter that regraft saves, so both begin with the same numbers, which their hashes prove. The settings of Trainer are
the best of ``peer_trainer.py``: no dropout, batches grouped by length, fused AdamW, and bf16 or, as ours, fp32.

times   Seconds of the first epoch, of a later one (the median of them), and of the whole training. An epoch lasts from
        the end of the one before to its own, with all that either does between its steps: ours includes the checkpoint
        at its end, while Trainer is told to save nothing; neither looks at validation rows. The first one begins with
        training, so in ours the proof and the filling of the store are in it. A ratio is the peer's seconds over ours,
        formed within a round from two runs that followed each other; each round has a seed of its own. Given are the
        median of the rounds, the smallest and the largest; also of the processor's seconds (``cpu``), which other work
        on the same cores changes less. The loss is the mean of the last epoch, whose batches differ between the sides.
losses  In fp32 both are given the same batches in the same order, with the same schedule and clipping, and the loss of
        every step is compared: the largest difference, absolute and relative to the peer's loss, and that of the means
        of the epochs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.peer_trainer import Round, child, cores, prepare, require_same
from benchmarks.sides import BATCH_SIZE, Job
from benchmarks.texts import WORKLOADS

PRECISIONS = ("auto", "fp32")
ROWS = {"long": 160, "short": 320}
EPOCHS = 5
ROUNDS = 3
TEST_ROWS = 32  # what is scored is not looked at here
FIGURES = ("first", "first_cpu", "later", "later_cpu", "wall", "cpu")


def main(arguments: Sequence[str] = ()) -> None:
    """Print a line for each comparison; write the JSON file."""
    asked = _read(arguments)
    found: dict[str, list[dict[str, Any]]] = {"times": [], "losses": []}
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        for workload in asked.workload or WORKLOADS:
            rows = asked.rows or ROWS[workload]
            places = [
                prepare(workload, Path(folder), seed, rows=rows, test_rows=TEST_ROWS) for seed in range(asked.rounds)
            ]
            about = {"workload": workload, "rows": rows, "epochs": asked.epochs}
            jobs = [Job("best", str(at["folder"]), "", "lora-top-half", asked.epochs, at["seed"]) for at in places]
            for precision in asked.precision or PRECISIONS:
                rounds = list(_rounds(jobs, precision))
                found["times"].append(_told(about | _times(rounds)))
            found["losses"].append(_told(about | _losses(jobs[0])))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.lora", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="may be given twice; else both")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="may be given twice; else both")
    parser.add_argument("--rows", type=int, help=f"training rows, which fill their batches; else {ROWS}")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"else {EPOCHS}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"else {ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="does it still run? One round of 32 short rows in fp32")
    given = parser.parse_args(arguments)
    if given.quick:
        small = {"workload": ["short"], "precision": ["fp32"], "rows": 32, "epochs": 2, "rounds": 1}
        given = argparse.Namespace(**{**vars(given), **small})
    if given.epochs < 2:
        parser.error("--epochs: at least 2, for one after the first")
    if given.rows is not None and given.rows % BATCH_SIZE:
        parser.error(f"--rows: a multiple of {BATCH_SIZE}, so that all batches are full")
    return given


def _rounds(jobs: Sequence[Job], precision: str) -> Iterator[Round]:
    for job in jobs:
        peer, ours = _sides(replace(job, precision=precision))
        yield Round(_with_epochs(peer), _with_epochs(ours))


def _sides(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the peer makes of a job, and then what we do."""
    peer, ours = child(job), child(replace(job, do="regraft", dropout=False))
    require_same(peer, ours)
    return peer, ours


def _with_epochs(side: dict[str, Any]) -> dict[str, Any]:
    (first, first_cpu), *later = side["epochs"]
    wall, cpu = (median(seconds) for seconds in zip(*later, strict=True))
    return side | {"first": first, "first_cpu": first_cpu, "later": wall, "later_cpu": cpu}


def _times(rounds: Sequence[Round]) -> dict[str, Any]:
    ours, peers = [each.ours for each in rounds], [each.peer for each in rounds]
    result: dict[str, Any] = {"precision": ours[0]["precision"], "peer_precision": peers[0]["precision"]}
    result |= {"cores": cores(), "rounds": len(rounds)}
    for figure in FIGURES:
        ratios = [each.ratio(figure) for each in rounds]
        result |= {
            f"{figure}_seconds": median(side[figure] for side in ours),
            f"peer_{figure}_seconds": median(side[figure] for side in peers),
            f"{figure}_ratio": median(ratios),
            f"{figure}_least": min(ratios),
            f"{figure}_most": max(ratios),
        }
    return result | {
        "loss": median(side["loss"] for side in ours),
        "peer_loss": median(side["loss"] for side in peers),
    }


def _losses(job: Job) -> dict[str, Any]:
    """How far the losses of the steps lie apart in fp32."""
    peer, ours = (side["losses"] for side in _sides(replace(job, do="in-order", precision="fp32")))
    apart = [abs(own - other) for own, other in zip(ours, peer, strict=True)]
    return {
        "steps": len(apart),
        "largest_difference": max(apart),
        "largest_relative": max(part / other for part, other in zip(apart, peer, strict=True)),
        "largest_of_epochs": max(
            abs(own - other) for own, other in zip(_means(ours, job.epochs), _means(peer, job.epochs), strict=True)
        ),
        "first_loss": peer[0],
        "last_epoch_loss": _means(peer, job.epochs)[-1],
    }


def _means(losses: Sequence[float], epochs: int) -> list[float]:
    steps = len(losses) // epochs
    return [fmean(losses[first : first + steps]) for first in range(0, len(losses), steps)]


def _told(result: dict[str, Any]) -> dict[str, Any]:
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in result.items()}
    print(json.dumps(rounded), flush=True)
    return rounded


if __name__ == "__main__":
    main(sys.argv[1:])
