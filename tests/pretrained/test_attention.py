"""The attention for training on a CPU: the same numbers and gradients as transformers' own, in every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from regraft.pretrained.attention import NAME, attention_forward, fast_attention, register
from regraft.pretrained.folder import quiet
from regraft.testing import WORDS, tiny_model

FAMILIES = ["bert", "roberta", "electra", "distilbert", "albert", "modernbert", "gpt2", "llama"]
OWN = ["mpnet", "deberta-v2"]  # these families compute their attention themselves


def _open(folder: Path, **options: Any) -> Any:
    with quiet():
        torch.manual_seed(1)
        return transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **options)


def _batch(side: str) -> dict[str, Tensor]:
    """Four texts of 24, 13, 6 and 1 tokens."""
    ids = torch.randint(5, 5 + len(WORDS), (4, 24), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(24).expand(4, 24) < torch.tensor([[24], [13], [6], [1]])
    mask = mask if side == "right" else mask.flip(1)
    return {"input_ids": ids.where(mask, 0), "attention_mask": mask.long()}


def _step(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The output, and the gradient of each parameter."""
    model.zero_grad()
    output = model(**batch).logits.float()
    (10 * output).square().sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return output.detach(), {name: value.clone() for name, value in gradients.items()}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_eager_attention(families: Callable[[str], Path], family: str, side: str) -> None:
    model, batch = _open(families(family)).eval(), _batch(side)
    with fast_attention(model) as switched:
        output, gradients = _step(model, batch)
    assert switched
    model.set_attn_implementation("eager")
    expected, expected_gradients = _step(model, batch)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_a_step_is_as_near_to_fp32_as_with_eager_attention(
    families: Callable[[str], Path], family: str
) -> None:
    model, batch = _open(families(family), attn_implementation="eager").eval(), _batch("right")
    exact = _flat(_step(model, batch)[1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = _flat(_step(model, batch)[1])
    model.set_attn_implementation("sdpa")
    with fast_attention(model) as switched, torch.autocast("cpu", dtype=torch.bfloat16):
        ours = _flat(_step(model, batch)[1])
    assert switched
    assert (ours - exact).norm() < 1.5 * (theirs - exact).norm() + 1e-3 * exact.norm()


def test_without_padding_no_mask_is_needed(families: Callable[[str], Path]) -> None:
    for family in ("bert", "llama"):
        model = _open(families(family)).eval()
        batch = {"input_ids": _batch("right")["input_ids"][:1]}
        with fast_attention(model):
            output, gradients = _step(model, batch)
        model.set_attn_implementation("eager")
        expected = _step(model, batch)
        torch.testing.assert_close((output, gradients), expected, rtol=1e-4, atol=1e-5)


def test_heads_that_share_keys_share_their_gradient(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m", family="llama", words=WORDS, num_attention_heads=4, num_key_value_heads=2)
    model, batch = _open(folder).eval(), _batch("right")
    with fast_attention(model):
        output, gradients = _step(model, batch)
    model.set_attn_implementation("eager")
    torch.testing.assert_close((output, gradients), _step(model, batch), rtol=1e-4, atol=1e-5)


def test_the_attention_of_a_window_stays_in_its_window(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m", family="modernbert", words=WORDS, local_attention=4, num_hidden_layers=3)
    model, batch = _open(folder).eval(), _batch("right")
    with fast_attention(model):
        output, gradients = _step(model, batch)
    model.set_attn_implementation("eager")
    torch.testing.assert_close((output, gradients), _step(model, batch), rtol=1e-4, atol=1e-5)


def test_a_learned_position_bias_gets_its_gradient() -> None:
    settings = transformers.T5Config(
        vocab_size=40, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    model, batch = transformers.T5EncoderModel(settings).eval(), _batch("right")

    def step() -> dict[str, Tensor]:
        model.zero_grad()
        (model(**batch).last_hidden_state * batch["attention_mask"][..., None]).square().sum().backward()
        return {name: value.grad.clone() for name, value in model.named_parameters()}

    with fast_attention(model) as switched:
        gradients = step()
    assert switched
    model.set_attn_implementation("eager")
    torch.testing.assert_close(gradients, step(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", OWN)
def test_a_family_with_its_own_attention_keeps_it(families: Callable[[str], Path], family: str) -> None:
    model = _open(families(family))
    with fast_attention(model) as switched:
        assert model.config._attn_implementation == "eager"
    assert not switched


def test_a_model_loaded_with_another_attention_keeps_it(families: Callable[[str], Path]) -> None:
    model = _open(families("bert"), attn_implementation="eager")
    with fast_attention(model) as switched:
        assert model.config._attn_implementation == "eager"
    assert not switched


def test_the_model_inside_another_module_is_found(families: Callable[[str], Path]) -> None:
    wrapped = nn.Sequential(_open(families("bert")))
    with fast_attention(wrapped) as switched:
        assert wrapped[0].config._attn_implementation == NAME
    assert switched


def test_afterwards_the_config_is_as_before_even_after_an_error(families: Callable[[str], Path]) -> None:
    model = _open(families("bert"))
    with pytest.raises(ZeroDivisionError), fast_attention(model):
        raise ZeroDivisionError
    assert model.config._attn_implementation == "sdpa"


def test_a_folder_saved_meanwhile_does_not_mention_it(families: Callable[[str], Path], tmp_path: Path) -> None:
    model = _open(families("bert"))
    with fast_attention(model), quiet():
        model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert NAME not in saved.values()
    assert _open(tmp_path).config._attn_implementation == "sdpa"


def test_registering_again_changes_nothing(families: Callable[[str], Path]) -> None:
    register()
    register()
    with fast_attention(_open(families("bert"))) as switched:
        assert switched


def _heads(queries: int = 7, keys: int = 7, *, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Query, key and value."""
    draw = torch.Generator().manual_seed(3)
    return [torch.randn(2, 4, n, 8, generator=draw).to(dtype).requires_grad_() for n in (queries, keys, keys)]


def _gradients(parts: list[Tensor], **options: Any) -> tuple[Tensor, ...]:
    output, _ = attention_forward(nn.Module(), *parts, None, is_causal=False, **options)
    return torch.autograd.grad(output.float().square().sum(), parts)


def test_one_query_costs_one_row_of_scores() -> None:
    query, key, value = _heads(queries=1, keys=9)
    output, _ = attention_forward(nn.Module(), query, key, value, None, is_causal=True)
    expected = ((query @ key.mT) * 8**-0.5).softmax(-1) @ value
    torch.testing.assert_close(output, expected.transpose(1, 2))
    output.sum().backward()
    assert key.grad is not None


def test_a_mask_of_numbers_is_added() -> None:
    parts = _heads()
    allowed = torch.rand(2, 1, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.7
    numbers = torch.zeros(2, 1, 7, 7).masked_fill_(~allowed, torch.finfo(torch.float32).min)
    outputs = [attention_forward(nn.Module(), *parts, mask, is_causal=False)[0] for mask in (allowed, numbers)]
    torch.testing.assert_close(*outputs)
    halves = [part.bfloat16() for part in parts]
    assert attention_forward(nn.Module(), *halves, numbers, is_causal=False)[0].isfinite().all()


def test_a_row_that_may_attend_to_nothing_is_finite() -> None:
    parts = _heads()
    output, _ = attention_forward(nn.Module(), *parts, torch.zeros(2, 1, 7, 7, dtype=torch.bool), is_causal=False)
    gradients = torch.autograd.grad(output.sum(), parts)
    assert all(bool(part.isfinite().all()) for part in (output, *gradients))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean_and_drops_the_asked_share(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key = torch.zeros(2, 8, 64, 8, dtype=dtype), torch.zeros(2, 8, 64, 8, dtype=dtype)
    value = (
        torch.eye(64, dtype=dtype).expand(2, 8, 64, 64).clone().requires_grad_()
    )  # so that the output is what is kept
    output, _ = attention_forward(nn.Module(), query, key, value, None, is_causal=False, dropout=0.3)
    kept = output.detach().float() * 64
    assert abs(float((kept == 0).float().mean()) - 0.3) < 0.005
    assert abs(float(kept.mean()) - 1) < 0.01
    torch.testing.assert_close(kept[kept > 0].mean(), torch.tensor(1 / 0.7), rtol=5e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_goes_through_the_very_dropout_of_the_forward_pass(dtype: torch.dtype) -> None:
    query, key, _ = _heads(dtype=dtype)
    value = torch.eye(7, dtype=dtype).expand(2, 4, 7, 7).clone().requires_grad_()
    torch.manual_seed(5)
    output, _ = attention_forward(nn.Module(), query, key, value, None, is_causal=False, dropout=0.4)
    factors = (output.detach() != 0).transpose(1, 2).float() / 0.6
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    found = torch.autograd.grad((output.float() * weights).sum(), (query, key, value))
    exact = [part.detach().float().requires_grad_() for part in (query, key, value)]
    plain = (((exact[0] @ exact[1].mT) * 8**-0.5).softmax(-1) * factors) @ exact[2]
    expected = torch.autograd.grad((plain.transpose(1, 2) * weights).sum(), exact)
    near = 1e-4 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close([part.float() for part in found], list(expected), rtol=near, atol=near)


def test_the_same_seed_drops_the_same() -> None:
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(_gradients(_heads(), dropout=0.5))
    assert all(torch.equal(*pair) for pair in zip(results[0], results[1], strict=True))
    assert not torch.equal(results[0][0], results[2][0])


def test_dropout_of_all_leaves_nothing() -> None:
    parts = _heads()
    output, _ = attention_forward(nn.Module(), *parts, None, is_causal=False, dropout=1.0)
    gradients = torch.autograd.grad(output.sum(), parts[2])
    assert not any(bool(part.any()) for part in (output, *gradients))


def _flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in gradients.values()])
