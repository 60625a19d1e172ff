"""A GGUF file is a model like any other: converted once, to the numbers that are in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFWriter

from regraft.errors import RecipeError
from regraft.pretrained import load
from regraft.pretrained.folder import model_folder, quiet
from regraft.pretrained.opening import library
from regraft.recipe import ModelOptions

HEADS, WIDTH, LAYERS = 2, 32, 2
TOKENS = ["<|end|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġa", "0", "1", "2"]
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tiny(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    settings = library().LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=64, bos_token_id=0,
        eos_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    return library().LlamaForCausalLM(settings).eval()


def written(file: Path, model: Any, *, half: bool = False, cuts: str = "smollm") -> Path:
    """A file as llama.cpp's converter writes it: attention's rows in its own order."""
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cuts)
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (len(TOKENS) - 1)])
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_chat_template("{% for t in messages %}{{ t['content'] }}{% endfor %}")
    for name, value in _tensors(model):
        writer.add_tensor(name, value.astype(np.float16) if half and value.ndim == 2 else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _tensors(model: Any) -> Any:
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    yield "token_embd.weight", state["model.embed_tokens.weight"]
    yield "output_norm.weight", state["model.norm.weight"]
    for layer in range(LAYERS):
        for ours, theirs in NAMES.items():
            value = state[f"model.layers.{layer}.{ours}.weight"]
            if theirs in {"attn_q", "attn_k"}:
                value = value.reshape(HEADS, 2, -1, WIDTH).swapaxes(1, 2).reshape(WIDTH, WIDTH)
            yield f"blk.{layer}.{theirs}.weight", value


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(file: Path) -> Any:
    return load(ModelOptions(name=str(file)), "AutoModelForCausalLM", {}, seed=0)


def test_it_holds_the_very_numbers_of_the_file(tmp_path: Path) -> None:
    model = tiny()
    found = opened(written(tmp_path / "a.gguf", model))
    tokens = torch.tensor([[3, 5, 7, 1, 2]])
    with torch.inference_mode():
        assert torch.equal(found.model(tokens).logits, model(tokens).logits)


def test_what_was_rounded_is_taken_as_it_is(tmp_path: Path) -> None:
    model = tiny()
    found = opened(written(tmp_path / "a.gguf", model, half=True)).model.state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(found[name], model.state_dict()[name].half().float())


def test_a_file_is_converted_once_whatever_it_is_called(tmp_path: Path, cache: Path) -> None:
    file = written(tmp_path / "a.gguf", tiny())
    first = model_folder(ModelOptions(name=str(file)))
    moved = file.rename(tmp_path / "b.GGUF")
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert model_folder(ModelOptions(name=str(moved))) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before
    assert [entry.name for entry in (cache / "gguf").iterdir()] == [first.name]
    other = written(tmp_path / "c.gguf", tiny(seed=1))
    assert model_folder(ModelOptions(name=str(other))) != first


def test_its_tokenizer_and_its_chat_template_come_along(tmp_path: Path) -> None:
    tokenizer = opened(written(tmp_path / "a.gguf", tiny())).processor
    assert tokenizer.decode(tokenizer("b a12", add_special_tokens=False)["input_ids"]) == "b a12"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_the_folder_is_one_that_plain_transformers_opens(tmp_path: Path) -> None:
    folder = model_folder(ModelOptions(name=str(written(tmp_path / "a.gguf", tiny()))))
    with quiet():
        model = library().AutoModelForCausalLM.from_pretrained(folder)
    assert not hasattr(model.config, "quantization_config")


def test_what_only_looks_like_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"hello")
    with pytest.raises(RecipeError, match="is no GGUF file"):
        opened(file)


@pytest.mark.parametrize("kept", [5, 40, 2000, 0.5, 0.99])
def test_a_damaged_one_is_refused_and_leaves_nothing(kept: float, tmp_path: Path, cache: Path) -> None:
    file = written(tmp_path / "a.gguf", tiny())
    content = file.read_bytes()
    file.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(RecipeError, match=r"a\.gguf cannot be opened"):
        opened(file)
    assert not list((cache / "gguf").iterdir())
