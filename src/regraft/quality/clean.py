"""The table that is suggested: without rows that repeat others, hold nothing, or are likely labelled wrongly."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regraft.data import BadRow, side_paths
from regraft.data.folders import media_of
from regraft.data.table import read_header, read_table
from regraft.errors import RecipeError
from regraft.quality.findings import Item, Quality
from regraft.recipe import DataOptions
from regraft.run import storage
from regraft.tasks import Task

_SUGGESTED = ("near-duplicates", "duplicates", "empty-inputs", "wrong-labels")


def left_out(quality: Quality) -> dict[tuple[str, int], str]:
    """The rows that are better left out, by file and row, with the first reason for each.

    Of rows that repeat each other the one of the later side stays, so that test is left whole; on a side the first.
    """
    reasons: dict[tuple[str, int], str] = {}
    for finding in quality.findings:
        if finding.kind not in _SUGGESTED:
            continue
        for item in finding.items[: finding.count] if finding.kind == "wrong-labels" else finding.items:
            for file, row, reason in _of(finding.kind, item):
                reasons.setdefault((file, row), reason)
    return reasons


def export_clean(path: Path, quality: Quality, options: DataOptions, task: Task) -> tuple[int, int]:
    """Write the rows of the training table that stay, and beside them, as ``NAME.left-out.csv``, the others and why.

    Returns:
        How many rows stay, and how many are left out.

    Raises:
        RecipeError: the file is there already, or is no csv.
    """
    beside = path.with_name(f"{path.stem}.left-out.csv")
    taken = next((each for each in (path, beside) if each.exists()), None)
    if path.suffix.lower() != ".csv" or taken is not None:
        problem = f"{path} is no csv" if taken is None else f"{taken} is there already"
        raise RecipeError(f"--export-clean: {problem}", fix="name a new file that ends in .csv")
    columns = task.columns(label_separator=options.label_separator)
    media, file = media_of(columns), side_paths(options, columns)["train"]
    header = read_header(file, options, media=media)
    out = {
        row: reason for (of, row), reason in left_out(quality).items() if of == file or of.startswith(f"{file}{os.sep}")
    }
    kept: list[list[Any]] = [header]
    others: list[list[Any]] = [[*header, "row", "reason"]]
    for row in read_table(file, options, media=media):
        if isinstance(row, BadRow):
            others.append([*[None] * len(header), row.row, row.reason])
        elif row.row in out:
            others.append([*(row.values.get(name) for name in header), row.row, out[row.row]])
        else:
            kept.append([row.values.get(name) for name in header])
    for target, rows in ((path, kept), (beside, others)):
        with storage(target), target.open("w", encoding="utf-8", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(rows)
    return len(kept) - 1, len(others) - 1


def _of(kind: str, item: Item) -> Iterator[tuple[str, int, str]]:
    """The rows of a case that are left out, and why."""
    if kind == "wrong-labels":
        yield item.rows[0].file, item.rows[0].row, f"label {item.rows[0].label!r} is doubtful: {item.told}"
    elif kind == "empty-inputs":
        yield item.rows[0].file, item.rows[0].row, item.told
    else:
        *earlier, last = item.rows
        stays, leave = (item.rows[0], item.rows[1:]) if earlier[0].side == last.side else (last, earlier)
        for row in leave:
            yield row.file, row.row, f"repeats {stays.side} row {stays.row} of {stays.file}"
