"""How VITS learns: what its training needs beside the voice, and its losses, with the names of the paper.

Kim, Kong and Son, Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech, 2021,
https://arxiv.org/abs/2106.06103. transformers' VITS speaks and does not learn.

    text ──▶ text encoder ──▶ prior (mean, std of each token) ─┐
                  │                                            ├─ alignment, KL
                  ├──▶ duration predictor ◀── durations ◀──────┤
                  │                                            │
    spectrogram ──▶ posterior encoder ──▶ z ──▶ flow ──▶ z_p ──┘
                                          └───▶ decoder ──▶ wave ◀── mel, discriminators

A published voice may lack the posterior encoder and the half of the duration predictor that only learning uses; here
both then begin anew. As long as the voice is frozen the posterior encoder is taught by the voice itself: it hears what
the voice says of the texts, and is to find the z it was made of. That is the sleep phase of Hinton et al., The
Wake-Sleep Algorithm for Unsupervised Neural Networks, 1995, https://doi.org/10.1126/science.7761831; it takes the place
of most of the KL term, which would teach an encoder that knows nothing to say nothing.

All random numbers are torch's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from transformers import VitsConfig, VitsModel
from transformers.audio_utils import mel_filter_bank
from transformers.models.vits.modeling_vits import (
    VitsConvFlow,
    VitsDilatedDepthSeparableConv,
    VitsElementwiseAffine,
    VitsPosteriorEncoder,
)

from regraft.errors import RecipeError
from regraft.pretrained.vits_discriminators import Discriminators

_DREAMING = 0.05  # at most, of the KL term while the voice is frozen
MELS = 80  # bands of the spectrogram that the decoder is judged by
_QUIETEST = 1e-5  # amplitude below which a band counts as silent
_SHORTEST = 1e-5  # what is left of a duration before its logarithm is taken

Output = Mapping[str, Tensor]


class VitsTraining(nn.Module):
    """A VITS voice, and what it learns with.

    ``backbone`` is the voice. ``posterior_encoder`` and ``duration_posterior`` are new, and None where the voice
    brings its own; ``discriminators`` are None where nothing adversarial was asked for.

    Args:
        segment: frames of each example that are decoded; a random slice, for decoding is the dearest part.
        posterior_layers: the depth of a new posterior encoder, where it is not to be the config's (16, the paper's): it
            costs as much as all the rest, and is thrown away in the end.
        discriminator_channels: the width of the discriminators (the paper's is 32); 0 for none.

    Raises:
        RecipeError: the voice has several speakers.
    """

    base_model_prefix = "backbone"

    def __init__(
        self,
        backbone: VitsModel,
        *,
        segment: int = 32,
        posterior_layers: int | None = None,
        discriminator_channels: int = 0,
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.segment = segment
        config = self.config
        if config.num_speakers > 1:
            raise RecipeError(
                f"the voice has {config.num_speakers} speakers",
                fix="choose a voice of one speaker: others cannot learn",
            )
        predictor = self.backbone.duration_predictor
        complete = not config.use_stochastic_duration_prediction or hasattr(predictor, "post_flows")
        own = self.backbone.posterior_encoder
        self.posterior_encoder: Any = _posterior_encoder(config, posterior_layers) if own is None else None
        self.duration_posterior = None if complete else DurationPosterior(config)
        self.discriminators = Discriminators(discriminator_channels) if discriminator_channels else None
        self.backbone.text_encoder.encoder.layerdrop = 0.0  # it would be drawn from numpy's numbers

    @property
    def config(self) -> Any:
        """The voice's."""
        return self.backbone.config

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        waveform: Tensor,
        frames: Tensor,
    ) -> dict[str, Tensor]:
        """All that the losses need; those of a frozen part are there too, and cost no gradient.

        Args:
            input_ids: [batch, tokens], and ``attention_mask`` likewise.
            waveform: [batch, samples], hop_length(config) for each frame.
            frames: [batch], how many there are of each; at least as many as tokens.

        Returns:
            ``z`` [batch, channels, frames], drawn from ``posterior_mean`` and ``posterior_log_std``; ``z_p``, its image
            under the flow; ``prior_mean`` and ``prior_log_std`` at the token each frame was aligned to;
            ``durations`` [batch, tokens] in frames, ``frames`` [batch] and ``tokens`` [batch]; ``duration_nll``
            [batch]; ``spoken`` and ``real`` [batch, samples], a slice of what was decoded and of the recording, with
            ``spoken_mel`` and ``real_mel`` [batch, mels, frames]. With discriminators, of each ``i`` and layer ``j``:
            ``scores_of_real.i``, ``scores_of_spoken.i`` (no gradient to the voice), ``scores_for_voice.i`` (no
            gradient to the discriminator), ``features_of_real.i.j``, ``features_for_voice.i.j``. Where the posterior
            encoder is new and the voice is frozen, ``dream_nll`` [batch].
        """
        with _full_precision(waveform):  # silence behind the end, alone as in a batch
            behind = F.pad(waveform, (0, 2 * self.config.spectrogram_bins))
            spectrogram = linear_spectrogram(behind, self.config)[:, :, : waveform.shape[1] // hop_length(self.config)]
        token_mask = attention_mask.unsqueeze(1).to(spectrogram.dtype)
        frame_mask = _mask(frames, spectrogram.shape[-1]).unsqueeze(1).to(spectrogram.dtype)

        # First, for so far nothing is drawn: where rows stand for its blocks, the same numbers follow.
        text = self.backbone.text_encoder(
            input_ids=input_ids, padding_mask=token_mask.transpose(1, 2), attention_mask=attention_mask
        )
        prior_mean, prior_log_std = (x.transpose(1, 2).float() for x in (text.prior_means, text.prior_log_variances))

        encoder = self.posterior_encoder if self.posterior_encoder is not None else self.backbone.posterior_encoder
        z, posterior_mean, posterior_log_std = encoder(spectrogram, frame_mask)
        z_p = self.backbone.flow(z, frame_mask)

        with torch.no_grad():
            likely = log_likelihood(z_p.float(), prior_mean, prior_log_std)
            token_of = monotonic_alignment(likely, attention_mask.sum(1), frames)
            durations = _count(token_of, frame_mask, input_ids.shape[1])
        at = token_of.unsqueeze(1).expand(-1, prior_mean.shape[1], -1)

        output = {
            "z": z,
            "z_p": z_p,
            "posterior_mean": posterior_mean,
            "posterior_log_std": posterior_log_std,
            "prior_mean": prior_mean.gather(2, at),
            "prior_log_std": prior_log_std.gather(2, at),
            "durations": durations,
            "frames": frames,
            "tokens": attention_mask.sum(1),
            "duration_nll": self._duration_nll(text.last_hidden_state.transpose(1, 2), token_mask, durations),
        }
        if self.posterior_encoder is not None and not _learns(self.backbone):
            output["dream_nll"] = self._dream_nll(input_ids, attention_mask)
        return output | self._decoded(z * frame_mask, frames, waveform)

    def _dream_nll(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[batch]: how unlikely z is to the posterior encoder that hears what the voice made of it, a frame.

        Of what the voice would say twice ``segment`` frames are decoded and heard.
        """
        hop = hop_length(self.config)
        with torch.no_grad():
            z, frames = _dreamt(self.backbone, input_ids, attention_mask)
            length = min(2 * self.segment, z.shape[-1])
            start = _starts(frames, length)
            left = (frames - start).clamp_max(length)
            mask = _mask(left, length).unsqueeze(1)
            z = _slices(z, start, length) * mask
            waveform = self.backbone.decoder(z).squeeze(1).float() * _mask(left * hop, length * hop)
            heard = linear_spectrogram(waveform, self.config)
        _, mean, log_std = (x.float() for x in self.posterior_encoder(heard, mask.to(heard.dtype)))
        nll = 0.5 * math.log(2 * math.pi) + log_std + 0.5 * (z.float() - mean).square() * torch.exp(-2 * log_std)
        return torch.where(mask, nll, 0).sum((1, 2)) / left

    def _duration_nll(self, hidden: Tensor, mask: Tensor, durations: Tensor) -> Tensor:
        """[batch]: how unlikely the durations are; the text encoder does not learn from it, as in the paper."""
        predictor = self.backbone.duration_predictor
        with _full_precision(hidden):
            hidden, durations = hidden.detach().float(), durations.unsqueeze(1)
            if not self.config.use_stochastic_duration_prediction:
                off: Tensor = predictor(hidden, mask) - torch.log(durations.clamp_min(1)) * mask
                return off.square().sum((1, 2))
            posterior = self.duration_posterior
            parts = _own_posterior(predictor) if posterior is None else posterior.parts()
            return stochastic_duration_nll(predictor, parts, hidden, mask, durations)

    def _decoded(self, z: Tensor, frames: Tensor, waveform: Tensor) -> dict[str, Tensor]:
        """A random slice of each example, decoded, beside the recording's; what lies behind its end is silence."""
        hop = hop_length(self.config)
        start = _starts(frames, self.segment)
        inside = _mask((frames - start) * hop, self.segment * hop)
        real = _slices(waveform, start * hop, self.segment * hop) * inside
        spoken = self.backbone.decoder(_slices(z, start, self.segment)).squeeze(1).float() * inside
        made = {
            "spoken": spoken,
            "real": real,
            "spoken_mel": log_mel(spoken, self.config),
            "real_mel": log_mel(real, self.config),
        }
        return made | (_judged(self.discriminators, real, spoken) if self.discriminators is not None else {})


class DurationPosterior(nn.Module):
    """What of a duration is below a frame (u), and what is made up beside it (v): q(u, v | durations, text)."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.conv_pre = nn.Conv1d(1, width, 1)
        self.conv_dds = VitsDilatedDepthSeparableConv(config, dropout_rate=config.duration_predictor_dropout)
        self.conv_proj = nn.Conv1d(width, width, 1)
        curves: list[Any] = [VitsConvFlow(config) for _ in range(config.duration_predictor_num_flows)]
        self.flows = nn.ModuleList([VitsElementwiseAffine(config), *curves])
        for curve in curves:  # each begins as the same curve for all texts
            nn.init.zeros_(curve.conv_proj.weight)
            nn.init.zeros_(curve.conv_proj.bias)

    def parts(self) -> tuple[Any, Any, Any, Any]:
        """In the order they are used."""
        return self.conv_pre, self.conv_dds, self.conv_proj, self.flows


# ---------------------------------------------------------------------------------------------------------- losses


def mel_loss(output: Output) -> Tensor:
    """[batch]: the mean distance of the log-mel spectrograms; equation 2."""
    return (output["spoken_mel"] - output["real_mel"]).abs().mean((1, 2))


def kl_loss(output: Output) -> Tensor:
    """[batch]: how far the posterior lies from the prior, from its one sample, a frame; equations 3 and 4."""
    mask = _mask(output["frames"], output["z_p"].shape[-1]).unsqueeze(1)
    log_std_p, log_std_q = output["prior_log_std"].float(), output["posterior_log_std"].float()
    off = (output["z_p"].float() - output["prior_mean"]).square()
    kl = log_std_p - log_std_q - 0.5 + 0.5 * off * torch.exp(-2 * log_std_p)
    return torch.where(mask, kl, 0).sum((1, 2)) / output["frames"]


def dream_loss(output: Output) -> Tensor:
    """[batch]: how unlikely z is to the posterior encoder that hears what the frozen voice made of it, a frame."""
    return output["dream_nll"]


def duration_loss(output: Output) -> Tensor:
    """[batch]: how unlikely the durations of the alignment are, a token; equation 7."""
    return output["duration_nll"] / output["tokens"]


def discriminator_loss(output: Output) -> Tensor:
    """[batch]: recordings are to score 1, what was spoken 0; equation 8, summed over the discriminators."""
    real, spoken = _those(output, "scores_of_real."), _those(output, "scores_of_spoken.")
    return _sum(
        (1 - r).square().flatten(1).mean(1) + s.square().flatten(1).mean(1) for r, s in zip(real, spoken, strict=True)
    )


def generator_loss(output: Output) -> Tensor:
    """[batch]: what was spoken is to score 1; equation 9."""
    return _sum((1 - s).square().flatten(1).mean(1) for s in _those(output, "scores_for_voice."))


def feature_loss(output: Output) -> Tensor:
    """[batch]: the mean distance of what the discriminators' layers see in both, summed; equation 10."""
    real, spoken = _those(output, "features_of_real."), _those(output, "features_for_voice.")
    return _sum((r - s).abs().flatten(1).mean(1) for r, s in zip(real, spoken, strict=True))


def vits_loss(
    output: Output, *, mel: float = 45.0, kl: float = 1.0, duration: float = 1.0, features: float = 2.0
) -> Tensor:
    """[batch]: the sum of all, weighted as the paper's code weights them; equation 11, and equation 8 in the same sum.

    The discriminators' part and the voice's share no gradient, so one step serves both. While the voice is frozen the
    posterior encoder learns from its dreams, and little from the KL term.
    """
    if "dream_nll" in output:
        posterior = dream_loss(output) + min(kl, _DREAMING) * kl_loss(output)
    else:
        posterior = kl * kl_loss(output)
    loss = mel * mel_loss(output) + posterior + duration * duration_loss(output)
    if "scores_of_real.0" in output:
        loss = loss + generator_loss(output) + features * feature_loss(output) + discriminator_loss(output)
    return loss


# ------------------------------------------------------------------------------------------------------- alignment


def log_likelihood(z_p: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """[batch, tokens, frames]: how likely each frame is under each token's prior; equation 5.

    Args:
        z_p: [batch, channels, frames].
        mean: [batch, channels, tokens], and ``log_std`` likewise.
    """
    with _full_precision(z_p):
        precision = torch.exp(-2 * log_std)
        of_token = (-0.5 * math.log(2 * math.pi) - log_std - 0.5 * mean.square() * precision).sum(1)
        cross = (mean * precision).transpose(1, 2) @ z_p - 0.5 * precision.transpose(1, 2) @ z_p.square()
    return of_token.unsqueeze(2) + cross


def monotonic_alignment(likely: Tensor, tokens: Tensor, frames: Tensor) -> Tensor:
    """The token of each frame, int64 [batch, frames]: the likeliest way through a text that leaves no token out.

    Equation 6 and algorithm 1 of Kim et al., Glow-TTS, 2020, https://arxiv.org/abs/2005.11129: dynamic programming, all
    examples and tokens at once. What lies behind the last frame belongs to the first token.

    Args:
        likely: [batch, tokens, frames].
        tokens: [batch], how many there are of each, and ``frames`` likewise; no fewer frames than tokens.
    """
    batch, most, length = likely.shape
    likely = likely.permute(2, 0, 1).contiguous()
    best = likely.new_full((batch, most), -math.inf)
    best[:, 0] = likely[0, :, 0]
    nowhere = likely.new_full((batch, 1), -math.inf)
    moved = torch.zeros(length, batch, most, dtype=torch.bool, device=likely.device)
    for frame in range(1, length):
        before = torch.cat([nowhere, best[:, :-1]], 1)
        moved[frame] = before > best
        best = torch.maximum(before, best) + likely[frame]
    token = (tokens - 1).long()
    path = token.new_zeros(length, batch)
    for frame in range(length - 1, -1, -1):
        inside = frame < frames
        path[frame] = torch.where(inside, token, 0)
        step = moved[frame].gather(1, token.unsqueeze(1)).squeeze(1)
        token = token - (step & inside).long()
    return path.T.contiguous()


def _count(token_of: Tensor, frame_mask: Tensor, tokens: int) -> Tensor:
    """[batch, tokens]: how many frames each token has."""
    durations = frame_mask.new_zeros(len(token_of), tokens)
    return durations.scatter_add_(1, token_of, frame_mask.squeeze(1))


# ------------------------------------------------------------------------------------------------------- durations


def stochastic_duration_nll(
    predictor: Any, posterior: tuple[Any, Any, Any, Any], text: Tensor, mask: Tensor, durations: Tensor
) -> Tensor:
    """[batch]: the negative of the variational bound on the log-likelihood of durations; equation 7.

    transformers' own (``VitsStochasticDurationPredictor`` with ``durations``) turns the halves of a pair once more than
    it does when it speaks, so what it learned would not be what it says. A first flow that is missing is no loss: it
    changes v alone, and q may be of v after it as well as before.

    Args:
        posterior: the parts of q, see ``DurationPosterior``.
        text: [batch, channels, tokens].
        mask: [batch, 1, tokens], and ``durations`` likewise.
    """
    conv_pre, conv_dds, conv_proj, posterior_flows = posterior
    text = predictor.conv_proj(predictor.conv_dds(predictor.conv_pre(text), mask)) * mask
    length = conv_proj(conv_dds(conv_pre(durations), mask)) * mask

    noise = torch.randn(len(text), 2, text.shape[2], device=text.device) * mask
    drawn, grown = through_flows(posterior_flows, noise, mask, text + length)
    u, v = drawn[:, :1], drawn[:, 1:]
    grown = grown + ((F.logsigmoid(u) + F.logsigmoid(-u)) * mask).sum((1, 2))
    log_q = _normal(noise, mask) - grown

    left = torch.log((durations - torch.sigmoid(u)).clamp_min(_SHORTEST)) * mask
    z, grown = through_flows(predictor.flows, torch.cat([left, v * mask], 1), mask, text)
    log_p = _normal(z, mask) + grown - left.sum((1, 2))
    return log_q - log_p


def through_flows(flows: Iterable[nn.Module], pair: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """A pair [batch, 2, tokens] through flows, and the logarithm [batch] of how much its volume grew.

    Every flow but the first, which is an affine one, is followed by an exchange of the halves.
    """
    grown = pair.new_zeros(len(pair))
    for index, flow in enumerate(flows):
        if not isinstance(flow, nn.Identity):
            pair, more = flow(pair, mask, global_conditioning=condition)
            grown = grown + more
        pair = pair.flip(1) if index else pair
    return pair, grown


def _own_posterior(predictor: Any) -> tuple[Any, Any, Any, Any]:
    return predictor.post_conv_pre, predictor.post_conv_dds, predictor.post_conv_proj, predictor.post_flows


def _normal(x: Tensor, mask: Tensor) -> Tensor:
    """[batch]: the logarithm of the density of standard normal numbers."""
    return (-0.5 * (math.log(2 * math.pi) + x.square()) * mask).sum((1, 2))


# ---------------------------------------------------------------------------------------------------- spectrograms


def hop_length(config: Any) -> int:
    """Samples a frame."""
    return math.prod(config.upsample_rates)


def linear_spectrogram(waveform: Tensor, config: Any) -> Tensor:
    """[batch, bins, samples // hop]: the magnitudes, as Kim et al. compute them.

    Args:
        waveform: [batch, samples], float32 from -1 to 1, of the voice's sampling rate.
    """
    size, hop = 2 * (config.spectrogram_bins - 1), hop_length(config)
    padded = F.pad(waveform.unsqueeze(1), [(size - hop) // 2] * 2, mode="reflect").squeeze(1)
    window = torch.hann_window(size, device=waveform.device)
    spectrum = torch.stft(padded, size, hop, window=window, center=False, return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-6).sqrt()


def log_mel(waveform: Tensor, config: Any) -> Tensor:
    """[batch, MELS, frames]: the natural logarithm of the magnitudes in bands of Slaney's mel scale."""
    with _full_precision(waveform):
        bands = _bands(config.spectrogram_bins, config.sampling_rate).to(waveform.device)
        return (bands @ linear_spectrogram(waveform, config)).clamp_min(_QUIETEST).log()


@lru_cache(maxsize=4)
def _bands(bins: int, rate: int) -> Tensor:
    """[MELS, bins]: how much each frequency adds to each band; bands of equal area."""
    filters = mel_filter_bank(
        num_frequency_bins=bins,
        num_mel_filters=MELS,
        min_frequency=0.0,
        max_frequency=rate / 2,
        sampling_rate=rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T).float().contiguous()


# ---------------------------------------------------------------------------------------------------- small things


def _posterior_encoder(config: Any, layers: int | None) -> VitsPosteriorEncoder:
    changed = copy.copy(config)
    changed.posterior_encoder_num_wavenet_layers = layers or config.posterior_encoder_num_wavenet_layers
    return VitsPosteriorEncoder(changed)


def _judged(discriminators: Discriminators, real: Tensor, spoken: Tensor) -> dict[str, Tensor]:
    """What the discriminators say. They learn from a copy of the wave; the voice learns from a copy of them."""
    still = {name: value.detach() for name, value in discriminators.named_parameters()}
    of_real = discriminators(real)
    of_spoken = discriminators(spoken.detach())
    for_voice = functional_call(discriminators, still, (spoken,))
    found: dict[str, Tensor] = {}
    for i, (a, b, c) in enumerate(zip(of_real, of_spoken, for_voice, strict=True)):
        found |= {f"scores_of_real.{i}": a[-1], f"scores_of_spoken.{i}": b[-1], f"scores_for_voice.{i}": c[-1]}
        found |= {f"features_of_real.{i}.{j}": layer.detach() for j, layer in enumerate(a[:-1])}
        found |= {f"features_for_voice.{i}.{j}": layer for j, layer in enumerate(c[:-1])}
    return found


def _dreamt(voice: Any, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """What a voice would make its wave of: z [batch, channels, frames], and how many frames there are of each."""
    kept: list[Tensor] = []

    def decode(z: Tensor, *_: Any, **__: Any) -> Tensor:
        kept.append(z)
        return z.new_zeros(len(z), 1, z.shape[-1])

    former = voice.decoder.__dict__.get("forward")
    voice.decoder.forward = decode
    try:
        spoken = voice(input_ids, attention_mask=attention_mask)
    finally:
        del voice.decoder.forward
        if former is not None:
            voice.decoder.forward = former
    return kept[0], spoken.sequence_lengths // hop_length(voice.config)


def _starts(frames: Tensor, length: int) -> Tensor:
    """[batch]: where a slice of each example begins, by chance."""
    return (torch.rand(len(frames), device=frames.device) * (frames - length + 1).clamp_min(1)).long()


def _those(output: Output, prefix: str) -> list[Tensor]:
    return [value.float() for name, value in output.items() if name.startswith(prefix)]


def _sum(parts: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _mask(lengths: Tensor, most: int) -> Tensor:
    """bool [batch, most]: what lies before the end."""
    return torch.arange(most, device=lengths.device) < lengths.unsqueeze(1)


def _slices(x: Tensor, start: Tensor, length: int) -> Tensor:
    """[batch, …, length] from ``start`` [batch] on; zeros where there is no more."""
    x = F.pad(x, [0, max(length - x.shape[-1], 0)])
    place = (start.unsqueeze(1) + torch.arange(length, device=x.device)).clamp_max(x.shape[-1] - 1)
    if x.ndim == 3:
        place = place.unsqueeze(1).expand(-1, x.shape[1], -1)
    return x.gather(-1, place)


def _full_precision(like: Tensor) -> torch.autocast:
    """What is computed here is computed in fp32, whatever is computed around it."""
    return torch.autocast(like.device.type, enabled=False)
