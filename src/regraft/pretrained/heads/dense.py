"""A class for each pixel: a feature pyramid network on any backbone, and a 1x1 classifier at stride 4.

A light form of the semantic branch of Kirillov et al., Panoptic Feature Pyramid Networks, 2019,
https://arxiv.org/abs/1901.02446.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from regraft.pretrained.heads.pyramid import Level, Pyramid, norm

WIDTH = 64  # channels of the head; light enough to be trained on a CPU


class Neck(nn.Module):
    """One map at a quarter of the image's size from all maps of a backbone.

    From the coarsest on, each is smoothed and added to the next finer one (Lin et al., Feature Pyramid Networks for
    Object Detection, 2017, https://arxiv.org/abs/1612.03144); then all of them, scaled up, are summed, so that what the
    coarse ones know has a short way. The 3x3 convolutions are depthwise-separable.
    """

    def __init__(self, levels: Sequence[Level], width: int = WIDTH) -> None:
        super().__init__()
        self.pyramid = Pyramid(levels, width)
        self.smooth = nn.ModuleList(separable(width) for _ in self.pyramid.strides)
        self.out = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in self.pyramid.strides)

    def forward(self, output: Any, size: tuple[int, int]) -> Tensor:
        """[batch, width, height / 4, width / 4], both rounded up, of an image of ``size``: height and width."""
        *finer, coarsest = self.pyramid(output, size)
        *steps, first = self.smooth
        smoothed = [first(coarsest)]
        for level, smooth in zip(reversed(finer), reversed(steps), strict=True):
            smoothed.append(smooth(level + F.interpolate(smoothed[-1], level.shape[-2:], mode="nearest")))
        quarter = (math.ceil(size[0] / 4), math.ceil(size[1] / 4))
        parts = [_resized(out(level), quarter) for out, level in zip(self.out, reversed(smoothed), strict=True)]
        return sum(parts[1:], parts[0])


class DenseHead(nn.Module):
    """Logits for each class at stride 4."""

    def __init__(self, levels: Sequence[Level], outputs: int, *, width: int = WIDTH, dropout: float = 0.1) -> None:
        super().__init__()
        self.neck = Neck(levels, width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(width, outputs, 1)

    def forward(self, output: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """``logits``: [batch, classes, height / 4, width / 4]."""
        return {"logits": self.classifier(self.dropout(self.neck(output, size)))}


class Grafted(nn.Module):
    """A backbone with a head on its maps."""

    base_model_prefix = "backbone"

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def config(self) -> Any:
        return self.backbone.config

    @property
    def base_model(self) -> nn.Module:
        return self.backbone

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """What the head says of images [batch, channels, height, width]."""
        output = self.backbone(pixel_values=pixel_values, output_hidden_states=True)
        height, width = pixel_values.shape[-2:]
        found: dict[str, Tensor] = self.head(output, (height, width))
        return found


class GraftedDense(Grafted):
    """A backbone with a ``DenseHead``: a segmenter."""

    def __init__(
        self, backbone: nn.Module, levels: Sequence[Level], outputs: int, *, width: int = WIDTH, dropout: float = 0.1
    ) -> None:
        super().__init__(backbone, DenseHead(levels, outputs, width=width, dropout=dropout))


def separable(width: int) -> nn.Sequential:
    """A 3x3 convolution of each channel, a 1x1 convolution, GroupNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        norm(width),
        nn.ReLU(),
    )


def _resized(found: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(found.shape[-2:]) == size:
        return found
    return F.interpolate(found, size, mode="bilinear", align_corners=False)
