"""Which layers an adapter goes into: chosen by what a module is and where it lies, never by a family's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import nn

from regraft.errors import RecipeError
from regraft.pretrained.anatomy import Anatomy

Where = Literal["linear", "attention", "mlp"]


def layers_for(model: nn.Module, anatomy: Anatomy, *, where: Where, top: int | None) -> tuple[str, ...]:
    """The paths of the layers in the blocks that adapters can be put into.

    Args:
        where: "attention" for linear layers inside of a module of attention, "mlp" for all others, "linear" for both.
            Convolutions without groups count as linear layers.
        top: in so many of the top blocks; None for all.

    Raises:
        RecipeError: there is no such layer, or there are not so many blocks.
    """
    attends = {path: attention is not None for path, _, attention in _found(model, anatomy, top)}
    chosen = tuple(path for path, inside in attends.items() if where in ("linear", "attention" if inside else "mlp"))
    if not chosen:
        kinds = {"attention" if inside else "mlp" for inside in attends.values()}
        raise RecipeError(
            f"no layer of this model is of the kind {where!r}",
            fix=f"take strategy.where={' or '.join(['linear', *sorted(kinds)])}"
            if kinds
            else "take another strategy: adapters do not fit",
        )
    return chosen


def last_layers(model: nn.Module, anatomy: Anatomy, *, where: Where, top: int | None) -> tuple[str, ...]:
    """Of ``layers_for`` the last in each module of attention, and the last beside them in each block.

    What these give is what a block adds to the states that go through it.
    """
    chosen = set(layers_for(model, anatomy, where=where, top=top))
    last = {attention or block: path for path, block, attention in _found(model, anatomy, top) if path in chosen}
    return tuple(last.values())


def is_turned(module: nn.Module) -> bool:
    """Whether a module is a linear layer whose weight is kept turned round, as GPT-2 has it."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _found(model: nn.Module, anatomy: Anatomy, top: int | None) -> Iterator[tuple[str, str, str | None]]:
    """The linear layers: their path, their block, and the outermost module of attention within it that they lie in."""
    blocks = anatomy.modules if top is None else anatomy.modules[anatomy.below_top(top) :]
    for block in blocks:
        for path in _linear(model.get_submodule(block), block):
            yield path, block, _attention_over(model, path, block)


def _linear(block: nn.Module, path: str) -> Iterator[str]:
    whole = [name for name, module in block.named_modules() if isinstance(module, nn.MultiheadAttention)]
    for name, module in block.named_modules():
        if any(name.startswith(f"{inside}.") for inside in whole):
            continue  # it computes with their weights, and does not call them
        plain = isinstance(module, nn.Conv2d) and module.groups == 1
        if plain or isinstance(module, nn.Linear) or is_turned(module):
            yield f"{path}.{name}" if name else path


def _attention_over(model: nn.Module, path: str, block: str) -> str | None:
    """The outermost module of attention that a module lies inside of, as the names of classes say it."""
    found = None
    while path.startswith(f"{block}."):
        path = path.rpartition(".")[0]
        if "attention" in type(model.get_submodule(path)).__name__.lower():
            found = path
    return found
