"""Boxes without anchors: at stride 4, how likely each cell is the middle of an object of a class, and its four sides.

The heatmap is CenterNet's (Zhou et al., Objects as Points, 2019, https://arxiv.org/abs/1904.07850), the distances to
the sides are TTFNet's (Liu et al., 2020, https://arxiv.org/abs/1909.00700).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from regraft.pretrained.heads.dense import WIDTH, Grafted, Neck, separable
from regraft.pretrained.heads.pyramid import Level

_PRIOR = -2.19  # a sigmoid of 0.1, as in CenterNet: else the many empty cells make up the first losses
_USUAL = 0.15  # so that an untrained head says 0.1 of the image's side


class BoxesHead(nn.Module):
    """A heatmap and the distances to the sides of the boxes."""

    def __init__(self, levels: Sequence[Level], outputs: int, *, width: int = WIDTH, dropout: float = 0.0) -> None:
        super().__init__()
        self.neck = Neck(levels, width)
        self.dropout = nn.Dropout(dropout)
        self.middles = separable(width)
        self.heatmap = nn.Conv2d(width, outputs, 1)
        self.sides = separable(width)
        self.ltrb = nn.Conv2d(width, 4, 1)
        nn.init.constant_(_bias_of(self.heatmap), _PRIOR)
        nn.init.zeros_(_bias_of(self.ltrb))

    def forward(self, output: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Both at a quarter of the image's size, rounded up.

        ``heatmap``: logits [batch, classes, h, w]. ``ltrb``: [batch, 4, h, w], distances from the cell to the left,
        top, right and bottom side of the box, above 0, where the image is 1 wide and 1 high.
        """
        found = self.dropout(self.neck(output, size))
        sides = self.ltrb(self.sides(found)).float()
        return {"heatmap": self.heatmap(self.middles(found)), "ltrb": _USUAL * F.softplus(sides)}


class GraftedBoxes(Grafted):
    """A backbone with a ``BoxesHead``: a detector."""

    def __init__(
        self, backbone: nn.Module, levels: Sequence[Level], outputs: int, *, width: int = WIDTH, dropout: float = 0.0
    ) -> None:
        super().__init__(backbone, BoxesHead(levels, outputs, width=width, dropout=dropout))


def _bias_of(layer: nn.Conv2d) -> Tensor:
    """The bias of a convolution that has one."""
    assert layer.bias is not None
    return layer.bias
