"""What the features of all depths cost beside one forward pass over the same rows: what `regraft rank --layers` does.

Four ways over the rows that the ranking looks at, in turn, so that a slow minute hits all of them:

    forward   the backbone as transformers has it, batches of 64 by length, the mean of its output: one depth
    output    the same features as `regraft rank --models` makes them, kept nowhere
    depths    the features of all depths, kept nowhere
    stored    the features of all depths, written to an empty store

Each has tokenized rows and an open model, and is timed by the clock and by the processor time of all threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from regraft.device import choose_device
from regraft.evaluation.outputs import features_of
from regraft.frozen import Subject, features
from regraft.ranking import distinct_depths
from regraft.recipe import CacheOptions, Recipe, read_recipe
from regraft.sources import make_rows, open_model, read_data
from regraft.tasks import Encoded, make_task

_RECIPE = Path(__file__).parents[1] / "examples" / "movie_sentiment.yaml"

Seconds = tuple[float, float]  # of the clock, of the processor


def main(arguments: Sequence[str] = ()) -> None:
    """Print the seconds of each round and the ratios of the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    ways = _ways(read_recipe(_RECIPE), asked.rows)
    for way in ways.values():  # once unseen: kernels are made for every shape
        way()
    rounds = [{name: _timed(way) for name, way in ways.items()} for _ in range(asked.rounds)]
    print(f"{asked.rows:,} rows, {torch.get_num_threads()} threads; seconds by the clock / of the processor")
    for number, seconds in enumerate(rounds, start=1):
        told = ", ".join(f"{name} {wall:.2f} / {busy:.2f}" for name, (wall, busy) in seconds.items())
        print(f"round {number}: {told}")
    for name, beside in (("depths", "output"), ("depths", "forward"), ("stored", "output"), ("stored", "forward")):
        wall, busy = (_ratio(rounds, name, beside, which) for which in (0, 1))
        print(f"{name} / {beside}, of the medians: {wall:.2f} by the clock, {busy:.2f} of the processor")


def _ways(recipe: Recipe, rows: int) -> dict[str, Callable[[], Any]]:
    subject, encoded = _material(recipe, rows)
    taps = distinct_depths(subject)

    def forward() -> Any:
        with subject.device.computing():
            return features_of(subject.model, subject.inputs, subject.processor, encoded, batch_size=64)

    def output() -> Any:
        return features(subject, encoded, taps[-1:], CacheOptions(store="never"), root=Path())

    def depths() -> Any:
        return features(subject, encoded, taps, CacheOptions(store="never"), root=Path())

    def stored() -> Any:
        with tempfile.TemporaryDirectory() as root:
            return features(subject, encoded, taps, CacheOptions(), root=Path(root))

    return {"forward": forward, "output": output, "depths": depths, "stored": stored}


def _material(recipe: Recipe, rows: int) -> tuple[Subject, list[Encoded]]:
    task = make_task(recipe.task)
    splits, answers = read_data(recipe, task)
    opened = open_model(recipe, task, answers)
    device = choose_device(recipe.training.precision)
    opened.model.to(device.device)
    encoded = list(make_rows(splits.train[:rows], task, answers, opened).encoded)
    return Subject(opened.model, opened.anatomy, task.inputs, opened.processor, device), encoded


def _timed(way: Callable[[], Any]) -> Seconds:
    wall, busy = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - wall, time.process_time() - busy


def _ratio(rounds: Sequence[dict[str, Seconds]], name: str, beside: str, which: int) -> float:
    above, below = (statistics.median(seconds[key][which] for seconds in rounds) for key in (name, beside))
    return above / below


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
