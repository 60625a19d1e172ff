"""regraft compare"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from regraft.comparing import Compared
    from regraft.evaluation import Comparison


def command(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a tuned model's folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The one to compare it with.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="data.… and evaluation.… options.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A table, folder or COCO json with targets; else the first run's test rows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Which of two tuned models is better: paired tests on the same rows, whole and in slices."""
    from regraft.comparing import compare_models

    found = compare_models(first, second, data=data, overrides=words or [])
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(_lines(found)))


def _lines(found: Compared) -> Iterator[str]:
    from regraft.cli._show import columns

    rows = [[found.comparison.metric.replace("_", " "), "rows", found.first, found.second, "difference", "p"]]
    rows.append(_row("all", found.rows, found.comparison))
    rows += [_row(each.name, each.rows, each.comparison) for each in found.slices]
    yield from columns(rows)
    if found.slices:
        yield f"p of the slices is corrected for their number, {len(found.slices)}"
    yield f"\n{found.verdict[0].upper()}{found.verdict[1:]}"


def _row(name: str, rows: int, found: Comparison) -> list[str]:
    gap = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return [f"  {name}", f"{rows:,}", f"{found.tuned_value:.3f}", f"{found.baseline_value:.3f}", gap, f"{found.p:.2g}"]
