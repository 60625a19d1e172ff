"""The translation model: it is read as Marian wrote it, and translates what is known to be translated."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from materials.bergamot import convert, read
from materials.errors import DamagedMaterial
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library
from regraft.pretrained.ssru import SsruConfig

MATERIAL = "bergamot-en-pt"

# Without placeholders, what the weights say without transformers and without regraft's classes, computed beforehand.
KNOWN = {
    "Hello, how are you?": "Olá, como você está?",
    "The weather is very nice today and we are going to the beach.": (
        "O tempo é muito agradável hoje e nós estamos indo para a praia."
    ),
    "Transfer learning lets us adapt a pretrained model to a new task.": (
        "A aprendizagem de transferência permite-nos adaptar um modelo pré-treinado a uma nova tarefa."
    ),
    "Connection error": "Erro de conexão",
}


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    with quiet():
        return library().AutoModelForSeq2SeqLM.from_pretrained(place).eval()


@pytest.fixture(scope="module")
def tokenizer(place: Path) -> Any:
    return library().AutoTokenizer.from_pretrained(place)


@pytest.mark.parametrize("use_cache", [True, False])
def test_it_translates_a_batch_as_is_known(model: Any, tokenizer: Any, use_cache: bool) -> None:
    batch = tokenizer(list(KNOWN), return_tensors="pt", padding=True)
    written = model.generate(**batch, use_cache=use_cache, max_new_tokens=40)
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == list(KNOWN.values())


def test_padding_changes_no_logit(model: Any, tokenizer: Any) -> None:
    batch = tokenizer(list(KNOWN), return_tensors="pt", padding=True)
    alone = tokenizer("Connection error", return_tensors="pt")
    read = torch.tensor([[32000, 4, 5, 6]])
    with torch.no_grad():
        found = model(**batch, decoder_input_ids=read.expand(4, -1)).logits[3]
        wanted = model(**alone, decoder_input_ids=read).logits[0]
    assert batch.attention_mask[3].sum() == alone.input_ids.shape[1] < batch.input_ids.shape[1]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Connection error", ["▁Connection", "▁error", "</s>"]),
        ("  two\n spaces ", ["▁two", "▁spaces", "</s>"]),
        ("the joining node", ["▁the", "▁joining", "▁no", "de", "</s>"]),
        ("{name} não", ["▁", "<unk>", "name", "<unk>", "▁não", "</s>"]),
        ("", ["</s>"]),
    ],
)
def test_a_text_is_encoded_as_sentencepiece_does(tokenizer: Any, text: str, pieces: list[str]) -> None:
    encoded = tokenizer(text)
    assert set(encoded) == {"input_ids", "attention_mask"}
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == pieces


def test_its_ids_are_those_of_the_model(model: Any, tokenizer: Any) -> None:
    assert (tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id) == (0, 1, 32000)
    assert len(tokenizer) == model.config.vocab_size == 32001
    ids = ("eos_token_id", "pad_token_id", "decoder_start_token_id")
    for config in (model.config, model.generation_config):
        assert [getattr(config, name) for name in ids] == [0, 32000, 32000]
    assert (model.generation_config.num_beams, model.generation_config.max_new_tokens) == (1, 128)


def test_padding_is_never_said(model: Any) -> None:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[5, 0]]), decoder_input_ids=torch.tensor([[32000]])).logits
    assert logits.softmax(-1)[..., 32000] == 0
    assert not model.model.shared.weight[32000].any()


def test_the_folder_is_safe_and_asks_for_no_code(place: Path) -> None:
    check_folder(place)
    assert not list(place.rglob("*.py"))


def marian(path: Path, *tensors: tuple[str, int, tuple[int, ...], bytes], version: int = 1) -> Path:
    """A file as Marian writes it."""
    names = [name.encode() + b"\0" for name, *_ in tensors]
    content = struct.pack("<QQ", version, len(tensors))
    for name, (_, kind, shape, data) in zip(names, tensors, strict=True):
        content += struct.pack("<4Q", len(name), kind, len(shape), len(data))
    content += b"".join(names) + b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in tensors)
    path.write_bytes(content + struct.pack("<Q", 3) + b"\0\0\0" + b"".join(data for *_, data in tensors))
    return path


def test_floats_and_quantised_matrices_are_read(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.int8).tobytes() + struct.pack("<f", 2.0) + bytes(252)
    path = marian(
        tmp_path / "model.bin",
        ("bias", 0x404, (1, 3), struct.pack("<3f", 1, 2, 3) + bytes(4)),
        ("special:model.yml", 0x101, (4,), b"text"),
        ("W", 0x4101, (2, 3), numbers),
        ("W_QuantMultA", 0x404, (1, 1), bytes(4)),
        ("Wemb", 0x4101, (2, 3), numbers),
    )
    found = read(path)
    assert list(found) == ["bias", "W", "Wemb"]
    assert found["bias"].tolist() == [[1, 2, 3]]
    assert found["W"].tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert found["Wemb"].tolist() == [[0, 0.5, 1], [1.5, 2, 2.5]]


@pytest.mark.parametrize("harm", ["version", "type", "cut", "empty"])
def test_another_file_is_refused(tmp_path: Path, harm: str) -> None:
    kind = 0x402 if harm == "type" else 0x404
    path = marian(tmp_path / "model.bin", ("b", kind, (1, 3), bytes(12)), version=2 if harm == "version" else 1)
    if harm in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: -1 if harm == "cut" else 0])
    with pytest.raises(DamagedMaterial, match=r"model\.bin is no model of Marian"):
        read(path)


def test_other_tensors_are_refused() -> None:
    with pytest.raises(DamagedMaterial, match="other tensors"):
        convert({"Wemb": np.zeros((2, 2), np.float32)}, SsruConfig())
