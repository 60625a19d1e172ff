"""Groups that lie on two sides: what is learned of one of their rows helps with the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from regraft.quality.findings import SIDES, Finding, Item, Row, place_of, rows_in_words, strongest


def straddling(rows: Sequence[Row]) -> Iterator[Finding]:
    """For each two sides the groups (``data.group``) that have rows on both."""
    members: defaultdict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.example.group is not None:
            members[row.example.group][row.side].append(row)
    for earlier, later in ((SIDES[0], SIDES[1]), (SIDES[0], SIDES[2]), (SIDES[1], SIDES[2])):
        both = {group: sides for group, sides in members.items() if earlier in sides and later in sides}
        if not both:
            continue
        touched = sum(len(sides[later]) for sides in both.values())
        items = [
            Item((place_of(sides[earlier][0]), place_of(sides[later][0])), 1.0, f"group {group}")
            for group, sides in both.items()
        ]
        several = "1 group has" if len(both) == 1 else f"{len(both):,} groups have"
        yield Finding(
            "groups",
            "error" if later == "test" else "warning",
            f"{several} rows both in {earlier} and in {later} ({rows_in_words(touched)} of {later}), so that the "
            f"scores of {later} are better than those of new groups would be.",
            "put each group into one table, or let one table be split: it is kept together then",
            len(both),
            strongest(items),
        )
