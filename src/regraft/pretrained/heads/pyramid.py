"""Feature maps at several strides from any backbone: what heads for boxes and masks are grafted on.

Convolutional networks and hierarchical transformers compute such maps; of each stride the last one is taken. A plain
vision transformer has one stride only, from whose last map the others are made by sampling it up and down (Li et al.,
Exploring Plain Vision Transformer Backbones for Object Detection, 2022, https://arxiv.org/abs/2203.16527).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError

_STRIDES = (4, 8, 16, 32, 64)
_MADE = (4, 8, 16, 32)  # from a single map
_UNKNOWN_SIZE = 64  # pixels, of the trial image where a config does not say
_EXTRA = 8  # most tokens beside the patches: CLS, registers


@dataclass(frozen=True)
class Level:
    """One map of a backbone's output.

    ``index`` counts the output's maps, ``stride`` is 4, 8, 16, 32 or 64, the nearest to ``pixels``, how many pixels
    a cell covers. ``order`` says how its tensor lies: [batch, channels, height, width], [batch, height, width,
    channels], or tokens [batch, extra + cells, channels] with ``extra`` tokens first that are no part of the grid.
    """

    index: int
    stride: int
    channels: int
    pixels: float
    order: Literal["chw", "hwc", "tokens"] = "chw"
    extra: int = 0


class Pyramid(nn.Module):
    """Maps of equal width from what a backbone gives, finest first.

    Each map goes through its own 1x1 convolution and GroupNorm (Wu and He, 2018, https://arxiv.org/abs/1803.08494).
    The backbone is no part of this module.

    Args:
        levels: what ``find_levels`` found.
        width: the channels of each map.
    """

    def __init__(self, levels: Sequence[Level], width: int) -> None:
        super().__init__()
        self.levels = tuple(levels)
        single = self.levels[0] if len(self.levels) == 1 else None
        self.strides = _made(single.stride) if single else tuple(level.stride for level in self.levels)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(level.channels, width, 1, bias=False), norm(width)) for level in self.levels
        )
        self.sampled = nn.ModuleList(_resampling(single.stride, stride, width) for stride in self.strides if single)

    def forward(self, output: Any, size: tuple[int, int]) -> list[Tensor]:
        """The maps [batch, width, …] of an output that was asked for with ``output_hidden_states=True``.

        Args:
            size: height and width of the image in pixels.
        """
        found = maps_of(output)
        grids = [as_grid(found[level.index], level, size) for level in self.levels]
        maps = [lateral(grid) for lateral, grid in zip(self.lateral, grids, strict=True)]
        return [sample(maps[0]) for sample in self.sampled] if self.sampled else maps


def find_levels(backbone: nn.Module) -> tuple[Level, ...]:
    """The maps of a backbone, finest first, found on a trial image; its batch norms stay as they are.

    Raises:
        RecipeError: it gives no maps, or other ones each time.
    """
    image = trial_image(backbone)
    first, second = maps_of(look(backbone, image)), maps_of(look(backbone, image))
    family = getattr(backbone.config, "model_type", type(backbone).__name__)
    if any(not torch.equal(one, other) for one, other in zip(first, second, strict=True)):
        raise RecipeError(f"{family} reads an image otherwise each time", fix="use another family of models")
    levels = dict(_levels(first, image.shape[-1], backbone.config))
    if not levels:
        raise RecipeError(
            f"{family} gives no map of an image that boxes or masks could be read from",
            fix="use another family of models, for example resnet, convnext, swin, vit or dinov2",
        )
    return tuple(levels[stride] for stride in sorted(levels))


@torch.no_grad()
def look(backbone: nn.Module, image: Tensor) -> Any:
    """What a backbone gives for an image, all its maps among it, as in evaluation."""
    was = [module for module in backbone.modules() if module.training]
    backbone.eval()
    try:
        return backbone(pixel_values=image, output_hidden_states=True)
    finally:
        for module in was:
            module.training = True


def trial_image(backbone: nn.Module) -> Tensor:
    """An image of the size that a backbone was made for, [1, channels, side, side], no two rows of it alike."""
    config: Any = backbone.config
    side = side_of(config) or _UNKNOWN_SIZE
    channels = int(getattr(config, "num_channels", None) or 3)
    return torch.linspace(-1, 1, channels * side * side).view(1, channels, side, side)


def side_of(config: Any) -> int | None:
    """The height of the images that a config is made for, in pixels, if it says."""
    size = getattr(config, "image_size", None)
    first = size[0] if isinstance(size, list | tuple) and size else size
    return first if isinstance(first, int) and first > 0 else None


def maps_of(output: Any) -> list[Tensor]:
    """All maps of a backbone's output, in the order in which they are computed; they may still be tokens."""
    found = getattr(output, "feature_maps", None)
    if found is None:
        found = getattr(output, "reshaped_hidden_states", None) or getattr(output, "hidden_states", None) or ()
    last = getattr(output, "last_hidden_state", None)
    return [*found, *([] if last is None else [last])]


def as_grid(hidden: Tensor, level: Level, size: tuple[int, int]) -> Tensor:
    """A map as [batch, channels, height, width].

    Raises:
        RecipeError: the tokens make no grid for an image of this size.
    """
    if level.order == "chw":
        return hidden
    if level.order == "hwc":
        return hidden.permute(0, 3, 1, 2)
    cells = hidden[:, level.extra :]
    for rounded in (math.floor, math.ceil):
        height, width = (rounded(side / level.pixels) for side in size)
        if height * width == cells.shape[1]:
            return cells.transpose(1, 2).reshape(len(cells), -1, height, width)
    raise RecipeError(
        f"the model makes {cells.shape[1]} patches of an image of {size[0]}x{size[1]} pixels, which are no grid",
        fix=f"let the sides of images be multiples of {level.pixels:g} pixels",
    )


def norm(width: int) -> nn.GroupNorm:
    """GroupNorm of 16 groups, or as many as go into ``width``: no statistics, so that small batches do no harm."""
    return nn.GroupNorm(math.gcd(16, width), width)


def _levels(maps: Sequence[Tensor], side: int, config: Any) -> Iterator[tuple[int, Level]]:
    """A level for each map; the last one of a stride is the one that counts."""
    widths = {hidden.shape[-1] for hidden in maps if hidden.dim() == 3}
    for index, hidden in enumerate(maps):
        found = _tokens(hidden, side, config) if hidden.dim() == 3 else _grid(hidden, side, widths)
        if found is None:
            continue
        order, channels, pixels, extra = found
        stride = 2 ** round(math.log2(pixels))
        if stride in _STRIDES:
            yield stride, Level(index, stride, channels, pixels, order, extra)


_Found = tuple[Literal["chw", "hwc", "tokens"], int, float, int]


def _grid(hidden: Tensor, side: int, widths: set[int]) -> _Found | None:
    if hidden.dim() != 4:
        return None
    _, first, second, third = hidden.shape
    if first == second != third or (first == second and third in widths and first not in widths):
        return "hwc", third, side / second, 0
    return "chw", first, side / third, 0


def _tokens(hidden: Tensor, side: int, config: Any) -> _Found | None:
    """With the config's own patches if they fit, else with the stride that leaves fewest tokens over."""
    patch = getattr(config, "patch_size", None)
    own: Any = patch[0] if isinstance(patch, list | tuple) and patch else patch
    options = [(pixels, _left_over(hidden.shape[1], side, pixels)) for pixels in _STRIDES]
    fitting = [(pixels, extra) for pixels, extra in options if extra is not None]
    mine = _left_over(hidden.shape[1], side, own) if isinstance(own, int) and own > 1 else None
    if mine is not None:
        return "tokens", hidden.shape[2], float(own), mine
    if not fitting:
        return None
    pixels, extra = min(fitting, key=lambda option: option[1])
    return "tokens", hidden.shape[2], float(pixels), extra


def _left_over(tokens: int, side: int, pixels: int) -> int | None:
    """How many of the tokens are no part of a grid of cells of so many pixels; None if it has another number."""
    left = [tokens - cells * cells for cells in {side // pixels, -(-side // pixels)} - {0}]
    return min((extra for extra in left if 0 <= extra <= _EXTRA), default=None)


def _made(stride: int) -> tuple[int, ...]:
    """The strides that are made from one: at most 4 times finer."""
    return tuple(made for made in _MADE if made * 4 >= stride) or (stride,)


def _resampling(stride: int, to: int, width: int) -> nn.Module:
    """From one stride to another: transposed convolutions up, a maximum down."""
    if to >= stride:
        return nn.Identity() if to == stride else nn.MaxPool2d(to // stride, ceil_mode=True)
    doublings = int(math.log2(stride / to))
    steps: list[nn.Module] = []
    for _ in range(doublings):
        steps += [nn.ConvTranspose2d(width, width, 2, stride=2, bias=False), norm(width), nn.ReLU()]
    return nn.Sequential(*steps)
