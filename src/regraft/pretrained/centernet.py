"""A MobileNetV3 CenterNet as a model of transformers: what the COCO weights of ``materials centernet-coco`` open as.

The backbone is that of Howard et al., Searching for MobileNetV3, 2019, https://arxiv.org/abs/1905.02244; heatmap and
sides are as in Zhou et al., Objects as Points, 2019, https://arxiv.org/abs/1904.07850, and Liu et al., TTFNet, 2020,
https://arxiv.org/abs/1909.00700. The convolutions have biases and no batch norms: those of the weights are folded in.

transformers knows nothing of these classes until ``register`` is called; no code is ever read from a model folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForObjectDetection, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import ModelOutput

_PRIOR = -2.19  # a sigmoid of 0.1, as in CenterNet: else the many empty cells make up the first losses
_USUAL = 0.15  # so that an untrained model says boxes of 0.3 of the image's side
_ACTIVATIONS = {"relu": nn.ReLU, "hard_swish": nn.Hardswish}
_FIELDS = ("kernel", "expansion", "channels", "squeeze", "activation", "stride")

# Rows of _FIELDS; no expansion, or no squeeze-and-excitation, is 0.
_MOBILENET = (
    (3, 0, 16, 0, "relu", 1),
    (3, 64, 24, 0, "relu", 2),
    (3, 72, 24, 0, "relu", 1),
    (5, 72, 32, 24, "relu", 2),
    (5, 96, 32, 24, "relu", 1),
    (5, 96, 32, 24, "relu", 1),
    (3, 192, 64, 0, "hard_swish", 2),
    (3, 160, 64, 0, "hard_swish", 1),
    (3, 144, 64, 0, "hard_swish", 1),
    (3, 144, 64, 0, "hard_swish", 1),
    (3, 384, 88, 96, "hard_swish", 1),
    (3, 528, 88, 136, "hard_swish", 1),
    (5, 528, 120, 136, "hard_swish", 2),
    (5, 720, 120, 184, "hard_swish", 1),
    (5, 720, 120, 184, "hard_swish", 1),
)


class CenterNetConfig(PreTrainedConfig):
    """What the model is made of.

    ``blocks`` is one dict a block, with the keys kernel, expansion, channels, squeeze, activation and stride. ``taps``
    are the blocks whose outputs are the maps of stride 4, 8 and 16; to these belong the three entries of
    ``lateral_expansions`` (0 for none), ``lateral_channels`` and ``neck_channels``. ``box_unit`` is what an output of
    1 means, as a part of the side of an image of ``image_size`` pixels.
    """

    model_type = "regraft-centernet"

    num_channels: int = 3
    image_size: int = 512
    stem_channels: int = 16
    blocks: list[dict[str, Any]] | None = None
    taps: list[int] | tuple[int, ...] = (2, 4, 11)
    top_channels: int = 480
    lateral_expansions: list[int] | tuple[int, ...] = (72, 96, 0)
    lateral_channels: list[int] | tuple[int, ...] = (18, 24, 22)
    neck_channels: list[int] | tuple[int, ...] = (64, 96, 128)
    gate_channels: int = 32
    box_unit: float = 1 / 32
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.blocks is None:
            self.blocks = [dict(zip(_FIELDS, row, strict=True)) for row in _MOBILENET]
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


@dataclass
class CenterNetOutput(ModelOutput):
    """What the model says of a batch of images.

    Args:
        heatmap: logits [batch, classes, h, w], h and w a quarter of the image's: cell (i, j) is the point
            (j / w, i / h) of the image.
        ltrb: [batch, 4, h, w], distances from that point to the left, top, right and bottom side of the box, at
            least 0, where the image is 1 wide and 1 high.
        hidden_states: the backbone's maps, if asked for.
    """

    heatmap: Tensor | None = None
    ltrb: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class CenterNetPreTrained(PreTrainedModel):  # type: ignore[no-untyped-call]
    """What backbone and detector share."""

    config_class = CenterNetConfig
    config: CenterNetConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        if isinstance(module, Answer):
            init.normal_(module.weight, std=self.config.initializer_range)
            init.constant_(_bias(module), module.start)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)


class CenterNetBackbone(CenterNetPreTrained):  # type: ignore[no-untyped-call]
    """MobileNetV3 without its classifier."""

    def __init__(self, config: CenterNetConfig) -> None:
        super().__init__(config)
        assert config.blocks is not None
        widths = [config.stem_channels, *(int(block["channels"]) for block in config.blocks)]
        self.stem = nn.Sequential(SameConv2d(config.num_channels, widths[0], 3, stride=2), nn.Hardswish())
        self.blocks = nn.ModuleList(
            InvertedResidual(width, **block) for width, block in zip(widths, config.blocks, strict=False)
        )
        self.top = nn.Sequential(SameConv2d(widths[-1], config.top_channels, 1), nn.Hardswish())
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None) -> BaseModelOutput:  # noqa: ARG002
        """The last map as ``last_hidden_state``, and always all four as ``hidden_states``: strides 4, 8, 16 and 32.

        Args:
            pixel_values: [batch, 3, height, width].
        """
        hidden = self.stem(pixel_values)
        maps = []
        for index, block in enumerate(self.blocks):
            hidden = block(hidden)
            if index in self.config.taps:
                maps.append(hidden)
        top = self.top(hidden)
        return BaseModelOutput(last_hidden_state=top, hidden_states=(*maps, top))


class CenterNetForObjectDetection(CenterNetPreTrained):  # type: ignore[no-untyped-call]
    """The backbone, a neck that adds its maps from coarse to fine, and two convolutions that say what is where."""

    def __init__(self, config: CenterNetConfig) -> None:
        super().__init__(config)
        assert config.blocks is not None
        self.backbone = CenterNetBackbone(config)
        widths = [*(int(config.blocks[tap]["channels"]) for tap in config.taps), config.top_channels]
        self.neck = CenterNetNeck(
            widths,
            expansions=config.lateral_expansions,
            laterals=config.lateral_channels,
            outputs=config.neck_channels,
            gate=config.gate_channels,
        )
        classes = int(config.num_labels or 0)
        self.heatmap = Separable(self.neck.channels, classes, 3, answer=_PRIOR)
        self.ltrb = Separable(self.neck.channels, 4, 3, answer=_USUAL / config.box_unit)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None) -> CenterNetOutput:
        """See ``CenterNetOutput``.

        Args:
            pixel_values: [batch, 3, height, width], for the COCO weights RGB from 0 to 255.
        """
        maps = self.backbone(pixel_values).hidden_states
        found = self.neck(maps)
        height, width = pixel_values.shape[-2:]
        # A network of convolutions measures in pixels: in a smaller image the same pixels are a larger part.
        shares = [self.config.image_size / side for side in (width, height, width, height)]
        unit = found.new_tensor(shares).view(1, 4, 1, 1) * self.config.box_unit
        return CenterNetOutput(
            heatmap=self.heatmap(found),
            ltrb=F.relu(self.ltrb(found)) * unit,
            hidden_states=maps if output_hidden_states else None,
        )


class CenterNetNeck(nn.Module):
    """One map at the finest stride out of a backbone's maps: each coarser one is blown up and joined to the next.

    Args:
        widths: channels of the maps, finest first, each of half the size of the one before.
        expansions: channels that a map is widened to first, 0 for not; as ``laterals`` and ``outputs``, for all maps
            but the coarsest.
        laterals: channels that a map is narrowed to.
        outputs: channels that it gives, and the coarser map too.
        gate: channels within the squeeze-and-excitation at the end (Hu et al., 2018, https://arxiv.org/abs/1709.01507).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        expansions: Sequence[int],
        laterals: Sequence[int],
        outputs: Sequence[int],
        gate: int,
    ) -> None:
        super().__init__()
        joined = [2 * width for width in outputs]
        self.channels = joined[0]
        self.laterals = nn.ModuleList(
            _lateral(*sizes) for sizes in zip(widths[:-1], expansions, laterals, outputs, strict=True)
        )
        self.upward = nn.ModuleList(
            TwoScales(coarser, width) for coarser, width in zip([*joined[1:], widths[-1]], outputs, strict=True)
        )
        self.squeeze = nn.Conv2d(self.channels, gate, 1)
        self.excite = nn.Conv2d(gate, self.channels, 1, bias=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[batch, channels, h, w] of the size of the first map."""
        found = maps[-1]
        for fine, lateral, upward in zip(maps[-2::-1], self.laterals[::-1], self.upward[::-1], strict=True):
            height, width = fine.shape[-2:]
            coarse = doubled(upward(found))[..., :height, :width]
            found = F.relu(torch.cat([lateral(fine), coarse], dim=1))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(found.mean(dim=(2, 3), keepdim=True)))))
        return found * gate


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: of an odd number of zeros, one more comes right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] > 1:
            input = F.pad(input, [*self._zeros(input.shape[-1]), *self._zeros(input.shape[-2])])
        return super().forward(input)

    def _zeros(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """A block of MobileNetV3: widen, a depthwise convolution, squeeze-and-excitation, narrow, add what came in."""

    def __init__(
        self, inputs: int, *, kernel: int, expansion: int, channels: int, squeeze: int, activation: str, stride: int
    ) -> None:
        super().__init__()
        width = expansion or inputs
        act = _ACTIVATIONS[activation]
        self.residual = stride == 1 and inputs == channels
        self.expand = nn.Sequential(SameConv2d(inputs, width, 1), act()) if expansion else nn.Identity()
        self.depthwise = nn.Sequential(SameConv2d(width, width, kernel, stride=stride, groups=width), act())
        self.excite = SqueezeExcite(width, squeeze) if squeeze else nn.Identity()
        self.project = SameConv2d(width, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.project(self.excite(self.depthwise(self.expand(hidden))))
        return hidden + found if self.residual else found


class SqueezeExcite(nn.Module):
    """Each channel times a number from 0 to 1 that depends on the means of all."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        means = hidden.mean(dim=(2, 3), keepdim=True)
        return hidden * F.hardsigmoid(self.excite(F.relu(self.squeeze(means))))


class Answer(nn.Conv2d):
    """The 1x1 convolution that gives a model's answer; untrained it says ``start`` of everything."""

    def __init__(self, inputs: int, outputs: int, start: float) -> None:
        super().__init__(inputs, outputs, 1)
        self.start = start


class Separable(nn.Module):
    """A depthwise and a 1x1 convolution with nothing between them; ``answer`` is the start of an ``Answer``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, answer: float | None = None) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1) if answer is None else Answer(inputs, outputs, answer)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.pointwise(self.depthwise(hidden))
        return found


class TwoScales(nn.Module):
    """The sum of a 3x3 and a 5x5 separable convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.small = Separable(inputs, outputs, 3)
        self.large = Separable(inputs, outputs, 5)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.small(hidden) + self.large(hidden)
        return found


def doubled(hidden: Tensor) -> Tensor:
    """Twice as high and wide: the old cells stay at the even places, means of their neighbours come between.

    Thus cell (i, j) stays at the same point of the image, as the heatmap's cells are meant; torch's own
    interpolation would move it by a quarter of a cell.
    """
    hidden = F.pad(hidden, (0, 1, 0, 1), mode="replicate")
    height, width = hidden.shape[-2:]
    size = (2 * height - 1, 2 * width - 1)
    return F.interpolate(hidden, size=size, mode="bilinear", align_corners=True)[..., :-1, :-1]


def register() -> None:
    """Make the classes known to transformers' AutoConfig, AutoModel and AutoModelForObjectDetection."""
    AutoConfig.register(CenterNetConfig.model_type, CenterNetConfig, exist_ok=True)
    AutoModel.register(CenterNetConfig, CenterNetBackbone, exist_ok=True)
    AutoModelForObjectDetection.register(CenterNetConfig, CenterNetForObjectDetection, exist_ok=True)


def _lateral(inputs: int, expansion: int, narrow: int, outputs: int) -> nn.Sequential:
    widen = [nn.Conv2d(inputs, expansion, 1), nn.ReLU()] if expansion else []
    return nn.Sequential(*widen, nn.Conv2d(expansion or inputs, narrow, 1), nn.ReLU(), Separable(narrow, outputs, 5))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
