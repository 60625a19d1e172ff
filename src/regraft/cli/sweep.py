"""regraft sweep"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli._options import Quiet

if TYPE_CHECKING:
    from regraft.sweeping import Sweep


def command(
    words: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE|SWEEP [KEY=VALUE]...", help="A recipe file, or the folder of a stopped sweep."),
    ],
    processes: Annotated[int, typer.Option(min=1, max=256, help="How many processes work on it.")] = 1,
    name: Annotated[str | None, typer.Option(help="The sweep folder's name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Try many ways to tune, choose by the validation rows, and compare the best over seeds."""
    from regraft.cli._progress import follow
    from regraft.errors import ResourceError

    try:
        from regraft.sweeping import sweep_events
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ResourceError(
            "a sweep needs optuna, which is not installed", fix='pip install "regraft[sweep]"'
        ) from None
    from regraft.report import write_report
    from regraft.run import Run

    sweep = _asked(words, name)
    found = follow(sweep_events(sweep, processes=processes), quiet=quiet)
    report = write_report(Run(sweep.folder))
    if as_json:
        print(json.dumps({**found, "report": str(report)}, ensure_ascii=False))
        return
    print("\n".join(_lines(found)))
    print(f"\nsweep   {sweep.folder}\nreport  {report}\nbest    regraft tune {sweep.best}")


def _asked(words: list[str], name: str | None) -> Sweep:
    """The sweep in a folder, or a new one of a recipe.

    Raises:
        RecipeError: not one recipe or folder is named, or options are given for a sweep that has begun.
    """
    from regraft.errors import RecipeError
    from regraft.sweeping import begin, find_sweep, read_sweep

    files = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    if len(files) != 1:
        raise RecipeError("name one recipe file, or one folder of a sweep", fix="options are written key.sub=value")
    if not Path(files[0]).is_dir():
        named = [f"name={json.dumps(name)}"] if name is not None else []
        return begin(*read_sweep(files[0], [*overrides, *named]))
    if overrides or name is not None:
        raise RecipeError(
            f"{files[0]} is a sweep that has begun: its options are as they are in its sweep.yaml",
            fix="leave them out, or begin another sweep from a recipe file",
        )
    return find_sweep(Path(files[0]))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The trials, the best first; then what was run with several seeds, and the verdict."""
    from regraft.cli._show import columns

    percent = f"{found['confidence']:.0%}"
    keys = list(dict.fromkeys(key for each in found["trials"] for key in each["point"]))
    rows = [[f"trial, by {found['primary'].replace('_', ' ')}", "validation", *keys, "epoch", "s"]]
    rows += [_row(each, keys) for each in found["trials"]]
    yield from columns(rows)
    yield f"in brackets the {percent} interval over {found['rows']['validation']:,} validation rows; optimistic:"
    yield "the best of many trials looks better on the rows it was chosen by than it is"
    for each in found["trials"]:
        if each["state"] == "failed":
            yield f"trial {each['trial']} failed: {each['reason']}"
    if found["configurations"]:
        yield ""
        yield from columns([["over seeds", "mean", "of"], *(_seeds_row(each) for each in found["configurations"])])
        yield f"in brackets Student's {percent} interval of the mean over seeds, on the same validation rows"
    if found["winner"]:
        told = found["comparison"]["verdict"]
        yield f"\nwinner  {_point(found['winner']['point'])}\n{told[0].upper()}{told[1:]}"


def _row(trial: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    from regraft.sweeping import short

    values = [short(trial["point"][key]) if key in trial["point"] else "" for key in keys]
    if trial["state"] != "complete":
        return [str(trial["trial"]), trial["state"], *values, "", ""]
    return [str(trial["trial"]), _estimate(trial, "value"), *values, f"{trial['epoch']:g}", f"{trial['seconds']:.1f}"]


def _seeds_row(each: Mapping[str, Any]) -> list[str]:
    failed = f", {len(each['failed'])} failed" if each["failed"] else ""
    return [_point(each["point"]), _estimate(each, "mean"), f"{len(each['values'])} seeds{failed}"]


def _estimate(each: Mapping[str, Any], key: str) -> str:
    if each[key] is None:
        return "–"
    span = f" [{each['low']:.3f}, {each['high']:.3f}]" if each["low"] is not None else ""
    return f"{each[key]:.3f}{span}"


def _point(point: Mapping[str, Any]) -> str:
    from regraft.sweeping import words

    return words(dict(point))
