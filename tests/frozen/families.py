"""Tiny random members of families of every kind, with inputs for them: what the frozen floor is tried on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from regraft.device import Device
from regraft.frozen import Subject
from regraft.pretrained import MeanPooled, anatomy_of
from regraft.pretrained.opening import channels_last
from regraft.tasks import Encoded, Inputs
from regraft.tasks._text import TextInputs
from regraft.testing import BACKBONES, DETECTORS, FAMILIES, IMAGE_FAMILIES, SEGMENTERS, WORDS, tiny_model

_DEPTH = 3
_PLAIN_BLOCKS = ("vit", "deit", "beit", "dinov2", "dinov3_vit", "yolos")  # of images of 32 pixels
_LENGTHS = (3, 30, 11, 17, 5, 24, 40, 9, 16, 2, 33, 12)
_SPEECH = {
    "hidden_size": 32,
    "num_hidden_layers": _DEPTH,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16, 16),
    "conv_stride": (5, 4),
    "conv_kernel": (10, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "num_labels": 2,
}


class Plain(Inputs):
    """Inputs that are tensors already: images, sounds, spectrograms. Sounds of one length, as these models are used."""

    def columns(self) -> Any:
        raise NotImplementedError

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        return [dict(values) for values in inputs]

    def length(self, encoded: Encoded) -> int:
        return 1

    def remarks(self, encoded: Sequence[Encoded], processor: Any, config: Any) -> list[str]:
        return []

    def limit(self, processor: Any, config: Any) -> int:
        return 1

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        return {name: torch.stack([row[name] for row in encoded]) for name in encoded[0]}


class Images(Plain):
    """Images, which are not looked at where rows stand for them."""

    def blank(self, encoded: Sequence[Encoded], processor: Any) -> dict[str, Tensor]:
        return {"pixel_values": torch.zeros(()).expand(len(encoded), *encoded[0]["pixel_values"].shape)}


class PooledSpeechEncoder(nn.Module):
    """The encoder of a speech model with a linear head on the mean of its rows."""

    base_model_prefix = "encoder"

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(width, 2)

    @property
    def config(self) -> Any:
        return self.encoder.config

    @property
    def base_model(self) -> nn.Module:
        return self.encoder

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return {"logits": self.classifier(self.encoder(**inputs).last_hidden_state.mean(1))}


@dataclass(frozen=True)
class Case:
    """A model and examples for it."""

    subject: Subject
    encoded: list[Encoded]


def case(family: str, folder: Path, *, precision: str = "fp32") -> Case:
    """A member of a family with examples of several lengths, the same each time."""
    torch.manual_seed(0)
    if family in _OTHERS:
        model, inputs, processor, encoded = _OTHERS[family]()
    else:
        model, inputs, processor, encoded = (_images if family in {*IMAGES, *DENSE} else _text)(family, folder)
    device = Device(torch.device("cpu"), precision, "asked for")  # type: ignore[arg-type]
    channels_last(model)
    return Case(Subject(model.eval(), anatomy_of(model), inputs, processor, device), encoded)


def _text(family: str, folder: Path) -> tuple[nn.Module, Inputs, Any, list[Encoded]]:
    mean = family.endswith(", mean pooled")
    name = family.removesuffix(", mean pooled")
    depth = {"distilbert": "n_layers", "gpt2": "n_layer"}.get(name, "num_hidden_layers")
    tiny_model(folder, family=name, words=WORDS, **{depth: _DEPTH})
    model: nn.Module
    if mean:
        model = MeanPooled(transformers.AutoModel.from_pretrained(folder), 2, dropout=0.0)
    else:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    processor = transformers.AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = processor.pad_token_id
    inputs = TextInputs(64)
    return model, inputs, processor, inputs.encode(_texts(), processor, model.config)


def _t5_encoder() -> tuple[nn.Module, Inputs, Any, list[Encoded]]:
    config = transformers.T5Config(
        vocab_size=60, d_model=32, d_kv=16, d_ff=64, num_layers=_DEPTH, num_heads=2, dropout_rate=0.1, pad_token_id=0
    )
    config.hidden_size = 32
    model = MeanPooled(transformers.T5EncoderModel(config), 2, dropout=0.0)
    processor = transformers.PreTrainedTokenizerFast(tokenizer_object=_no_tokenizer(), pad_token="[PAD]")
    encoded = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in _ids()]
    return model, TextInputs(64), processor, encoded


def _t5() -> tuple[nn.Module, Inputs, Any, list[Encoded]]:
    config = transformers.T5Config(
        vocab_size=60, d_model=32, d_kv=16, d_ff=64, num_layers=_DEPTH, num_heads=2, num_labels=2, pad_token_id=0
    )
    config.eos_token_id, config.decoder_start_token_id = 1, 0
    model = transformers.T5ForSequenceClassification(config)
    processor = transformers.PreTrainedTokenizerFast(tokenizer_object=_no_tokenizer(), pad_token="[PAD]")
    encoded = [{"input_ids": [*ids, 1], "attention_mask": [1] * (len(ids) + 1)} for ids in _ids()]
    return model, TextInputs(64), processor, encoded


def _images(family: str, folder: Path) -> tuple[nn.Module, Inputs, Any, list[Encoded]]:
    """A family of image models: with its own head for classes, a grafted one, or its own for boxes or masks."""
    depth = {"num_hidden_layers": _DEPTH} if family in _PLAIN_BLOCKS else {}
    tiny_model(folder, family=family, **depth)
    auto: Any = transformers.AutoModelForImageClassification
    if family in BACKBONES:
        model: nn.Module = MeanPooled(transformers.AutoModel.from_pretrained(folder), 2, dropout=0.0, width=32)
    else:
        if family in DETECTORS:
            auto = transformers.AutoModelForObjectDetection
        elif family in SEGMENTERS:
            auto = transformers.AutoModelForUniversalSegmentation
            if family != "mask2former":
                auto = transformers.AutoModelForSemanticSegmentation
        model = auto.from_pretrained(folder, num_labels=2)
    side = 32 if family in _PLAIN_BLOCKS else 64
    images = torch.randn(12, 3, side, side)
    return model, Images(), None, [{"pixel_values": image} for image in images]


def _wav2vec2() -> tuple[nn.Module, Inputs, Any, list[Encoded]]:
    config = transformers.Wav2Vec2Config(**_SPEECH, num_feat_extract_layers=2, classifier_proj_size=16)
    sounds = torch.randn(12, 800)
    model = transformers.Wav2Vec2ForSequenceClassification(config)
    return model, Plain(), None, [{"input_values": sound} for sound in sounds]


def _whisper_encoder() -> tuple[nn.Module, Inputs, Any, list[Encoded]]:
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=_DEPTH,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=20,
    )
    encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
    sounds = torch.randn(12, 8, 40)
    return PooledSpeechEncoder(encoder, 32), Plain(), None, [{"input_features": sound} for sound in sounds]


_OTHERS: dict[str, Callable[[], tuple[nn.Module, Inputs, Any, list[Encoded]]]] = {
    "t5 encoder": _t5_encoder,
    "t5": _t5,
    "wav2vec2": _wav2vec2,
    "whisper encoder": _whisper_encoder,
}
_TEXT_AND_SOUND = [*FAMILIES, "bert, mean pooled", "llama, mean pooled", *_OTHERS]
IMAGES = [*IMAGE_FAMILIES, *BACKBONES]
DENSE = [*DETECTORS, *SEGMENTERS]
KINDS = [*_TEXT_AND_SOUND, *IMAGES]


def _texts() -> list[dict[str, str]]:
    generator = torch.Generator().manual_seed(0)
    numbers = [torch.randint(len(WORDS), (length,), generator=generator).tolist() for length in _LENGTHS]
    return [{"text": " ".join(WORDS[number] for number in words)} for words in numbers]


def _ids() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(5, 60, (n,), generator=generator).tolist() for n in (3, 30, 11, 17, 5, 24, 40, 9, 16, 2, 33, 12)
    ]


def _no_tokenizer() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"[PAD]": 0}, unk_token="[PAD]"))
