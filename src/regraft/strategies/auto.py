"""auto: strategy, rate, epochs and whether names of classes are learned from, chosen by what there is to go by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Choice, Names, Phase, Probe, Signs, Strategy

_PACE, _FASTEST = 1e-3, 1e-4  # of pairs: the rate times the epochs, as measured on few texts (LOG.md); no higher rate
_CHANCE = 0.5  # the AUC of names that say nothing
_SOLVED, _SURE = 0.995, 200  # of accuracy, R² and the like on so many rows: nothing is left to be tuned


@dataclass(frozen=True)
class Auto(Strategy):
    """Chosen before the first step, and from then on as if it had been asked for: recipe.yaml holds what was taken.

    Options:
        minutes: the steps are to take no longer, as two passes over a batch foretell; null for as long as it takes.
    """

    chooses: ClassVar[bool] = True
    learning_rate: ClassVar[float] = 0.0  # type: ignore[misc]  # that of what is chosen

    minutes: Annotated[float, Field(gt=0)] | None = None

    def choice(self, signs: Signs) -> Choice:
        probe = signs.probe() if signs.fitted else None
        found = signs.names() if signs.fitted else None
        names = found if found is not None and found.auc > _CHANCE else None
        seen = _seen(signs, probe, found)
        if probe is not None and _solved(probe):
            told = f"{seen} Nothing is left to be tuned: only the last layer is fitted."
            return Choice("logistic", {}, signs.epochs, told, names is not None)
        if self.minutes is None:
            first = next(_wishes(signs))
            return first.taken(first.epochs, seen, names)
        more = 0 if names is None else names.rows
        affordable = self.minutes * 60 / (signs.seconds() * (1 + more / signs.rows))  # epochs in which all trains
        limit = f"{self.minutes:g} minute{'' if self.minutes == 1 else 's'}"
        wishes = [*_wishes(signs)]
        for wish in wishes:
            epochs = min(wish.epochs, int(affordable / wish.cost)) if wish.cost else wish.epochs
            if epochs >= signs.fewest:
                told = f" within {limit}" if wish.cost else f", as {limit} leave no time for steps"
                return wish.taken(epochs, seen, names, limit=told)
        late = f", though not within {limit}: nothing is quicker"
        return wishes[-1].taken(signs.fewest, seen, names, limit=late)

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:  # noqa: ARG002
        raise AssertionError("chosen before")


@dataclass(frozen=True)
class _Wish:
    """What could be taken, what it does, in how many epochs, and what one of them costs as a share of one in which all
    trains. ``pairs``: whether it learns from pairs, the faster the fewer epochs there are.
    """

    strategy: str
    options: Mapping[str, Any]
    does: str
    epochs: int
    cost: float
    pairs: bool = False

    def taken(self, epochs: int, seen: str, names: Names | None, *, limit: str = "") -> Choice:
        many = f" in {epochs} epoch{'s' if epochs > 1 else ''}" if self.cost else ""
        told = f"{seen} So {self.strategy}: {self.does}{many}{limit}."
        rate = {"learning_rate": min(_FASTEST, _PACE / epochs)} if self.pairs else {}
        return Choice(self.strategy, {**self.options, **rate}, epochs, told, names is not None)


def _wishes(signs: Signs) -> Iterator[_Wish]:
    """From the best, where time does not count, to the quickest."""
    pairs, epochs = signs.fitted and signs.pairs, signs.epochs
    half = max(signs.fewest, -(-epochs // 2))  # of pairs, at twice the rate, as good (LOG.md)
    if pairs:
        told = "by all their pairs it learns which examples are of one class"
        yield _Wish("contrastive", {}, told, half, 1.0, pairs=True)
    elif signs.fitted:
        yield _Wish("probe-then-tune", {"probe": "fitted"}, "the last layer is fitted, then all learns", epochs, 1.0)
    else:
        yield _Wish("full", {}, "all of the model learns", epochs, 1.0)
    blocks = signs.blocks()
    upper = {"n": blocks // 2}
    if pairs and blocks > 1:
        told = "its upper half learns which examples are of one class"
        yield _Wish("contrastive", upper, told, half, 0.5, pairs=True)
    elif blocks > 1:
        yield _Wish("top-layers", upper, "its upper half learns", epochs, 0.5)
    if signs.fitted:
        yield _Wish("logistic", {}, "only the last layer is fitted", epochs, 0.0)
    elif blocks > 1:
        told = "its last block learns, and what lies above it"
        yield _Wish("top-layers", {"n": 1}, told, epochs, 1 / blocks)


def _seen(signs: Signs, probe: Probe | None, names: Names | None) -> str:
    """What was looked at, in a sentence."""
    rarest = f", {signs.rarest:,} of the rarest class" if signs.kind == "classes" else ""
    rows = f"There are {signs.rows:,} rows to learn from{rarest}"
    named = "" if names is None else _told_of(names)
    if probe is None:
        return f"{rows}{named}."
    return (
        f"{rows}{named}; of the untouched model a linear probe has a "
        f"cross-validated {probe.metric.replace('_', ' ')} of {probe.value:.3f} ({probe.without:.3f} without looking)."
    )


def _told_of(names: Names) -> str:
    if names.auc > _CHANCE:
        return f", and {names.rows} more say the names of the classes (alone an AUC of {names.auc:.3f})"
    return f", which the names of the classes do not fit (an AUC of {names.auc:.3f}), so that they are left out"


def _solved(probe: Probe) -> bool:
    """Whether a last layer alone answers all, on rows enough to say so, and not because nearly all have one answer:
    of the errors that are made without looking, no more than a tenth may be left.
    """
    left, without = 1 - probe.value, 1 - probe.without
    return probe.rows >= _SURE and left <= min(1 - _SOLVED, without / 10)
