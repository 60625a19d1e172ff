"""One answer for the whole input: the mean of what the backbone says of its positions, and a linear layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regraft.pretrained.heads.nearest import NearestNeighbours


def mean_pool(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the positions that ``mask`` marks with 1.

    Args:
        hidden: [batch, positions, width], or a grid [batch, width, height, width of the grid].
        mask: [batch, positions], or None where every position counts. Grids have none.

    Returns:
        [batch, width], in fp32.
    """
    hidden = hidden.float()
    if hidden.dim() == 4:
        return hidden.mean(dim=(2, 3))
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class MeanPooled(nn.Module):
    """A backbone, the mean of its last hidden states over the real tokens or the grid, and one linear layer.

    Mean pooling is what sentence encoders were trained with (Reimers and Gurevych, Sentence-BERT, 2019), and, over
    the grid, most convolutional networks (Lin et al., Network in Network, 2013, https://arxiv.org/abs/1312.4400).

    Args:
        width: of the last hidden states; else the config's ``hidden_size``.
    """

    base_model_prefix = "backbone"

    def __init__(self, backbone: nn.Module, outputs: int, *, dropout: float = 0.1, width: int | None = None) -> None:
        super().__init__()
        width = width or int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        linear = nn.Linear(width, outputs)
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        self.classifier: nn.Linear | NearestNeighbours = linear

    @property
    def config(self) -> Any:
        return self.backbone.config

    @property
    def base_model(self) -> nn.Module:
        return self.backbone

    def remember(self, rows: int, outputs: int) -> None:
        """Put in place of the linear layer one that keeps so many training rows; it holds none yet."""
        several = getattr(self.config, "problem_type", None) == "multi_label_classification"
        width = self.classifier.weight.shape[1]
        self.classifier = NearestNeighbours(rows, width, outputs, several=several)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Logits of shape [batch, outputs]."""
        hidden = self.backbone(**inputs).last_hidden_state
        pooled = mean_pool(hidden, inputs.get("attention_mask"))
        return {"logits": self.classifier(self.dropout(pooled).to(self.classifier.weight.dtype))}


def encoder_of(model: nn.Module) -> Any:
    """What reads the inputs of a model and gives one state a position: its backbone, or the encoder of that."""
    backbone: Any = model.base_model
    if getattr(backbone.config, "is_encoder_decoder", False) and hasattr(backbone, "get_encoder"):
        return backbone.get_encoder()
    return backbone


def state_mask(model: nn.Module, mask: Tensor | None, states: int) -> Tensor | None:
    """Which states of an encoder are of the sound and not of padding, [batch, states]; None where all are."""
    if mask is None or mask.shape[1] == states:
        return mask
    shorter = getattr(model.base_model, "_get_feature_vector_attention_mask", None)
    if shorter is None:
        return None
    found: Tensor = shorter(states, mask)
    return found


@torch.no_grad()
def pooled_features(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """What a probe sees: the mean of the backbone's last hidden states, [batch, width], in fp32."""
    output = encoder_of(model)(**inputs)
    hidden = output.last_hidden_state
    mask = inputs.get("attention_mask")
    return mean_pool(hidden, state_mask(model, mask, hidden.shape[1]) if hidden.dim() == 3 else mask)
