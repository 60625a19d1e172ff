"""Movie sentences, tuned as the examples ask, over three seeds: each score beside the linear probe on the same rows.

A seed decides the split, the head's first weights, the order of the data and dropout. The interval of a run is over its
test rows; the range in the last line is over the seeds.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

from regraft import read_recipe, tune

_EXAMPLES = Path(__file__).parent.parent / "examples"
_RESULTS = Path(__file__).parent / "results"
_SEEDS = (0, 1, 2)


def main() -> None:
    """Run both recipes and write ``results/movie.json``."""
    results = {name: [_run(name, seed) for seed in _SEEDS] for name in ("movie_sentiment", "movie_regression")}
    for name, rows in results.items():
        print(f"\n{name}, {rows[0]['metric']}")
        for row in rows:
            tuned, probe = row["tuned"], row["linear_probe"]
            print(
                f"  seed {row['seed']}: tuned {_told(tuned)}  linear probe {_told(probe)}  "
                f"difference {row['difference']:+.3f}, p = {row['p']:.4g}  ({row['seconds']:.0f} s)"
            )
        values = [row["tuned"]["value"] for row in rows]
        probes = [row["linear_probe"]["value"] for row in rows]
        print(f"  mean of {len(rows)}: {_mean(values)} against {_mean(probes)}")
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "movie.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _run(name: str, seed: int) -> dict[str, Any]:
    begun = time.monotonic()
    outcome = tune(read_recipe(_EXAMPLES / f"{name}.yaml", [f"seed={seed}", "output=runs/bench"]))
    scores = outcome.scores
    comparison, metric = scores["comparison"], scores["primary"]
    row = {
        "seed": seed,
        "metric": metric,
        "rows": scores["rows"],
        "tuned": scores["test"][metric],
        "linear_probe": scores["baselines"]["linear_probe"][metric],
        "difference": comparison["difference"],
        "p": comparison["p"],
        "seconds": time.monotonic() - begun,
    }
    print(name, row, flush=True)
    return row


def _told(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
