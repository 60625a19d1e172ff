"""What a sweep came to: the table of its trials, and its winner over seeds. The content of ``sweep.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from regraft.evaluation import to_json
from regraft.sweeping.journal import Record
from regraft.sweeping.space import Point


def ranked(records: Sequence[Record]) -> list[Record]:
    """The complete ones, the best first; of equals the one with the lower loss, then the one that came first."""
    complete = [record for record in records if record.state == "complete"]
    return sorted(complete, key=lambda r: (-r.found["signed"], -r.found["tie"], r.place))


def configurations(records: Sequence[Record], *, finalists: int) -> list[Point]:
    """What is run with several seeds: the recipe as it is, and the best that were tried."""
    points: list[Point] = [{}]
    for record in ranked(records):
        if record.point not in points and len(points) <= finalists:
            points.append(record.point)
    return points


def compose(
    about: Mapping[str, Any],
    search: Sequence[Record],
    tried: Sequence[Point],
    runs: Sequence[Record],
    *,
    trials: int,
    seeds: int,
    confidence: float,
) -> dict[str, Any]:
    """The content of ``sweep.json``.

    Args:
        about: primary metric, its direction, and the numbers of rows.
        search: the trials.
        tried: the configurations that are run with several seeds.
        runs: these runs; a point has ``configuration`` and ``seed``.
        trials, seeds: how many there are to be.
    """
    over_seeds = [_over_seeds(tried[index], _of(runs, index), confidence) for index in range(len(tried))]
    ended = sum(run.state != "running" for run in runs)
    finished = bool(tried) and ended >= seeds * len(tried)
    winner = _winner(over_seeds, about, seeds) if finished else None
    found: dict[str, Any] = to_json(
        {
            **about,
            "finished": finished,
            "confidence": confidence,
            "trials_wanted": trials,
            "trials": [_told(record) for record in (*ranked(search), *_unscored(search))],
            "configurations": over_seeds,
            "winner": winner,
            "comparison": _comparison(winner, over_seeds, about, confidence) if winner else None,
        }
    )
    return found


def t_interval(values: Sequence[float], confidence: float) -> tuple[float | None, float | None]:
    """Student's interval of a mean; None where there are not two values, or all are equal and show no spread."""
    from scipy.stats import t

    if len(values) < 2 or stdev(values) == 0:
        return None, None
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def _unscored(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.state != "complete"]


def _told(record: Record) -> dict[str, Any]:
    kept = {key: value for key, value in record.found.items() if key not in {"signed", "tie"}}
    return {"trial": record.place + 1, "state": record.state, "point": record.point, **kept, "reason": record.reason}


def _of(runs: Sequence[Record], index: int) -> list[Record]:
    return [run for run in runs if run.point["configuration"] == index]


def _over_seeds(point: Point, runs: Sequence[Record], confidence: float) -> dict[str, Any]:
    complete = [run for run in runs if run.state == "complete"]
    values = [run.found["value"] for run in complete]
    low, high = t_interval(values, confidence)
    return {
        "point": point,
        "own": not point,
        "seeds": [run.point["seed"] for run in complete],
        "values": values,
        "mean": fmean(values) if values else None,
        "low": low,
        "high": high,
        "tie": fmean(run.found["tie"] for run in complete) if values else None,
        "failed": [run.reason for run in runs if run.state == "failed"],
    }


def _winner(over_seeds: Sequence[dict[str, Any]], about: Mapping[str, Any], seeds: int) -> dict[str, Any] | None:
    """The one with the best mean; those of which a seed failed only if no other is left."""
    scored = [each for each in over_seeds if each["values"]]
    whole = [each for each in scored if len(each["values"]) == seeds] or scored
    sign = 1 if about["higher_is_better"] else -1
    return max(whole, key=lambda each: (sign * each["mean"], each["tie"]), default=None)


def _comparison(
    winner: Mapping[str, Any], over_seeds: Sequence[Mapping[str, Any]], about: Mapping[str, Any], confidence: float
) -> dict[str, Any]:
    """The winner against the recipe as it is, seed by seed."""
    own = next(each for each in over_seeds if each["own"])
    theirs = dict(zip(own["seeds"], own["values"], strict=True))
    pairs = [
        (value, theirs[seed]) for seed, value in zip(winner["seeds"], winner["values"], strict=True) if seed in theirs
    ]
    differences = [value - other for value, other in pairs]
    low, high = t_interval(differences, confidence)
    found = {
        "difference": fmean(differences) if differences else None,
        "low": low,
        "high": high,
        "seeds": len(differences),
    }
    return {**found, "verdict": _verdict(found, bool(winner["own"]), about["higher_is_better"])}


def _verdict(found: Mapping[str, Any], own: bool, higher: bool) -> str:
    seeds = f"{found['seeds']} seeds"
    if own:
        return "nothing that was run with several seeds did better than the recipe as it is"
    if found["difference"] is None:
        return "the recipe as it is could not be scored on the same seeds"
    gained = f"{found['difference']:+.3f}"
    if found["low"] is None:
        return f"{gained} against the recipe as it is, alike in all of {seeds}, so that no interval can be given"
    span = f"{gained} [{found['low']:+.3f}, {found['high']:+.3f}] against the recipe as it is, over {seeds}"
    if (found["low"] > 0) if higher else (found["high"] < 0):
        return f"better: {span}"
    return f"{span}: no difference can be shown"
