"""The plan: every part of the model with what is frozen, what trains and at which rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from regraft.pretrained import Anatomy
from regraft.strategies import Phase


@dataclass(frozen=True)
class Part:
    """A part of the model in one phase.

    ``learning_rate`` is the lowest and the highest rate in it; None where all of it is frozen. Training rows that it
    keeps are ``parameters`` that are not ``trainable``, at a rate of 0.
    """

    name: str
    parameters: int
    trainable: int
    learning_rate: tuple[float, float] | None


@dataclass(frozen=True)
class Plan:
    """What a run is about to do; the content of ``plan.json``.

    ``choice`` says why this strategy was taken, where the recipe left it open; ``forecast`` is what it will take, where
    that was measured.
    """

    strategy: dict[str, Any]
    model: dict[str, Any]
    loss: dict[str, str]
    precision: dict[str, str]
    parameters: dict[str, int]
    tree: list[Part]
    phases: list[dict[str, Any]]
    data: dict[str, Any]
    steps: int
    notes: list[str] = field(default_factory=list)
    choice: str | None = None
    forecast: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def parts_of(anatomy: Anatomy, phases: Sequence[Phase]) -> list[Part]:
    """The parts from bottom to top, over all phases together."""
    rates: dict[str, list[float]] = {}
    learned = frozenset[str]().union(*(phase.trainable for phase in phases if phase.objective != "nearest"))
    for phase in phases:
        for group in phase.groups:
            for name in group.parameters:
                rates.setdefault(name, []).append(group.learning_rate)
    return [_part(part, names, anatomy, rates, learned) for part, names in anatomy.parts.items()]


def _part(
    part: str, names: Sequence[str], anatomy: Anatomy, rates: dict[str, list[float]], learned: frozenset[str]
) -> Part:
    found = [rate for name in names for rate in rates.get(name, ())]
    return Part(
        name=part,
        parameters=sum(anatomy.sizes[name] for name in names),
        trainable=sum(anatomy.sizes[name] for name in names if name in learned),
        learning_rate=(min(found), max(found)) if found else None,
    )
