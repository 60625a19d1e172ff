"""Rows that say the same: equal inputs on a side, and inputs that are nearly equal, on a side and across sides.

Equal inputs never lie on two sides (``regraft.data`` sees to it). Nearly equal ones can, and then the test rows were
seen in training: the score is not that of new rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from regraft.quality.findings import SIDES, Finding, Item, Level, Row, place_of, rows_in_words, strongest
from regraft.quality.pictures import Glance, alike_pictures
from regraft.quality.texts import alike_texts
from regraft.training import Poll

_MATTERS = 0.01  # of the rows of a side, from which its scores are no longer those of new rows


@dataclass(frozen=True)
class Pair:
    """Two rows, by their places in a list, the one of the earlier side first, and how alike they are, up to 1."""

    first: int
    second: int
    likeness: float


def near_pairs(rows: Sequence[Row], seen: Sequence[Glance] | None, poll: Poll) -> list[Pair]:
    """All pairs of rows that are nearly equal, but not equal. None of rows that are neither texts nor images.

    Args:
        seen: of images what was seen of each.
    """
    found = alike_texts(rows, poll) if seen is None else alike_pictures(seen, poll)
    return [
        Pair(first, second, likeness)
        for first, second, likeness in found
        if rows[first].example.id != rows[second].example.id
    ]


def equal(rows: Sequence[Row]) -> Iterator[Finding]:
    """Equal inputs within a side."""
    for side in SIDES:
        by_id: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.side == side:
                by_id[row.example.id].append(row)
        several = [same for same in by_id.values() if len(same) > 1]
        if several:
            more = sum(len(same) - 1 for same in several)
            yield Finding(
                "duplicates",
                "note",
                f"{rows_in_words(more)} of {side} repeat{'s' if more == 1 else ''} another one of it.",
                "they count twice; leave them out if that is not meant",
                more,
                strongest([Item(tuple(map(place_of, same)), 1.0) for same in several]),
            )


def nearly_equal(rows: Sequence[Row], pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Of each pair of sides, and of each side, the rows that are nearly equal."""
    by_sides: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_sides[rows[pair.first].side, rows[pair.second].side].append(pair)
    for (earlier, later), found in sorted(by_sides.items(), key=lambda item: item[0][0] == item[0][1]):
        items = strongest([_item(rows, pair) for pair in found])
        if earlier == later:
            count = len({pair.second for pair in found})
            told = f"{rows_in_words(count)} of {earlier} nearly repeat{'s' if count == 1 else ''} another one of it."
            yield Finding("near-duplicates", "note", told, "leave them out if they are not meant", count, items)
        else:
            count = len({pair.second for pair in found})
            many = count >= _MATTERS * sum(row.side == later for row in rows)
            told = (
                f"{rows_in_words(count)} of {later} {'is' if count == 1 else 'are'} nearly equal to one of {earlier}"
                + (f", so that the scores of {later} are better than those of new rows would be." if many else ".")
            )
            fix = "leave them out of one side, or keep them together by a column that data.group names"
            level: Level = "error" if many and later == "test" else "warning"
            yield Finding("near-duplicates", level, told, fix, count, items)


def _item(rows: Sequence[Row], pair: Pair) -> Item:
    first, second = rows[pair.first], rows[pair.second]
    other = "" if first.example.target == second.example.target else "the labels differ"
    return Item((place_of(first), place_of(second)), pair.likeness, other)
