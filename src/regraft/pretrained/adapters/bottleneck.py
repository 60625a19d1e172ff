"""Bottleneck adapters: behind a layer, two small ones with a nonlinearity between them, and around them a way past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from regraft.pretrained.adapters._contract import Kind

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained


class Bottlenecks(Kind):
    """Adapters of Houlsby et al., 2019. They are no peft kind: regraft alone opens them."""

    fields: ClassVar[tuple[str, ...]] = ("size",)

    def put(self, model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str]) -> None:
        for path in layers:
            parent, _, name = path.rpartition(".")
            layer = model.model.get_submodule(path)
            setattr(model.model.get_submodule(parent), name, Bottleneck(layer, int(settings["size"])))


class Bottleneck(nn.Module):
    """What a layer gives, and what a narrow network makes of it: ``y + up(gelu(down(y)))``. ``up`` begins at 0.

    Args:
        base_layer: gives [..., width], or if it is a convolution [batch, width, height, width of the grid].
        size: of the narrow network.
    """

    def __init__(self, base_layer: nn.Module, size: int) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._grid = isinstance(base_layer, nn.Conv2d)
        width = _width(base_layer)
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.to(next(base_layer.parameters()).device)

    @property
    def weight(self) -> Any:
        """The layer's, which some families look at."""
        return self.base_layer.weight

    @property
    def bias(self) -> Any:
        """Likewise."""
        return self.base_layer.bias

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """See the class."""
        given: Tensor = self.base_layer(*args, **kwargs)
        states = given.movedim(1, -1) if self._grid else given
        change: Tensor = self.up(F.gelu(self.down(states)))
        return given + (change.movedim(-1, 1) if self._grid else change).to(given.dtype)


def _width(layer: Any) -> int:
    """How many numbers a layer gives at each place."""
    names = ("out_features", "out_channels", "nf")
    return int(next(getattr(layer, name) for name in names if hasattr(layer, name)))
