"""How SpeechT5 learns to speak: what its decoder gives, step by step, as a model of transformers that says all of it.

Ao et al., SpeechT5: Unified-Modal Encoder-Decoder Pre-Training for Spoken Language Processing, 2022,
https://arxiv.org/abs/2110.07205. transformers gives one loss for a whole batch, which depends on how the batch was put
together; see ``spectrograms`` for that of each frame.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import SpeechT5ForTextToSpeech as _SpeechT5ForTextToSpeech


class SpeechT5ForTextToSpeech(_SpeechT5ForTextToSpeech):  # type: ignore[no-untyped-call]
    """The model of that name, which what is saved says too; a pass gives what every loss needs."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        speaker_embeddings: Tensor,
        decoder_input_values: Tensor,
        decoder_attention_mask: Tensor,
    ) -> dict[str, Tensor]:
        """What is said of the next frames.

        Args:
            input_ids: [batch, tokens], and ``attention_mask`` likewise.
            speaker_embeddings: [batch, speaker_embedding_dim].
            decoder_input_values: [batch, steps, mels], the true frames before each step.
            decoder_attention_mask: [batch, steps].

        Returns:
            ``before`` and ``after`` [batch, steps * reduction_factor, mels], the spectrogram before and behind the
            last convolutions; ``stop`` [batch, steps * reduction_factor], the logits of the end; ``astray`` [batch],
            how far the attention is from going evenly through the text, 0 where the config does not ask for it.
        """
        guided = bool(self.config.use_guided_attention_loss)
        found = self.speecht5(
            input_values=input_ids,
            attention_mask=attention_mask,
            decoder_input_values=decoder_input_values,
            decoder_attention_mask=decoder_attention_mask,
            speaker_embeddings=speaker_embeddings,
            use_cache=False,
            output_attentions=guided,
            return_dict=True,
        )
        before, after, stop = self.speech_decoder_postnet(found.last_hidden_state)
        astray = before.new_zeros(len(before))
        if guided:
            heads = self.config.guided_attention_loss_num_heads
            looked = torch.cat([weights[:, :heads] for weights in found.cross_attentions], dim=1)
            sigma, scale = self.config.guided_attention_loss_sigma, self.config.guided_attention_loss_scale
            astray = scale * off_the_diagonal(looked, attention_mask, decoder_attention_mask, sigma=sigma)
        return {"before": before, "after": after, "stop": stop, "astray": astray}


def off_the_diagonal(attention: Tensor, read: Tensor, spoken: Tensor, *, sigma: float) -> Tensor:
    """[batch]: the mean attention, each weight counting as far as it lies from going evenly through the text.

    Tachibana, Uenoyama and Aihara, Efficiently Trainable Text-to-Speech System Based on Deep Convolutional Networks
    with Guided Attention, 2018, https://arxiv.org/abs/1710.08969.

    Args:
        attention: [batch, heads, steps, tokens].
        read: [batch, tokens], 1 where there is a token, and ``spoken`` [batch, steps] likewise.
    """
    tokens, steps = read.sum(1).view(-1, 1, 1), spoken.sum(1).view(-1, 1, 1)
    along_text = torch.arange(read.shape[1], device=read.device).view(1, 1, -1) / tokens
    along_time = torch.arange(spoken.shape[1], device=read.device).view(1, -1, 1) / steps
    away = 1 - torch.exp(-((along_text - along_time) ** 2) / (2 * sigma**2))
    counted = away * read.unsqueeze(1) * spoken.unsqueeze(2)
    return (attention.float() * counted.unsqueeze(1)).mean(1).sum((1, 2)) / (tokens * steps).flatten()
