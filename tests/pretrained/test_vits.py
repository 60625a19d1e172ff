"""Learning to speak: the alignment against all alignments, flows against their inverse, gradients where they belong."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import VitsConfig, VitsModel

from regraft.errors import RecipeError
from regraft.pretrained import vits
from regraft.pretrained.piper import PiperVitsConfig, PiperVitsModel
from regraft.pretrained.vits import VitsTraining, vits_loss

HOP = 128
NEW = {"posterior_encoder", "duration_posterior"}


SIZES: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "ffn_dim": 16,
    "flow_size": 8,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 1,
    "posterior_encoder_num_wavenet_layers": 2,
    "depth_separable_num_layers": 1,
    "duration_predictor_filter_channels": 8,
    "upsample_initial_channel": 16,
    "upsample_rates": (16, 8),
    "upsample_kernel_sizes": (32, 16),
    "resblock_kernel_sizes": (3,),
    "resblock_dilation_sizes": ((1, 2),),
    "sampling_rate": 22_050,
}


def config(**changes: Any) -> PiperVitsConfig:
    return PiperVitsConfig(**{**SIZES, **changes})


def training(*, discriminator_channels: int = 0, segment: int = 8, **changes: Any) -> VitsTraining:
    torch.manual_seed(0)
    made = VitsTraining(
        PiperVitsModel(config(**changes)), segment=segment, discriminator_channels=discriminator_channels
    )
    return made.eval()


def examples(*frames: int) -> dict[str, Tensor]:
    """Tones of so many frames, with texts of 3 tokens and more."""
    most = max(frames)
    time = torch.arange(most * HOP) / 22_050
    waveform = torch.stack([0.5 * torch.sin(2 * math.pi * 500 * (n + 1) * time) for n in range(len(frames))])
    waveform *= torch.arange(most * HOP) < torch.tensor(frames).unsqueeze(1) * HOP
    tokens = 3 + torch.arange(len(frames)) % 3
    mask = (torch.arange(int(tokens.max())) < tokens.unsqueeze(1)).long()
    return {
        "input_ids": (torch.arange(int(tokens.max())) + torch.arange(len(frames)).unsqueeze(1)) % 7 * mask,
        "attention_mask": mask,
        "frames": torch.tensor(frames),
        "waveform": waveform,
    }


def one_of(batch: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """An example by itself, without padding."""
    tokens, frames = int(batch["attention_mask"][index].sum()), int(batch["frames"][index])
    return {
        "input_ids": batch["input_ids"][index : index + 1, :tokens],
        "attention_mask": batch["attention_mask"][index : index + 1, :tokens],
        "frames": batch["frames"][index : index + 1],
        "waveform": batch["waveform"][index : index + 1, : frames * HOP],
    }


def without_noise(model: VitsTraining) -> VitsTraining:
    """With a posterior so narrow that what is drawn from it is its mean."""
    assert model.posterior_encoder is not None
    with torch.no_grad():
        model.posterior_encoder.conv_proj.weight[8:] = 0
        model.posterior_encoder.conv_proj.bias[8:] = -30
    return model


def learning(model: VitsTraining, *names: str) -> VitsTraining:
    """With nothing that trains but what is named."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(names))
    return model


def touched(model: VitsTraining, loss: Tensor) -> set[str]:
    """The parts that a loss has a gradient for, apart from gradients of 0."""
    model.zero_grad()
    loss.sum().backward()
    return {
        name.split(".")[name.startswith("backbone.")]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


# ------------------------------------------------------------------------------------------------------- alignment


def best_by_trying(likely: Tensor) -> list[int]:
    """The likeliest of all ways through [tokens, frames]."""
    tokens, frames = likely.shape
    ways = (
        [sum(frame >= cut for cut in cuts) for frame in range(frames)]
        for cuts in itertools.combinations(range(1, frames), tokens - 1)
    )
    return max(ways, key=lambda way: sum(float(likely[token, frame]) for frame, token in enumerate(way)))


@pytest.mark.parametrize("seed", range(5))
def test_the_alignment_is_the_likeliest_of_all(seed: int) -> None:
    torch.manual_seed(seed)
    tokens, frames = torch.tensor([1, 2, 4, 5, 3]), torch.tensor([3, 7, 9, 5, 8])
    likely = torch.randn(5, 5, 9, dtype=torch.float64)
    found = vits.monotonic_alignment(likely, tokens, frames)
    for index, (t, f) in enumerate(zip(tokens.tolist(), frames.tolist(), strict=True)):
        assert found[index, :f].tolist() == best_by_trying(likely[index, :t, :f])
        assert not found[index, f:].any()


def test_frames_are_likely_as_the_normal_distribution_says() -> None:
    torch.manual_seed(0)
    z, mean, log_std = torch.randn(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 3, 4) / 2
    said = torch.distributions.Normal(mean.unsqueeze(3), log_std.exp().unsqueeze(3)).log_prob(z.unsqueeze(2)).sum(1)
    torch.testing.assert_close(vits.log_likelihood(z, mean, log_std), said)


def test_durations_add_up_to_the_frames() -> None:
    batch = examples(20, 12, 9)
    found = training()(**batch)
    assert found["durations"].sum(1).tolist() == [20, 12, 9]
    assert bool((found["durations"] >= batch["attention_mask"]).all())


# ------------------------------------------------------------------------------------------------------- durations


def test_what_learns_durations_is_the_inverse_of_what_says_them() -> None:
    predictor: Any = training().backbone.duration_predictor
    torch.manual_seed(1)
    with torch.no_grad():
        for flow in predictor.flows:
            for parameter in flow.parameters():
                parameter.normal_(std=0.3)
    text, mask = torch.randn(2, 16, 5), torch.ones(2, 1, 5)
    condition = predictor.conv_proj(predictor.conv_dds(predictor.conv_pre(text), mask)) * mask
    torch.manual_seed(2)
    said = predictor(text, mask, reverse=True)
    torch.manual_seed(2)
    noise = torch.randn(2, 2, 5)
    flows = [*predictor.flows]

    def aim(other: Tensor) -> Tensor:
        return vits.through_flows(flows, torch.cat([said, other], 1), mask, condition)[0]

    # The half that is thrown away after speaking is found by going back: the pair is the noise's only image.
    other = noise[:, 1:]
    for flow in reversed(flows[2:]):
        noise = flow(noise.flip(1), mask, global_conditioning=condition, reverse=True)[0]
    pair = flows[0](noise.flip(1), mask, reverse=True)[0]
    torch.testing.assert_close(pair[:, :1], said)
    torch.manual_seed(2)
    other = pair[:, 1:]
    torch.testing.assert_close(aim(other), torch.randn(2, 2, 5), atol=1e-4, rtol=1e-4)


def test_flows_tell_how_much_they_stretch() -> None:
    predictor: Any = training().backbone.duration_predictor
    condition, mask = torch.randn(1, 16, 1), torch.ones(1, 1, 1)
    pair = torch.randn(1, 2, 1)
    slopes = torch.autograd.functional.jacobian(
        lambda x: vits.through_flows(predictor.flows, x, mask, condition)[0].flatten(), pair
    )
    _, grown = vits.through_flows(predictor.flows, pair, mask, condition)
    torch.testing.assert_close(grown[0], torch.linalg.slogdet(slopes.reshape(2, 2)).logabsdet, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("channels", [0, 1])
def test_every_loss_is_one_finite_number_an_example(channels: int) -> None:
    found = training(discriminator_channels=channels)(**examples(20, 12, 9))
    losses = [vits.mel_loss, vits.kl_loss, vits.duration_loss, vits_loss]
    if channels:
        losses += [vits.generator_loss, vits.discriminator_loss, vits.feature_loss]
    for loss in losses:
        assert loss(found).shape == (3,)
        assert bool(torch.isfinite(loss(found)).all())


def whole(**changes: Any) -> VitsTraining:
    """A voice as transformers publishes them, with all that it learned with."""
    torch.manual_seed(0)
    return VitsTraining(VitsModel(VitsConfig(**{**SIZES, **changes})), segment=8).eval()


def test_a_voice_that_is_whole_learns_with_what_it_brings() -> None:
    model = whole()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"backbone"}
    assert touched(model, vits_loss(model(**examples(20, 12)))) == {
        "text_encoder",
        "posterior_encoder",
        "flow",
        "decoder",
        "duration_predictor",
    }


def test_a_duration_predictor_that_is_not_stochastic_learns_too() -> None:
    model = whole(use_stochastic_duration_prediction=False)
    assert touched(model, vits.duration_loss(model(**examples(20, 12)))) == {"duration_predictor"}


def test_layers_are_not_left_out_by_numbers_that_are_not_torchs() -> None:
    model, batch = whole(layerdrop=0.5).train(), examples(20, 12)
    losses = []
    for _ in range(8):
        torch.manual_seed(3)
        losses.append(float(vits_loss(model(**batch)).detach().sum()))
    assert len(set(losses)) == 1


def test_padding_and_the_rest_of_the_batch_do_not_change_the_losses() -> None:
    model, batch = without_noise(training(segment=24)), examples(20, 12, 9)  # a slice is all of an example
    together = model(**batch)
    for loss in (vits.mel_loss, vits.kl_loss):
        alone = torch.cat([loss(model(**one_of(batch, index))) for index in range(3)])
        torch.testing.assert_close(loss(together), alone, atol=1e-4, rtol=1e-4)


def test_an_example_shorter_than_a_slice_ends_in_silence() -> None:
    found = training(segment=24)(**examples(20, 12))
    assert not found["spoken"][1, 12 * HOP :].any()
    assert not found["real"][1, 12 * HOP :].any()
    assert bool(found["spoken"][0, : 20 * HOP].any())


def test_the_slice_of_the_recording_is_where_the_decoded_one_is() -> None:
    batch = examples(40)
    batch["waveform"] = torch.arange(40 * HOP).float().unsqueeze(0) / 6000
    found = training()(**batch)
    start = round(float(found["real"][0, 0]) * 6000)
    assert start % HOP == 0
    torch.testing.assert_close(found["real"][0], batch["waveform"][0, start : start + 8 * HOP])


def test_seeded_numbers_are_the_same_again() -> None:
    model, batch = training(discriminator_channels=1).train(), examples(20, 12)
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(vits_loss(model(**batch)))
    assert torch.equal(*losses)


# ------------------------------------------------------------------------------------------------------- gradients


def test_each_loss_reaches_what_it_should() -> None:
    model, batch = training(discriminator_channels=1), examples(20, 12)
    found = {}
    for loss in (
        vits.mel_loss,
        vits.kl_loss,
        vits.duration_loss,
        vits.generator_loss,
        vits.feature_loss,
        vits.discriminator_loss,
    ):
        found[loss.__name__] = touched(model, loss(model(**batch)))
    assert found == {
        "mel_loss": {"posterior_encoder", "decoder"},
        "kl_loss": {"posterior_encoder", "flow", "text_encoder"},
        "duration_loss": {"duration_predictor", "duration_posterior"},
        "generator_loss": {"posterior_encoder", "decoder"},
        "feature_loss": {"posterior_encoder", "decoder"},
        "discriminator_loss": {"discriminators"},
    }


def test_as_long_as_the_voice_is_frozen_the_posterior_encoder_learns_from_what_it_says() -> None:
    model, batch = training(), examples(20, 12)
    assert "dream_nll" not in model(**batch)
    found = learning(model, *NEW)(**batch)
    assert found["dream_nll"].shape == (2,)
    assert touched(model, vits.dream_loss(found)) == {"posterior_encoder"}


def test_dreams_that_are_understood_are_likely() -> None:
    model = learning(training(), *NEW).train()
    model.backbone.eval()
    batch = examples(20, 12)
    optimizer = torch.optim.AdamW(model.posterior_encoder.parameters(), lr=1e-2)
    curve = []
    for step in range(40):
        torch.manual_seed(step)
        loss = vits.dream_loss(model(**batch)).mean()
        curve.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert curve[-1] < curve[0] - 1


def test_with_a_frozen_voice_only_what_is_new_learns() -> None:
    model = learning(training(), *NEW)
    assert touched(model, vits_loss(model(**examples(20, 12)))) == NEW


def test_a_frozen_text_encoder_is_not_differentiated() -> None:
    found = learning(training(), *NEW)(**examples(20, 12))
    assert not found["prior_mean"].requires_grad
    assert found["z_p"].requires_grad


def test_a_step_for_both_is_a_step_for_each() -> None:
    model, batch = training(discriminator_channels=1), examples(20, 12)
    torch.manual_seed(1)
    found = model(**batch)
    (vits.generator_loss(found) + vits.discriminator_loss(found)).sum().backward()
    assert model.discriminators is not None
    both = [p.grad.clone() for p in model.discriminators.parameters() if p.grad is not None]
    model.zero_grad()
    torch.manual_seed(1)
    vits.discriminator_loss(model(**batch)).sum().backward()
    torch.testing.assert_close(both, [p.grad for p in model.discriminators.parameters()])


def test_a_voice_of_several_speakers_is_refused() -> None:
    with pytest.raises(RecipeError, match="2 speakers"):
        training(num_speakers=2, speaker_embedding_size=4)


def test_two_tones_are_learned() -> None:
    model, batch = training(segment=20).train(), examples(20, 20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    curve = []
    for step in range(60):
        torch.manual_seed(step)
        found = model(**batch)
        curve.append(float(vits.mel_loss(found).detach().mean()))
        optimizer.zero_grad()
        vits_loss(found, kl=0.05).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert curve[-1] < 0.5 * curve[0]
