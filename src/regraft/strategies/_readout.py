"""Phases that look at what the last layer of the head is given."""

from __future__ import annotations

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy
from regraft.strategies._contract import Group, Phase


def fitted(anatomy: Anatomy) -> Phase:
    """The phase in which the last layer is fitted to the training rows.

    Raises:
        RecipeError: the head does not end with a linear layer, or holds more that is new: it would stay noise.
    """
    require_readout(anatomy)
    return Phase(1, (Group(anatomy.readout, 0.0),), "closed-form")


def has_readout(anatomy: Anatomy) -> bool:
    """Whether a head is a linear layer on features that are known."""
    return len(anatomy.readout) == 2 and not _noise(anatomy)  # its weight, and its bias


def require_readout(anatomy: Anatomy) -> None:
    """See that a head is a linear layer on features that are known.

    Raises:
        RecipeError: it is not.
    """
    if len(anatomy.readout) != 2:
        raise _unfit("it does not end with a linear layer and its bias")
    require_known(anatomy)


def require_known(anatomy: Anatomy) -> None:
    """See that nothing below the last layer is new.

    Raises:
        RecipeError: something is.
    """
    if noise := _noise(anatomy):
        raise _unfit(f"{noise[0]} starts from random numbers")


def _noise(anatomy: Anatomy) -> list[str]:
    """What is new below the last layer."""
    return sorted(anatomy.new - {*anatomy.readout} - anatomy.unused)


def _unfit(why: str) -> RecipeError:
    return RecipeError(
        f"this strategy fits the last layer of the head, and cannot with this one: {why}",
        fix="take model.head=mean or graft where the answer is one for the whole input, else another strategy",
    )
