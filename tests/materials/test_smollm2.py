"""The language model: an ordinary folder, that says what is known to be said."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library

MATERIAL = "smollm2-135m"


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    with quiet():
        return library().AutoModelForCausalLM.from_pretrained(place).eval()


@pytest.fixture(scope="module")
def tokenizer(place: Path) -> Any:
    return library().AutoTokenizer.from_pretrained(place)


def continued(model: Any, tokenizer: Any, text: str, count: int) -> str:
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    written = model.generate(**inputs, max_new_tokens=count)
    return tokenizer.decode(written[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)


def test_it_knows_a_capital(model: Any, tokenizer: Any) -> None:
    assert continued(model, tokenizer, "The capital of France is", 2) == " Paris."


def test_it_answers_in_its_chat_template(model: Any, tokenizer: Any) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    assert "Paris" in continued(model, tokenizer, text, 16)


def test_an_ordinary_sentence_is_no_surprise(model: Any, tokenizer: Any) -> None:
    inputs = tokenizer("Natural language processing is a subfield of computer science.", return_tensors="pt")
    with torch.no_grad():
        assert model(**inputs, labels=inputs["input_ids"]).loss < 3.5  # of a model that knows nothing: 10.8


def test_it_is_no_quantised_model(place: Path) -> None:
    config = json.loads((place / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["model_type"], config["num_hidden_layers"], config["dtype"]) == ("llama", 30, "float32")
    with (place / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F32"}
    assert "lm_head.weight" not in header


def test_every_digit_is_a_piece_and_texts_come_back(tokenizer: Any) -> None:
    assert tokenizer.tokenize("In  2024") == ["In", "ĠĠ", "2", "0", "2", "4"]
    for text in ("two  spaces\n\n and 1,234 ünïcödé 日本 😀", "don't"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert set(tokenizer("text")) == {"input_ids", "attention_mask"}
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.model_max_length) == ("<|im_end|>", "<|im_end|>", 8192)


def test_the_folder_is_safe_and_its_licence_beside_it(place: Path) -> None:
    check_folder(place)
    assert not list(place.rglob("*.py"))
    assert "Apache License" in (place / "LICENSE").read_text(encoding="utf-8")
