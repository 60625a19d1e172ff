"""Ways of tuning. One file a strategy: its name is its name in a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from regraft import extensions
from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.recipe import StrategyOptions
from regraft.strategies._contract import Choice, Group, Names, Phase, Probe, Signs, Strategy
from regraft.strategies._readout import has_readout

__all__ = [
    "Choice",
    "Group",
    "Names",
    "Phase",
    "Probe",
    "Signs",
    "Strategy",
    "has_readout",
    "make_strategy",
    "phases",
    "require_kind",
    "strategy_class",
    "strategy_names",
]


def strategy_names() -> list[str]:
    """The names of all strategies."""
    return extensions.names("strategies")


def strategy_class(options: StrategyOptions) -> type[Strategy]:
    """What a recipe names.

    Raises:
        RecipeError: no such strategy.
    """
    return extensions.find("strategies", options.name, Strategy)  # type: ignore[type-abstract]


def make_strategy(options: StrategyOptions, *, head_rate: float | None = None) -> Strategy:
    """The strategy that a recipe names, with its options.

    Args:
        head_rate: what the model's new head needs (``Pretrained.head_rate``). Where the recipe says no rate for the
            head, it learns at this one, or at that of the rest if that is higher.

    Raises:
        RecipeError: no such strategy, or no such option.
    """
    found = strategy_class(options)
    own = options.own()
    made = extensions.build("strategy", found, own)
    option = found.head_rate_option
    if head_rate is None or own.get(option) is not None or not hasattr(made, option):
        return made
    return extensions.build("strategy", found, own | {option: max(head_rate, made.learning_rate)})


def require_kind(options: StrategyOptions, kind: str) -> None:
    """See that a strategy can learn answers of a kind.

    Raises:
        RecipeError: it cannot.
    """
    known = strategy_class(options).answers
    if known and kind not in known:
        told = {"classes": "one class of each example", "labels": "several labels of each example"}
        learned = " or ".join(told.get(each, each) for each in known)
        raise RecipeError(
            f"strategy {options.name} learns {learned}, and here the answers are {told.get(kind, kind)}",
            fix="take another strategy, such as full or probe-then-tune",
        )


def phases(
    strategy: Strategy,
    anatomy: Anatomy,
    *,
    epochs: int,
    freeze: Sequence[str] = (),
    train: Sequence[str] = (),
) -> list[Phase]:
    """A strategy's phases, with the recipe's ``freeze`` patterns taken out and its ``train`` patterns put in.

    What the head does not look at is taken out too: no gradient reaches it.

    Raises:
        RecipeError: a pattern matches nothing, is asked for both ways, freezes what starts from random numbers, or
            nothing is left to train.
    """
    frozen = {name for pattern in freeze for name in anatomy.select(pattern)}
    added = [name for pattern in train for name in anatomy.select(pattern)]
    _check(frozen, set(added), anatomy)
    adjusted = [
        _adjusted(phase, frozen | anatomy.unused, added, strategy.learning_rate)
        for phase in strategy.phases(anatomy, epochs)
    ]
    if added and all(phase.fitted for phase in adjusted):
        raise RecipeError(
            f"{added[0]} is asked to be trained, and {type(strategy).__name__.lower()} takes no step",
            fix="take strategy.train out, or another strategy",
        )
    if not any(phase.groups for phase in adjusted):
        raise RecipeError(
            "nothing is left to train", fix="freeze less: strategy.freeze names all that the strategy trains"
        )
    return adjusted


def _check(frozen: set[str], added: set[str], anatomy: Anatomy) -> None:
    both = sorted(frozen & added)
    if both:
        raise RecipeError(
            f"{both[0]} is asked to be frozen and to be trained",
            fix="let strategy.freeze and strategy.train not overlap",
        )
    idle = sorted(added & anatomy.unused)
    if idle:
        raise RecipeError(f"{idle[0]} cannot be trained: the head does not look at it", fix="take it out of train")
    random = sorted(frozen & anatomy.new)
    if random:
        raise RecipeError(
            f"{random[0]} starts from random numbers; frozen, it would stay noise", fix="do not freeze it"
        )


def _adjusted(phase: Phase, frozen: set[str], added: Sequence[str], rate: float) -> Phase:
    groups = list(_without(phase.groups, frozen))
    if phase.fitted:
        held = sorted(phase.trainable & frozen)
        if held:
            raise RecipeError(
                f"{held[0]} is asked to be frozen, and the last layer is to be fitted",
                fix="take it out of strategy.freeze, or take another strategy",
            )
        return phase
    more = tuple(dict.fromkeys(name for name in added if name not in phase.trainable))
    return replace(phase, groups=tuple([*groups, Group(more, rate)] if more else groups))


def _without(groups: Sequence[Group], frozen: set[str]) -> Iterator[Group]:
    for group in groups:
        kept = tuple(name for name in group.parameters if name not in frozen)
        if kept:
            yield replace(group, parameters=kept)
