"""Classes of which there are few, and the loss that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from regraft.quality.findings import Finding, Item, Row, label_of, place_of, strongest

_UNEVEN = 3.0  # times as many rows of the most frequent class as of the rarest
_FEW = 5  # rows of a class


def unbalanced(rows: Sequence[Row], kind: str) -> Iterator[Finding]:
    """Training classes that are rare beside the most frequent one, and those with hardly a row."""
    if kind not in {"classes", "labels"}:
        return
    train = [row for row in rows if row.side == "train"]
    counts = Counter(name for row in train for name in _names(row))
    if len(counts) < 2:
        return
    (often, most), (rare, fewest) = counts.most_common()[0], counts.most_common()[-1]
    if most > _UNEVEN * fewest:
        yield Finding(
            "imbalance",
            "note",
            f"The classes are uneven: {most:,} training rows of {often!r}, {fewest:,} of {rare!r}.",
            "judge by macro_f1 or balanced_accuracy (evaluation.primary), and let rare classes count as much: "
            "task.class_weights=balanced",
            len(counts),
        )
    few = [name for name, count in counts.items() if count < _FEW]
    if few:
        shown = [next(row for row in train if name in _names(row)) for name in few]
        items = [
            Item((place_of(row),), 1.0, f"{counts[name]} of {name!r}") for name, row in zip(few, shown, strict=True)
        ]
        several = "1 class has" if len(few) == 1 else f"{len(few)} classes have"
        told = f"{several} fewer than {_FEW} training rows, {min(few, key=lambda name: counts[name])!r} the fewest."
        yield Finding(
            "rare-classes", "note", told, "add rows of it, or join it with another class", len(few), strongest(items)
        )


def _names(row: Row) -> tuple[str, ...]:
    target = row.example.target
    return target if isinstance(target, tuple) else (label_of(row.example),)
