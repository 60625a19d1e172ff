"""Discriminators of waves: one that hears the wave whole, and one for each of some periods.

Kong, Kim and Bae, HiFi-GAN, 2020, https://arxiv.org/abs/2010.05646; the choice of them is that of Kim et al., VITS,
2021, https://arxiv.org/abs/2106.06103.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
_SLOPE = 0.1


class Discriminators(nn.Module):
    """All of them.

    Args:
        channels: the width of the first layers of a period's discriminator; the paper's is 32, which makes 47 million
            parameters in all. Others grow and shrink with it.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.each = nn.ModuleList([ScaleDiscriminator(max(channels // 2, 1))])
        self.each.extend(PeriodDiscriminator(period, channels) for period in PERIODS)

    def forward(self, waveform: Tensor) -> list[list[Tensor]]:
        """Of each discriminator what its layers give, the scores last.

        Args:
            waveform: [batch, samples].
        """
        return [discriminator(waveform.unsqueeze(1)) for discriminator in self.each]


class PeriodDiscriminator(nn.Module):
    """Folds the wave [batch, 1, samples] into rows of a period, and looks along its columns."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, channels, 4 * channels, 16 * channels, 32 * channels, 32 * channels]
        strides = [3, 3, 3, 3, 1]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (5, 1), (stride, 1), padding=(2, 0)))
            for i, o, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.conv_post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        missing = -waveform.shape[-1] % self.period
        whole = F.pad(waveform, (0, missing), mode="reflect")
        folded = whole.reshape(len(whole), 1, -1, self.period)
        return _layers(folded, self.convs, self.conv_post)


class ScaleDiscriminator(nn.Module):
    """Looks at the wave [batch, 1, samples] as it is, with convolutions in groups."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        shapes = [  # to how many times the channels, kernel, stride, groups
            (1, 15, 1, 1),
            (4, 41, 4, 4),
            (16, 41, 4, 16),
            (64, 41, 4, 64),
            (64, 41, 4, 256),
            (64, 5, 1, 1),
        ]
        layers, width = [], 1
        for times, kernel, stride, groups in shapes:
            wider = times * channels
            layers.append(
                weight_norm(
                    nn.Conv1d(width, wider, kernel, stride, kernel // 2, groups=min(groups, width, 16 * channels))
                )
            )
            width = wider
        self.convs = nn.ModuleList(layers)
        self.conv_post = weight_norm(nn.Conv1d(width, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        return _layers(waveform, self.convs, self.conv_post)


def _layers(hidden: Tensor, convs: nn.ModuleList, conv_post: nn.Module) -> list[Tensor]:
    found = []
    for conv in convs:
        hidden = F.leaky_relu(conv(hidden), _SLOPE)
        found.append(hidden)
    return [*found, conv_post(hidden)]
