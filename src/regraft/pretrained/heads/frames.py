"""Heads on encoders of sounds: an answer for every frame, or one for the whole sound."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from regraft.pretrained.heads.pooled import MeanPooled, encoder_of, mean_pool, state_mask


class GraftedFrames(MeanPooled):
    """An encoder of sounds, and one linear layer on each of its states, or on their mean.

    Of an encoder-decoder such as Whisper the encoder alone is run.

    Args:
        outputs: what is said of a frame: characters; or of the sound: classes.
        pooled: whether one answer is given, from the mean of the states that are no padding.
    """

    def __init__(self, backbone: nn.Module, outputs: int, *, dropout: float = 0.0, pooled: bool = False) -> None:
        super().__init__(backbone, outputs, dropout=dropout, width=width_of(backbone.config))
        self.pooled = pooled

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """``logits``: [batch, frames, outputs], or [batch, outputs]."""
        hidden = encoder_of(self)(**inputs).last_hidden_state
        if self.pooled:
            hidden = mean_pool(hidden, state_mask(self, inputs.get("attention_mask"), hidden.shape[1]))
        return {"logits": self.classifier(self.dropout(hidden).to(self.classifier.weight.dtype))}


def width_of(config: Any) -> int:
    """Numbers in a state of an encoder."""
    return int(getattr(config, "d_model", None) or config.hidden_size)
