"""What a head reads of a backbone's output, found by looking, and an output that holds nothing else.

Where the whole backbone is frozen, these are all that a head can learn from: often one vector an example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.frozen.patch import Forward, Stopped, forwards
from regraft.frozen.trace import noisy_sum
from regraft.pretrained.anatomy import backbone_path

_MEAN = ":mean"


@dataclass(frozen=True)
class Fields:
    """The tensors of a backbone's output that decide what the model says.

    ``names`` are joined by commas; ``hidden_states.2`` is the third of a tuple, and of ``last_hidden_state:mean`` only
    the mean over its positions is read. ``shapes`` are of one example. ``whole`` is an output that was seen.
    """

    names: str
    shapes: tuple[tuple[int, ...], ...]
    whole: Any

    @property
    def single(self) -> bool:
        """Whether it is one vector: [channels], [channels, 1, 1], [1, channels]."""
        return len(self.shapes) == 1 and torch.Size(self.shapes[0]).numel() == max(self.shapes[0])

    def output(self, rows: Sequence[Tensor]) -> Any:
        """An output of the same class with these fields, each example's row [1, …] as ``rows_of`` gives it.

        Fields that are not read are zeros that take no memory: some models count fields, and None does not count.
        """
        values = torch.cat(list(rows))
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = torch.split(values.flatten(1), sizes, dim=1)
        shaped = [part.reshape(len(values), *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        names = [name.removesuffix(_MEAN) for name in self.names.split(",")]
        nothing = values.new_zeros(())
        unread = {
            name: nothing.expand(len(values), *seen.shape[1:]) for name, seen in _tensors(self.whole) if seen.ndim
        }
        return _with(self.whole, {**unread, **dict(zip(names, shaped, strict=True))})


def backbone_of(model: nn.Module) -> nn.Module | None:
    """The module that a model keeps its backbone in, if it does."""
    path = backbone_path(model)
    return model.get_submodule(path) if path else None


def fields_of(model: nn.Module, inputs: Mapping[str, Tensor]) -> Fields:
    """Look at which fields of its backbone's output a model reads, on a few examples.

    Raises:
        ValueError: there is no backbone to stand aside, or none of its output is read, or shapes differ by example.
    """
    backbone = backbone_of(model)
    if backbone is None:
        raise ValueError("it has no module for its backbone")
    if any(name.endswith("mask") and not bool(value.all()) for name, value in inputs.items()):
        raise ValueError("its inputs are padded, so its fields differ in shape")
    own, seen = backbone.forward, []

    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            output = own(*args, **kwargs)
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in _tensors(output)}
        seen.append((output, leaves))
        return _with(output, leaves)

    with torch.enable_grad(), forwards({backbone: forward}):
        total = noisy_sum(model(**inputs))
    if len(seen) != 1:
        raise ValueError("it does not run its backbone once")
    output, leaves = seen[0]
    slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    read = {name: slope for name, slope in zip(leaves, slopes, strict=True) if slope is not None and bool(slope.any())}
    if not read:
        raise ValueError("its head reads no field of its backbone's output")
    count = len(next(iter(inputs.values())))
    if any(leaves[name].ndim < 2 or len(leaves[name]) != count for name in read):
        raise ValueError("what its head reads is not of single examples")
    if len(read) == 1 and _even(*read.values()):
        name, slope = next(iter(read.items()))
        return Fields(name + _MEAN, (tuple(_mean(slope).shape[1:]),), output)
    return Fields(",".join(read), tuple(tuple(slope.shape[1:]) for slope in read.values()), output)


def _even(slope: Tensor) -> bool:
    """Whether all positions count alike: of rows [batch, positions, channels] or a grid [batch, channels, …]."""
    if slope.ndim not in (3, 4) or slope.numel() == _mean(slope).numel():
        return False
    return torch.allclose(slope, _mean(slope).to(slope.dtype).expand_as(slope), rtol=1e-5, atol=0)


def _mean(tensor: Tensor) -> Tensor:
    """The mean over the positions of rows or of a grid, in fp32."""
    return tensor.float().mean(dim=1 if tensor.ndim == 3 else (2, 3), keepdim=True)


def rows_of(output: Any, names: str) -> list[Tensor]:
    """Of each example what some fields of an output hold: [1, …] of a single one, else [1, numbers] of all."""
    found = dict(_tensors(output))
    if names.endswith(_MEAN):
        return list(torch.split(_mean(found[names.removesuffix(_MEAN)]), 1))
    chosen = [found[name] for name in names.split(",")]
    together = chosen[0] if len(chosen) == 1 else torch.cat([tensor.flatten(1) for tensor in chosen], dim=1)
    return list(torch.split(together, 1))


def output_of_backbone(model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """What the backbone gives where the model calls it; nothing above it is run."""
    backbone = backbone_of(model)
    assert backbone is not None
    own = backbone.forward
    seen: list[Any] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.append(own(*args, **kwargs))
        raise Stopped(args, kwargs)

    try:
        with forwards({backbone: forward}):
            model(**inputs)
    except Stopped:
        return seen[0]
    raise ValueError("it does not run its backbone")


def standing_aside(model: nn.Module, output: Any) -> dict[nn.Module, Forward]:
    """A backbone that gives an output whatever it is called with."""
    backbone = backbone_of(model)
    assert backbone is not None
    return {backbone: lambda *_, **__: output}


def _tensors(output: Any) -> Iterator[tuple[str, Tensor]]:
    """The floating-point tensors of an output with their names.

    Raises:
        ValueError: it has no named fields.
    """
    if not isinstance(output, Mapping):
        raise ValueError("its backbone does not give named fields")
    for name, value in output.items():
        parts = enumerate(value) if isinstance(value, list | tuple) else [(None, value)]
        for index, part in parts:
            if isinstance(part, Tensor) and part.is_floating_point():
                yield (name if index is None else f"{name}.{index}"), part


def _with(output: Any, tensors: Mapping[str, Tensor]) -> Any:
    """An output of the same class with these tensors, None in the place of all others."""
    fields: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, list | tuple):
            parts = [tensors.get(f"{name}.{index}") for index in range(len(value))]
            fields[name] = None if all(part is None for part in parts) else type(value)(parts)
        else:
            fields[name] = tensors.get(name)
    return type(output)(**fields)
