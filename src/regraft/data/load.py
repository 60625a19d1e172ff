"""All the data of a run: the named files read, the missing sides carved from train, leaks closed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from regraft.data.cells import shown
from regraft.data.example import BadRow, Column, Example, Splits
from regraft.data.examples import read_examples
from regraft.data.folders import media_of, metadata_in, sides_in
from regraft.data.split import SIDES, split
from regraft.data.table import locate, remarks
from regraft.errors import DataError
from regraft.recipe import DataOptions, SplitOptions

_NAMED = 3  # examples in a note


def load_splits(options: DataOptions, columns: Sequence[Column], *, seed: int, stratify: bool) -> Splits:
    """Read the files that the options name and carve from train the sides that have no file.

    For a task that opens files, train may be a folder that holds the folders train, validation and test.
    Equal inputs never lie on two sides: test is left whole, validation gives way to it, train to both. What
    was left out, and what looks wrong, is said in ``notes``.

    Raises:
        RecipeError, DataError: as :func:`read_examples` and :func:`split`; also where leaks leave nothing to
        train on.
    """
    named: dict[str, list[Example]] = {}
    bad: list[BadRow] = []
    mappings: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for side, path in side_paths(options, columns).items():
        named[side], skipped, mappings[side] = read_examples(path, columns, options)
        bad.extend(skipped)
        notes += remarks(path, media_of(columns))
    notes += _leave_out_leaks(named)
    notes += _straddling_groups(named)
    sides = _carve(named, options.split, seed=seed, stratify=stratify)
    for side in SIDES:
        notes += _contradictions(side, sides[side])
    return Splits(sides["train"], sides["validation"], sides["test"], mappings["train"], bad, notes)


def side_paths(options: DataOptions, columns: Sequence[Column]) -> dict[str, str]:
    """Where each side is read from; those that are carved from train are not there.

    Raises:
        DataError: train is not there, or holds two folders for one side.
    """
    sides = {side: getattr(options, side) for side in SIDES}
    if any(column.opens for column in columns):
        folder = locate(options.train, folders=True)
        if folder.is_dir() and metadata_in(folder, file=options.train) is None:
            inside = sides_in(folder, file=options.train)
            if not inside and (folder / "images").is_dir():  # as YOLO's are
                inside = sides_in(folder / "images", file=os.path.join(options.train, "images"))
            sides |= {side: path for side, path in inside.items() if side == "train" or sides[side] is None}
    return {side: path for side, path in sides.items() if path is not None}


def _leave_out_leaks(named: dict[str, list[Example]]) -> list[str]:
    """Take from each named side the rows whose inputs occur in a later one; say which."""
    notes = []
    for side, later in (("validation", "test"), ("train", "test"), ("train", "validation")):
        if side not in named or later not in named:
            continue
        known = {example.id for example in named[later]}
        leaks = [example for example in named[side] if example.id in known]
        if not leaks:
            continue
        if len(leaks) == len(named[side]):
            raise DataError(
                f"{leaks[0].file}, row {leaks[0].row}: this row and all others of {side} also occur in "
                f"{later} ({named[later][0].file}), so that none is left",
                fix=f"is it the same file? leave data.{later} out to have it carved from train",
            )
        named[side] = [example for example in named[side] if example.id not in known]
        notes.append(f"{_rows(len(leaks))} of {side} left out, because {later} has the same inputs: {_places(leaks)}.")
    return notes


def _carve(
    named: dict[str, list[Example]], fractions: SplitOptions, *, seed: int, stratify: bool
) -> dict[str, list[Example]]:
    """The three sides; those without a file get their fraction of train, in proportion to train's own."""
    wanted = {side: 0.0 if side in named else float(getattr(fractions, side)) for side in SIDES[1:]}
    total = fractions.train + sum(wanted.values())
    shares = SplitOptions(
        train=1 - sum(share / total for share in wanted.values()),
        validation=wanted["validation"] / total,
        test=wanted["test"] / total,
    )
    seed = seed if fractions.seed is None else fractions.seed
    parts = split(named["train"], shares, seed=seed, stratify=stratify)
    return {
        **dict(zip(SIDES, parts, strict=True)),
        **{side: named[side] for side in SIDES[1:] if side in named},
    }


def _straddling_groups(named: dict[str, list[Example]]) -> list[str]:
    """Groups with rows in two named files: kept, since the files say so, and said."""
    groups = {side: {e.group for e in examples if e.group is not None} for side, examples in named.items()}
    notes = []
    for side, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        both = sorted(groups.get(side, set()) & groups.get(later, set()))
        if both:
            several = "1 group has" if len(both) == 1 else f"{len(both)} groups have"
            examples = ", ".join(shown(group) for group in both[:_NAMED])
            notes.append(f"{several} rows both in {side} and in {later}, for example {examples}; they are kept.")
    return notes


def _contradictions(side: str, examples: Sequence[Example]) -> list[str]:
    """Equal inputs with different targets on one side: kept, and said."""
    by_id: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_id[example.id].append(example)
    pairs = []
    for same in by_id.values():
        other = next((example for example in same if example.target != same[0].target), None)
        if other is not None:
            pairs.append((same[0], other))
    if not pairs:
        return []
    several = "1 input occurs" if len(pairs) == 1 else f"{len(pairs)} inputs occur"
    found = "; ".join(f"{_labelled(first)} and {_labelled(second)}" for first, second in pairs[:_NAMED])
    return [f"{several} in {side} with different targets: {found}{_more(len(pairs))}. They are kept."]


def _labelled(example: Example) -> str:
    path = getattr(example.target, "path", None)
    return f"{_places([example])} ({shown(example.target if path is None else Path(path).name)})"


def _places(examples: Sequence[Example]) -> str:
    places = (f"{example.file}, row {example.row}" for example in examples[:_NAMED])
    return "; ".join(places) + _more(len(examples))


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _more(number: int) -> str:
    return f" and {number - _NAMED} more" if number > _NAMED else ""
