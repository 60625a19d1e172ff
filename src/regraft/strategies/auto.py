"""auto: strategy, rate and epochs are chosen by the answers, the number of labels, and the time there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Choice, Phase, Probe, Signs, Strategy

_BRIEF, _FAST, _USUAL = 200, 2e-4, 1e-4  # steps below which pairs of examples are learned from at the faster rate
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
        seen = _seen(signs, probe)
        if probe is not None and _solved(probe):
            return Choice("logistic", {}, 1, f"{seen} Nothing is left to be tuned: only the last layer is fitted.")
        if self.minutes is None:
            wish = next(_wishes(signs))
            return wish.taken(signs, signs.epochs, seen)
        *rest, quickest = _wishes(signs)
        affordable = self.minutes * 60 / signs.seconds()
        for wish in rest:
            if wish.cost * signs.fewest <= affordable:
                epochs = min(signs.epochs, int(affordable / wish.cost))
                return wish.taken(signs, epochs, seen, limit=f" within {self.minutes:g} minutes")
        return quickest.taken(signs, signs.fewest, seen, limit=f", as {self.minutes:g} minutes are short")

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:  # noqa: ARG002
        raise AssertionError("chosen before")


@dataclass(frozen=True)
class _Wish:
    """What could be taken, what it does, and what an epoch costs as a share of one in which all trains."""

    strategy: str
    options: Mapping[str, Any]
    does: str
    cost: float

    def taken(self, signs: Signs, epochs: int, seen: str, *, limit: str = "") -> Choice:
        options = dict(self.options)
        if self.strategy == "contrastive":
            options["learning_rate"] = _FAST if epochs * signs.an_epoch < _BRIEF else _USUAL
        many = f" in {epochs} epoch{'s' if epochs > 1 else ''}" if self.cost else ""
        return Choice(self.strategy, options, epochs, f"{seen} So {self.strategy}: {self.does}{many}{limit}.")


def _wishes(signs: Signs) -> Iterator[_Wish]:
    """From the best, where time does not count, to the quickest."""
    upper = "the upper half of the blocks, as what lies below is then computed once,"
    pairs = signs.fitted and signs.kind == "classes"
    if pairs:
        yield _Wish("contrastive", {}, "the model learns which examples are of one class, by all their pairs,", 1.0)
    elif signs.fitted:
        yield _Wish("probe-then-tune", {"probe": "fitted"}, "the last layer is fitted, then all learns", 1.0)
    else:
        yield _Wish("full", {}, "all of the model learns", 1.0)
    blocks = signs.blocks()
    if pairs and blocks > 1:
        yield _Wish("contrastive", {"n": blocks // 2}, f"{upper} learns which examples are of one class", 0.5)
    elif blocks > 1:
        yield _Wish("top-layers", {"n": blocks // 2}, f"{upper} learns", 0.5)
    if signs.fitted:
        yield _Wish("logistic", {}, "only the last layer is fitted", 0.0)
    elif blocks > 1:
        yield _Wish("top-layers", {"n": 1}, "only the last block learns, and what lies above it,", 1 / blocks)


def _seen(signs: Signs, probe: Probe | None) -> str:
    """What was looked at, in a sentence."""
    if probe is None:
        return (
            f"There are {signs.rows:,} rows to learn from, and no single answer that a last layer could be fitted to."
        )
    rarest = f", {signs.rarest:,} of the rarest class" if signs.kind == "classes" else ""
    return (
        f"There are {signs.rows:,} rows to learn from{rarest}, and of the untouched model a linear probe has a "
        f"cross-validated {probe.metric.replace('_', ' ')} of {probe.value:.3f} ({probe.without:.3f} without looking)."
    )


def _solved(probe: Probe) -> bool:
    return probe.higher_is_better and probe.rows >= _SURE and probe.value >= _SOLVED
