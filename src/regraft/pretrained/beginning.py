"""The top blocks of a model as they began before it was pretrained: random numbers, as its family draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from regraft.errors import RecipeError
from regraft.fingerprint import draw
from regraft.pretrained.load import Pretrained


def begun_again(model: Pretrained, count: int, trained: Sequence[frozenset[str]], *, seed: int) -> Pretrained:
    """The model with its top blocks begun again; they count as new. The module itself is changed.

    Zhang et al., Revisiting Few-sample BERT Fine-tuning, 2021, https://arxiv.org/abs/2006.05987.

    Args:
        count: how many blocks.
        trained: the parameters that train in each phase. What begins again has to train from the first one on.
        seed: the numbers are drawn from it.

    Raises:
        RecipeError: there are not so many blocks, one of them would stay noise, or the family does not say how it
            begins.
    """
    anatomy = model.anatomy
    depth = len(anatomy.blocks)
    if count > depth:
        raise RecipeError(f"training.regularization.reinit = {count}", fix=f"this model has {depth} blocks")
    chosen = range(depth - count, depth)
    names = frozenset(name for index in chosen for name in anatomy.blocks[index])
    noise = [name for index in chosen for name in anatomy.blocks[index] if name not in trained[0] | anatomy.unused]
    if noise:
        raise RecipeError(
            f"training.regularization.reinit = {count}, and {noise[0]} would stay noise: it does not train at first",
            fix="take strategy=full, or top-layers with as many blocks, and freeze none of them",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("reinit", seed))
        for index in chosen:
            _begin_again(model.model, anatomy.modules[index])
    return replace(model, anatomy=replace(anatomy, new=anatomy.new | names))


def _begin_again(model: nn.Module, path: str) -> None:
    """Give a block tensors of its own, for others may use them too, and draw them as its family does.

    Raises:
        RecipeError: it leaves a matrix as it was that is not all one number.
    """
    block = model.get_submodule(path)
    before = {name: value for name, value in block.named_parameters() if value.ndim >= 2 and value.min() < value.max()}
    own: dict[int, nn.Parameter] = {}
    for module in block.modules():
        for name, value in module.named_parameters(recurse=False):
            module.register_parameter(name, own.setdefault(id(value), nn.Parameter(value.detach().clone())))
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, buffer.clone(), persistent=name not in module._non_persistent_buffers_set)
    with torch.no_grad():
        block.apply(_family_of(model, path)._init_weights)
    left = [name for name, value in block.named_parameters() if name in before and torch.equal(value, before[name])]
    if left:
        raise RecipeError(
            f"training.regularization.reinit: {type(block).__name__} does not say how {left[0]} begins",
            fix="leave it out",
        )


def _family_of(model: nn.Module, path: str) -> Any:
    """The innermost model of transformers that a module is in: it knows how its parts begin."""
    from transformers import PreTrainedModel

    steps = path.split(".")
    above = [model.get_submodule(".".join(steps[:count])) for count in range(len(steps))]
    found = [each for each in above if isinstance(each, PreTrainedModel)]
    assert found, "a block is in a model of transformers"
    return found[-1]
