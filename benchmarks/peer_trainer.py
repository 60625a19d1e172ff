"""regraft beside transformers' Trainer: the same weights, tokens, batch size, epochs, schedule and learning rate.

    python -m benchmarks.peer_trainer --json FILE
    python -m benchmarks.peer_trainer --workload long --strategy top-2 --peer best --rows 1000
    python -m benchmarks.peer_trainer --quick

Three contestants, one at a time and in turn, each in a fresh process with all cores and without a GPU:

documented  Trainer as its quick tour starts it: fp32, random batches padded to their longest, the model's own dropout
            everywhere; frozen by ``requires_grad = False``; for LoRA plain peft opens the untouched adapter that
            regraft saves, of rank 8 in all linear layers of the top half of the blocks.
best        the same Trainer with the best settings known to us on a CPU: bf16, batches grouped by length, no dropout at
            all, fused AdamW, no pinned memory.
regraft     as it comes, from an empty store, which it has to fill within the time. Against ``documented`` with the
            model's own dropout in what trains, against ``best`` without, like the peer.

Timed is training: from tokenized rows to the last step, with all that either does around its steps (regraft hashes
what is frozen and saves a checkpoint an epoch; Trainer is told to save nothing). Not timed: imports, opening the model,
scoring. A ratio is the peer's figure over ours, so above 1 is in our favour; it is formed within a round from
two runs that followed each other, each round has a seed of its own, and the table shows the median of the rounds with
the smallest and the largest. Memory is the peak of the whole process. ``floor`` is our wall time over the least that
the matrix products alone could take on this machine in our precision (benchmarks/floor.py says what is counted), and
``theirs`` the peer's over the same. The score is accuracy on the test rows; the loss is the mean of the last epoch.

The default number of rows is small (see ROWS) because the documented Trainer takes 1 to 2 ms a token and epoch on two
cores: all of it is estimated at two to three hours there. Fixed costs weigh more on few rows, for us more than for the
peer. Threads that have to share a core with other work wait for each other: run this on an idle machine, or on one core
(``taskset -c 1 python -m benchmarks.peer_trainer ...``; the number of threads is that of the cores it may use).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.floor import Rates, Work, floor_seconds
from benchmarks.sides import LEARNING_RATES, Job
from benchmarks.texts import WORKLOADS, write_tables
from regraft.run import cache_root

PEERS = ("documented", "best")
STRATEGIES = tuple(LEARNING_RATES)
ROWS = {"long": 320, "short": 640}
EPOCHS = 5
MANY_EPOCHS = 20  # for what gains most from a store, against the best peer, on long texts
TEST_ROWS = 380
ROUNDS = 3


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    workload: str
    strategy: str
    peer: str
    epochs: int


@dataclass(frozen=True)
class Round:
    """A peer's run and ours, one after the other; what a child process gives."""

    peer: dict[str, Any]
    ours: dict[str, Any]

    def ratio(self, figure: str) -> float:
        """The peer's figure over ours."""
        return float(self.peer[figure] / self.ours[figure])


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    cells: list[Cell]
    rows: dict[str, int]
    test_rows: int
    rounds: int
    json: Path | None


def main(arguments: Sequence[str] = ()) -> None:
    """Run what is asked for, print a table, and write the JSON file."""
    options = _read(arguments)
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        results = list(_run(options, Path(folder)))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _read(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser("benchmarks.peer_trainer", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="may be given several times; else both")
    parser.add_argument("--strategy", action="append", choices=STRATEGIES, help="may be given several times; else all")
    parser.add_argument("--peer", action="append", choices=PEERS, help="may be given several times; else both")
    parser.add_argument("--rows", type=int, help=f"training rows; else {ROWS}")
    parser.add_argument("--epochs", type=int, help=f"else {EPOCHS}, and for some {MANY_EPOCHS} too")
    parser.add_argument("--rounds", type=int, help=f"else {ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios to this file")
    parser.add_argument("--quick", action="store_true", help="does it still run? One round of 32 short rows of LoRA")
    given = parser.parse_args(arguments)
    if given.quick:
        small = {"workload": ["short"], "strategy": ["lora-top-half"], "rows": 32, "epochs": 1, "rounds": 1}
        given = argparse.Namespace(**{k: small.get(k) if v is None else v for k, v in vars(given).items()})
    return Options(
        cells=list(_cells(given)),
        rows={workload: given.rows or ROWS[workload] for workload in WORKLOADS},
        test_rows=32 if given.quick else TEST_ROWS,
        rounds=given.rounds or ROUNDS,
        json=given.json,
    )


def _cells(given: argparse.Namespace) -> Iterator[Cell]:
    for workload in given.workload or WORKLOADS:
        for strategy in given.strategy or STRATEGIES:
            for peer in given.peer or PEERS:
                yield Cell(workload, strategy, peer, given.epochs or EPOCHS)
                if (
                    given.epochs is None
                    and (workload, peer) == ("long", "best")
                    and strategy in {"top-2", "linear-probe"}
                ):
                    yield Cell(workload, strategy, peer, MANY_EPOCHS)


def _run(options: Options, folder: Path) -> Iterator[dict[str, Any]]:
    """Everything, workload by workload; each cell of the table as soon as it is there."""
    rates: dict[str, Rates] = {}
    for workload in dict.fromkeys(cell.workload for cell in options.cells):
        places = [
            prepare(workload, folder, seed, rows=options.rows[workload], test_rows=options.test_rows)
            for seed in range(options.rounds)
        ]
        if not rates:
            rates = _rates(places[0])
        _print_head(workload, places[0])
        cells = [cell for cell in options.cells if cell.workload == workload]
        for strategy, epochs in dict.fromkeys((cell.strategy, cell.epochs) for cell in cells):
            group = [cell for cell in cells if (cell.strategy, cell.epochs) == (strategy, epochs)]
            yield from _compare(group, places, rates)


def prepare(workload: str, folder: Path, seed: int, *, rows: int, test_rows: int) -> dict[str, Any]:
    """The tables, the untouched model and the tokens of one seed."""
    place = folder / f"{workload}-{seed}"
    place.mkdir()
    material = cache_root() / "materials" / "vader"
    write_tables(workload, place, material=material, rows=rows, test_rows=test_rows)
    return {"folder": place, "seed": seed, **child(Job("prepare", str(place), "", seed=seed))}


def _rates(prepared: dict[str, Any]) -> dict[str, Rates]:
    """Measure how fast this machine multiplies, and say it."""
    measured = child(Job("rates", str(prepared["folder"]), ""))
    rates = {name: Rates(**values) for name, values in measured.items()}
    print(f"{cores()} cores; GFLOP/s of matrix products (forward, gradient of the input, of the weight):")
    for name, rate in rates.items():
        told = ", ".join(f"{value / 1e9:,.0f}" for value in asdict(rate).values())
        print(f"  {name}  {told}")
    return rates


def _compare(
    cells: Sequence[Cell], prepared: Sequence[dict[str, Any]], rates: dict[str, Rates]
) -> Iterator[dict[str, Any]]:
    """The rounds of the cells that differ in the peer only: documented, ours, best, ours; and again."""
    rounds: dict[Cell, list[Round]] = {cell: [] for cell in cells}
    for place in prepared:
        for cell in cells:
            job = Job(cell.peer, str(place["folder"]), "", cell.strategy, cell.epochs, place["seed"])
            peer = child(job)
            ours = child(replace(job, do="regraft", dropout=cell.peer == "documented"))
            require_same(peer, ours)
            print(f"  {job.strategy}, {job.do}: {ours['wall']:.1f} s against {peer['wall']:.1f} s", file=sys.stderr)
            rounds[cell].append(Round(peer, ours))
    for cell in cells:
        yield _told(cell, rounds[cell], prepared[0], rates)


def require_same(peer: dict[str, Any], ours: dict[str, Any]) -> None:
    """See that both sides began with the same numbers, and trained as many."""
    for what in ("weights", "trained"):
        if peer[what] != ours[what]:
            raise SystemExit(f"not the same {what} on both sides: {peer[what]} and {ours[what]}")


def _told(cell: Cell, rounds: Sequence[Round], prepared: dict[str, Any], rates: dict[str, Rates]) -> dict[str, Any]:
    """Print the line of a cell; return what goes into the JSON file."""
    floor = floor_seconds(_work(cell, prepared), rates[rounds[0].ours["precision"]], epochs=cell.epochs)
    wall = median(each.ours["wall"] for each in rounds)
    result = {
        **asdict(cell),
        "rows": len(prepared["lengths"]),
        "wall_ratio": median(each.ratio("wall") for each in rounds),
        "wall_least": min(each.ratio("wall") for each in rounds),
        "wall_most": max(each.ratio("wall") for each in rounds),
        "cpu_ratio": median(each.ratio("cpu") for each in rounds),
        "memory_ratio": median(each.ratio("peak") for each in rounds),
        "floor_ratio": wall / floor,
        "score": median(each.ours["score"] for each in rounds),
        "peer_score": median(each.peer["score"] for each in rounds),
    }
    _print_line(cell, rounds, result, floor)
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}


def _work(cell: Cell, prepared: dict[str, Any]) -> Work:
    blocks = prepared["blocks"]
    trained = {"full": blocks, "top-2": 2, "linear-probe": 0, "lora-top-half": blocks // 2}[cell.strategy]
    return Work(prepared["lengths"], prepared["hidden"], blocks, trained, weights=cell.strategy != "lora-top-half")


# What is printed


def _print_head(workload: str, prepared: dict[str, Any]) -> None:
    lengths = sorted(prepared["lengths"])
    print(
        f"\n{workload}: {len(lengths)} texts of {sum(lengths) / len(lengths):.0f} tokens in the mean"
        f" (median {median(lengths):.0f}, longest {lengths[-1]}); {prepared['test_rows']} test texts,"
        f" the larger class is {prepared['majority']:.3f} of them\n"
    )
    print(
        f"{'strategy':13} {'epochs':>6} {'peer':10}  {'wall ratio':>18} {'cpu ratio':>18} {'memory':>6}"
        f"  {'seconds ours/theirs':>19}  {'floor':>6} {'theirs':>6}  {'peak MB (loaded)':>25}"
        f"  {'loss':>13}  {'score':>13}",
        flush=True,
    )


def _print_line(cell: Cell, rounds: Sequence[Round], result: dict[str, Any], floor: float) -> None:
    def both(figure: str, form: str) -> str:
        ours, theirs = (median(side[figure] for side in sides) for sides in _sides(rounds))
        return f"{ours:{form}}/{theirs:{form}}"

    memory = "/".join(
        f"{median(side['peak'] for side in sides):.0f} ({median(side['loaded'] for side in sides):.0f})"
        for sides in _sides(rounds)
    )
    theirs = median(each.peer["wall"] for each in rounds) / floor
    print(
        f"{cell.strategy:13} {cell.epochs:6} {cell.peer:10}  {_spread(rounds, 'wall'):>18} {_spread(rounds, 'cpu'):>18}"
        f" {result['memory_ratio']:6.2f}  {both('wall', '.1f'):>19}  {result['floor_ratio']:6.1f} {theirs:6.1f}"
        f"  {memory:>25}  {both('loss', '.3f'):>13}  {both('score', '.3f'):>13}",
        flush=True,
    )


def _sides(rounds: Sequence[Round]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return [each.ours for each in rounds], [each.peer for each in rounds]


def _spread(rounds: Sequence[Round], figure: str) -> str:
    ratios = [each.ratio(figure) for each in rounds]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


# Child processes


def child(job: Job) -> dict[str, Any]:
    """Do a job in a fresh process, with an empty store and all cores. Returns its result."""
    with tempfile.TemporaryDirectory(dir=job.folder) as scratch:
        job = replace(job, result=f"{scratch}/result.json")
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.sides", json.dumps(asdict(job))],
            cwd=Path(__file__).parent.parent,
            env=environment(Path(scratch)),
            capture_output=True,
            text=True,
            check=False,
        )
        if child.returncode:
            raise SystemExit(f"{job} failed:\n{child.stdout}{child.stderr}")
        result: dict[str, Any] = json.loads(Path(job.result).read_text(encoding="utf-8"))
        return result


def environment(scratch: Path) -> dict[str, str]:
    """All cores and no GPU, no model hub, and a cache that holds the materials and nothing else."""
    cache = scratch / "cache"
    cache.mkdir()
    (cache / "materials").symlink_to(cache_root().absolute() / "materials")
    threads = str(cores())
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "REGRAFT_CACHE": str(cache),
        "REGRAFT_STORE": str(cache / "store"),
    }


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main(sys.argv[1:])
