"""Adapters grafted into a model, and merged into its weights again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from regraft.errors import RecipeError
from regraft.fingerprint import draw
from regraft.pretrained.adapters._contract import Kind
from regraft.pretrained.adapters.kinds import KINDS
from regraft.pretrained.adapters.places import with_positions
from regraft.pretrained.speaking import VOICES

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained


@dataclass(frozen=True)
class Adapter:
    """What was grafted into a model.

    ``settings`` are those of its kind, which is its ``peft_type``; ``layers`` the paths of those that it is in.
    ``parameters`` are its own; ``beside`` those of the model that train with it and are saved beside it.
    """

    settings: Mapping[str, Any]
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What is to be done with it."""
        return KINDS[self.settings["peft_type"]]


def graft(model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str] = (), *, seed: int) -> Pretrained:
    """The model with adapters, which are new. The module itself is changed.

    Args:
        settings: of a kind, its ``peft_type`` among them, which is one of ``KINDS``.
        layers: the paths of the layers that they are put into.
        seed: what the adapters start from is drawn from it.

    Raises:
        RecipeError: the model is a voice, or does not take this kind.
        ResourceError: a package is not installed.
    """
    if model.asked is not None and model.asked.auto_class in VOICES:
        raise RecipeError("adapters are not put into voices", fix="take strategy=full, top-layers or probe-then-tune")
    kind, names = KINDS[settings["peft_type"]], {id(value): name for name, value in model.model.named_parameters()}
    with_positions(model.config, -kind.takes(settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("adapter", seed))
        kind.put(model, settings, layers)
    renamed = {names[id(value)]: name for name, value in model.model.named_parameters() if id(value) in names}
    added = tuple(name for name, value in model.model.named_parameters() if id(value) not in names)
    anatomy = model.anatomy.grown(dict(model.model.named_parameters()), renamed, added)
    beside = tuple(name for name in anatomy.parameters if name in anatomy.head or name in anatomy.new)
    adapter = Adapter(settings, tuple(layers), added, tuple(name for name in beside if name not in added))
    return replace(model, anatomy=anatomy, adapter=adapter)


def kept_beside(model: Pretrained, trained: Collection[str]) -> Pretrained:
    """A model whose adapter is saved with all else that is trained."""
    adapter = model.adapter
    if adapter is None:
        return model
    known = {*adapter.parameters, *adapter.beside}
    more = tuple(name for name in model.anatomy.parameters if name in trained and name not in known)
    return replace(model, adapter=replace(adapter, beside=(*adapter.beside, *more)))


def require_linear(model: Pretrained) -> None:
    """See that an adapter can go into the weights.

    Raises:
        RecipeError: it is of another kind, or the weights have too few bits.
    """
    assert model.adapter is not None
    if model.asked is not None and model.asked.options.bits is not None:
        raise RecipeError(
            "the weights under the adapter have so few bits that they would be rounded again, and answers would change",
            fix="use it as it is, or give peft the adapter and a base that is not rounded",
        )
    if not model.adapter.kind.linear:
        name = str(model.adapter.settings["peft_type"]).lower().replace("_", " ")
        raise RecipeError(
            f"what a {name} puts into a model does not go into its weights: "
            "it is not linear, or it is no part of a layer",
            fix="use it as it is; lora and ia3 can be merged",
        )


def merged(model: Pretrained) -> Pretrained:
    """The model with its adapter in its own weights: it computes the same, and has the layers that it had before.

    The module itself is changed.
    """
    require_linear(model)
    assert model.adapter is not None
    names = {id(value): name for name, value in model.model.named_parameters()}
    model.adapter.kind.merge(model.model)
    renamed = {names[id(value)]: name for name, value in model.model.named_parameters()}
    return replace(model, anatomy=model.anatomy.grown(dict(model.model.named_parameters()), renamed, ()), adapter=None)
