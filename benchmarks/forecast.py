"""Forecast against fact on ten different recipes: python -m benchmarks.forecast [--json FILE] [NAME ...]

Each recipe is forecast in a process of its own, as ``regraft plan`` does it, and then run in another one, as ``regraft
tune`` does it, from an empty store. Compared are the seconds from the start of the process to the end of the run and
the peak of its memory. Other work on the machine shows in both, but not alike: the load beside each line tells of it.
``--processor`` compares processor time on one thread, which other work disturbs much less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.texts import write_tables
from regraft.run import cache_root

PROMISED = 0.25

Recipe = dict[str, Any]


def _recipe(workload: str, rows: int, strategy: str | Recipe, epochs: int, **more: Any) -> Recipe:
    return {"workload": workload, "rows": rows, "strategy": strategy, "training": {"epochs": epochs}, **more}


_TOP_1, _TOP_2, _TOP_3 = ({"name": "top-layers", "n": n} for n in (1, 2, 3))
RECIPES: dict[str, Recipe] = {
    "full, short": _recipe("short", 800, "full", 2),
    "full, long, one epoch": _recipe("long", 240, "full", 1),
    "top-2, short": _recipe("short", 1200, _TOP_2, 4),
    "top-1, long": _recipe("long", 320, _TOP_1, 5),
    "probe, short, many epochs": _recipe("short", 2000, "linear-probe", 20),
    "probe, long, mean head": _recipe("long", 400, "linear-probe", 5, head="mean"),
    "top-2, short, fp32": _recipe("short", 600, _TOP_2, 3, precision="fp32"),
    "top-3, short, not stored": _recipe("short", 600, _TOP_3, 2, cache={"store": "never"}),
    "full, short, batch 32": _recipe("short", 600, "full", 3, batch_size=32),
    "tiny, short, full": _recipe("short", 2000, "full", 5, tiny=True),
}


def main(arguments: Sequence[str] = ()) -> None:
    """Run what is asked for and print a line for each recipe."""
    parser = argparse.ArgumentParser("benchmarks.forecast", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"else all: {'; '.join(RECIPES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the rows")
    parser.add_argument("--processor", action="store_true", help="processor time, on one thread, instead of wall time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        results = [_measure(name, Path(folder), given) for name in given.names or RECIPES]
    for what in ("seconds", "memory"):
        within = sum(abs(result[what]["apart"]) <= PROMISED for result in results)
        print(f"{what}: {within} of {len(results)} within {PROMISED:.0%}")
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _measure(name: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    recipe = _resolved(RECIPES[name], folder / "".join(filter(str.isalnum, name)), given.scale)
    forecast, fact = (_child(doing, recipe, processor=given.processor) for doing in ("forecast", "fact"))
    result = {
        "name": name,
        "load": round(os.getloadavg()[0], 1),
        "parts": {"forecast": forecast["parts"], "fact": fact["parts"]},
        "spent": forecast["spent"],
        **{
            what: {"forecast": forecast[what], "fact": fact[what], "apart": forecast[what] / fact[what] - 1}
            for what in ("seconds", "memory")
        },
    }
    seconds, memory = result["seconds"], result["memory"]
    print(
        f"{name:26} {seconds['forecast']:6.1f} s for {seconds['fact']:6.1f} s ({seconds['apart']:+4.0%})   "
        f"{memory['forecast'] / 1e9:5.2f} GB for {memory['fact'] / 1e9:5.2f} GB ({memory['apart']:+4.0%})   "
        f"in {forecast['spent']:.0f} s, load {result['load']}",
        flush=True,
    )
    return result


def _resolved(asked: Recipe, folder: Path, scale: float) -> Recipe:
    """The recipe as regraft takes it, its tables written."""
    tables = folder / "tables"
    tables.mkdir(parents=True)
    material = cache_root() / "materials" / "vader"
    rows = round(asked["rows"] * scale)
    write_tables(asked["workload"], tables, material=material, rows=rows, test_rows=rows // 5)
    model: Recipe = {"name": "minilm", "head": asked.get("head", "own")}
    if asked.get("tiny"):
        from regraft.testing import WORDS, tiny_model

        model = {"name": str(tiny_model(folder / "tiny", words=WORDS))}
    training = asked["training"] | {key: asked[key] for key in ("precision", "batch_size") if key in asked}
    return {
        "task": "text-classification",
        "model": model,
        "data": {
            "train": str(tables / "train.csv"),
            "test": str(tables / "test.csv"),
            "split": {"train": 0.9, "validation": 0.1, "test": 0.0},
        },
        "strategy": asked["strategy"],
        "training": training,
        "cache": asked.get("cache", {}),
        "output": str(folder / "runs"),
    }


def _child(doing: str, recipe: Recipe, *, processor: bool) -> dict[str, Any]:
    environment = os.environ | {"REGRAFT_STORE": str(Path(recipe["output"]).parent / "store")}
    if processor:
        environment |= {"OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.forecast", "--child", doing, json.dumps(recipe), str(int(processor))],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def _forecast(recipe: Recipe, *, processor: bool) -> dict[str, Any]:
    import regraft
    from regraft.forecasting import forecast, rehearsal

    if processor:
        rehearsal._now = time.process_time
    prepared = regraft.prepare(regraft.make_recipe(recipe))
    return forecast(prepared, reading=_since_the_start(processor)).to_json()


def _fact(recipe: Recipe, *, processor: bool) -> dict[str, Any]:
    import regraft
    from regraft.planning.usage import peak_memory, seconds_by_part

    run = regraft.tune(regraft.make_recipe(recipe)).run
    parts = seconds_by_part(run.history())
    return {"seconds": _since_the_start(processor), "memory": peak_memory(), "parts": parts}


def _since_the_start(processor: bool) -> float:
    from regraft.planning.usage import process_seconds

    return time.process_time() if processor else process_seconds()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child = {"forecast": _forecast, "fact": _fact}[sys.argv[2]]
        print(json.dumps(child(json.loads(sys.argv[3]), processor=sys.argv[4] == "1")))
    else:
        main(sys.argv[1:])
