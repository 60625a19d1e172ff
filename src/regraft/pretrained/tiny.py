"""Tiny models with random weights, one of each family, with a tokenizer or an image processor: real model folders."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from regraft.pretrained.folder import quiet
from regraft.pretrained.hearing import Listener
from regraft.pretrained.opening import library
from regraft.pretrained.speaking import Speaker

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_NO_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
_ENCODER = {**_SIZES, "max_position_embeddings": 66, "pad_token_id": 0}
_TYPED = {"bert", "electra", "albert", "deberta-v2"}  # whose tokenizers tell the second text of a pair from the first

# Each family: its config class, and what the config needs to be tiny.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _ENCODER),
    "roberta": ("RobertaConfig", _ENCODER),
    "electra": ("ElectraConfig", {**_ENCODER, "embedding_size": 32}),
    "distilbert": (
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 66, "pad_token_id": 0},
    ),
    "albert": ("AlbertConfig", {**_ENCODER, "embedding_size": 16}),
    "mpnet": ("MPNetConfig", _ENCODER),
    "deberta-v2": (
        "DebertaV2Config",
        {
            **_ENCODER,
            "pooler_hidden_size": 32,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    "modernbert": ("ModernBertConfig", {**_SIZES, **_NO_IDS, "max_position_embeddings": 66, "pad_token_id": 0}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66, "pad_token_id": 0, **_NO_IDS}),
    "llama": ("LlamaConfig", {**_ENCODER, **_NO_IDS, "num_key_value_heads": 2}),
}


_ENDS = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None}
_LEFT_TO_RIGHT = {**_SIZES, **_ENDS, "max_position_embeddings": 256, "num_key_value_heads": 2}
_T5 = {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 64, **_ENDS, "decoder_start_token_id": 0}
_BART = {
    "d_model": 32,
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    "max_position_embeddings": 128,
    **_ENDS,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}

# Families that write: language models, and encoder-decoders.
LANGUAGE_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2-lm": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256, **_ENDS}),
    "llama-lm": ("LlamaConfig", _LEFT_TO_RIGHT),
    "qwen3-lm": ("Qwen3Config", {**_LEFT_TO_RIGHT, "head_dim": 16}),
}
TRANSLATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5Config", _T5),
    "mt5": ("MT5Config", _T5),
    "bart": ("BartConfig", _BART),
    "mbart": ("MBartConfig", _BART),
    "marian": ("MarianConfig", {**_BART, "decoder_start_token_id": 0}),
    "m2m_100": ("M2M100Config", _BART),
}


_SPEECH = {
    **_SIZES,
    "conv_dim": (16, 16),
    "conv_stride": (16, 10),
    "conv_kernel": (20, 10),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "pad_token_id": 0,
}
_MASKED = {**_SPEECH, "feat_extract_norm": "layer", "do_stable_layer_norm": True}

# Families that hear: with a decoder that writes, or with states along the sound. Whisper's window is
# 2 s. Those with group norm cannot bear padding.
LISTENERS: dict[str, tuple[str, dict[str, Any]]] = {
    "whisper": (
        "WhisperConfig",
        {
            "d_model": 32,
            **dict.fromkeys(
                ("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2
            ),
            **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
            "num_mel_bins": 16,
            "max_source_positions": 100,
            "max_target_positions": 64,
            **_ENDS,
            "decoder_start_token_id": 2,
            "begin_suppress_tokens": None,
        },
    ),
    "wav2vec2": ("Wav2Vec2Config", _SPEECH),
    "wav2vec2, masked": ("Wav2Vec2Config", _MASKED),
    "hubert": ("HubertConfig", _SPEECH),
}


_VITS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 32,
    "flow_size": 8,
    "spectrogram_bins": 129,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 1,
    "posterior_encoder_num_wavenet_layers": 2,
    "depth_separable_num_layers": 1,
    "duration_predictor_filter_channels": 8,
    "upsample_initial_channel": 16,
    "upsample_rates": [8, 8],
    "upsample_kernel_sizes": [16, 16],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 2]],
    "sampling_rate": 8000,
}
_PHONEMES = "_^$ abdefhijklmnopstuvwzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒˈˌːθ"  # what is said of the toy words, and what frames it

# Families that speak. SpeechT5 says spectrograms; Piper's voice comes without what it learns with.
VOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "vits": ("VitsConfig", _VITS),
    "piper_vits": (
        "PiperVitsConfig",
        {**_VITS, "vocab_size": len(_PHONEMES), "phoneme_id_map": {sign: [at] for at, sign in enumerate(_PHONEMES)}},
    ),
    "speecht5": (
        "SpeechT5Config",
        {
            "hidden_size": 32,
            **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
            **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
            **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
            "num_mel_bins": 16,
            **dict.fromkeys(("speech_decoder_prenet_units", "speech_decoder_postnet_units"), 16),
            "speech_decoder_postnet_layers": 2,
            "speaker_embedding_dim": 8,
            "max_speech_positions": 1000,
            "max_text_positions": 600,
            "conv_dim": [8],
            "conv_stride": [5],
            "conv_kernel": [10],
        },
    ),
}


_PATCHES = {**_SIZES, "image_size": 32, "patch_size": 8}
_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_HEADS = {"num_attention_heads": [1, 2, 2, 2]}
_WINDOWS = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 2],
    "window_size": 2,
}
_RESNET = {"embedding_size": 8, **_STAGES}
_HGNET = {
    "embedding_size": 8,
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [16, 24, 32, 40],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 24, 32],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 24, 32, 40],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [2, 2, 2, 2],
}
_SEGFORMER = {**_STAGES, **_HEADS, "mlp_ratios": [2, 2, 2, 2], "decoder_hidden_size": 16}

# Families that read images and have a head for classes. Their images have a side of 64, with plain patches of 32.
IMAGE_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTConfig", _PATCHES),
    "deit": ("DeiTConfig", _PATCHES),
    "beit": ("BeitConfig", _PATCHES),
    "dinov2": (
        "Dinov2Config",
        {**{name: size for name, size in _PATCHES.items() if name != "intermediate_size"}, "mlp_ratio": 2},
    ),
    "swin": ("SwinConfig", _WINDOWS),
    "swinv2": ("Swinv2Config", _WINDOWS),
    "pvt_v2": ("PvtV2Config", {**_STAGES, **_HEADS, "image_size": 64, "mlp_ratios": [2, 2, 2, 2]}),
    "levit": (
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
    ),
    "mobilevit": (
        "MobileViTConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 12, 16, 16, 24, 32],
            "num_attention_heads": 2,
            "expand_ratio": 2.0,
        },
    ),
    "convnext": ("ConvNextConfig", _STAGES),
    "convnextv2": ("ConvNextV2Config", _STAGES),
    "resnet": ("ResNetConfig", _RESNET),
    "regnet": ("RegNetConfig", {**_RESNET, "groups_width": 4}),
    "hgnet_v2": ("HGNetV2Config", _HGNET),
    "mobilenet_v1": ("MobileNetV1Config", {"depth_multiplier": 0.05, "min_depth": 4, "image_size": 64}),
    "mobilenet_v2": (
        "MobileNetV2Config",
        {"depth_multiplier": 0.1, "depth_divisible_by": 4, "min_depth": 4, "image_size": 64},
    ),
    "efficientnet": (
        "EfficientNetConfig",
        {
            "image_size": 64,
            "width_coefficient": 0.25,
            "depth_coefficient": 1.0,
            "depth_divisor": 4,
            "hidden_dim": 320,
            "kernel_sizes": [3, 3, 5],
            "in_channels": [32, 16, 24],
            "out_channels": [16, 24, 40],
            "strides": [1, 2, 2],
            "num_block_repeats": [1, 2, 2],
            "expand_ratios": [1, 4, 4],
        },
    ),
}
# Those without a head of their own.
BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov3_vit": ("DINOv3ViTConfig", {**_PATCHES, "num_register_tokens": 2}),
    "dinov3_convnext": ("DINOv3ConvNextConfig", {**_STAGES, "image_size": 64}),
}
_DETR = {
    "backbone_config": {"model_type": "resnet", **_RESNET, "out_features": ["stage4"]},
    "use_timm_backbone": False,
    "d_model": 16,
    "num_queries": 5,
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32),
}
_RT_DETR = {
    "d_model": 16,
    "num_queries": 5,
    "num_denoising": 4,
    "encoder_hidden_dim": 16,
    "decoder_in_channels": [16, 16, 16],
    **dict.fromkeys(("decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32),
}
_PYRAMID = ["stage2", "stage3", "stage4"]
DETECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "detr": ("DetrConfig", _DETR),
    "conditional_detr": ("ConditionalDetrConfig", _DETR),
    "rt_detr": (
        "RTDetrConfig",
        {
            **_RT_DETR,
            "backbone_config": {
                "model_type": "rt_detr_resnet",
                **_RESNET,
                "layer_type": "basic",
                "out_features": _PYRAMID,
            },
            "encoder_in_channels": [16, 24, 32],
        },
    ),
    "d_fine": (
        "DFineConfig",
        {
            **_RT_DETR,
            "backbone_config": {"model_type": "hgnet_v2", **_HGNET, "out_features": _PYRAMID},
            "encoder_in_channels": [24, 32, 40],
        },
    ),
    "yolos": ("YolosConfig", {**_PATCHES, "image_size": [32, 32], "num_detection_tokens": 5}),
}
SEGMENTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "segformer": ("SegformerConfig", _SEGFORMER),
    "upernet": (
        "UperNetConfig",
        {
            "backbone_config": {"model_type": "convnext", **_STAGES, "out_features": ["stage1", *_PYRAMID]},
            "hidden_size": 16,
            "pool_scales": [1, 2],
            "auxiliary_in_channels": 24,
            "auxiliary_channels": 8,
        },
    ),
    "mask2former": (
        "Mask2FormerConfig",
        {
            "backbone_config": {"model_type": "swin", **_WINDOWS, "out_features": ["stage1", *_PYRAMID]},
            **dict.fromkeys(("feature_size", "mask_feature_size", "hidden_dim"), 32),  # its norms have 32 groups
            **dict.fromkeys(("encoder_feedforward_dim", "dim_feedforward"), 32),
            "encoder_layers": 1,
            "decoder_layers": 3,
            "num_attention_heads": 2,
            "num_queries": 5,
            "train_num_points": 16,
        },
    ),
}
_TASK_HEADS = {
    **dict.fromkeys(LANGUAGE_MODELS, "AutoModelForCausalLM"),
    **dict.fromkeys(TRANSLATORS, "AutoModelForSeq2SeqLM"),
    "whisper": "AutoModelForSpeechSeq2Seq",
    **dict.fromkeys(("vits", "piper_vits"), "AutoModelForTextToWaveform"),
    "speecht5": "AutoModelForTextToSpectrogram",
    **dict.fromkeys(DETECTORS, "AutoModelForObjectDetection"),
    **dict.fromkeys(SEGMENTERS, "AutoModelForSemanticSegmentation"),
    "mask2former": "AutoModelForUniversalSegmentation",
}


_OF_TEXTS = {**FAMILIES, **LANGUAGE_MODELS, **TRANSLATORS}
# A conversation in words that a word tokenizer knows.
_CHAT = (
    "{% for turn in messages %}{{ turn['role'] }} : {{ turn['content'] }} {{ eos_token }} {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def tiny_model(folder: Path, *, family: str = "bert", words: Sequence[str] = (), seed: int = 0, **config: Any) -> Path:
    """Write a model folder as ``save_pretrained`` does: random weights, and a word tokenizer or an image processor.

    Backbones have no head; detectors, segmenters and models that write have theirs.

    Args:
        family: one of ``FAMILIES``, ``LANGUAGE_MODELS``, ``TRANSLATORS``, ``LISTENERS``, ``VOICES``,
            ``IMAGE_FAMILIES``, ``BACKBONES``, ``DETECTORS`` or ``SEGMENTERS``.
        words: what a tokenizer knows besides its special tokens.
        config: what the family's config is given on top, for example ``num_hidden_layers=4``.
    """
    transformers = library()
    from regraft.pretrained.piper import PiperVitsConfig

    known = {**_OF_TEXTS, **LISTENERS, **VOICES, **IMAGE_FAMILIES, **BACKBONES, **DETECTORS, **SEGMENTERS}
    name, sizes = known[family]
    processor: Any = None
    if family in FAMILIES:
        processor = _tokenizer(words, typed=family in _TYPED)
    elif family in _OF_TEXTS:
        processor = _writers_tokenizer(words, ends=family in TRANSLATORS)
    elif family in LISTENERS:
        processor = _listener(family, words)
    elif family in VOICES:
        processor = _speaker(family, words)
    if family in {*_OF_TEXTS, "whisper", "vits", "speecht5"}:
        sizes = {"vocab_size": len(getattr(processor, "tokenizer", processor)), **sizes}
    with quiet():
        settings = (PiperVitsConfig if family == "piper_vits" else getattr(transformers, name))(**{**sizes, **config})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, _TASK_HEADS.get(family, "AutoModel")).from_config(settings)
            if family not in {*_OF_TEXTS, *LISTENERS, *VOICES}:
                _settle_statistics(model, side_of_images(settings))
        model.save_pretrained(folder)
        if family != "piper_vits":  # whose config says what it reads
            (processor or _image_processor(settings)).save_pretrained(folder)
    return folder


def _settle_statistics(model: Any, side: int) -> None:
    """Let batch norms, frozen ones too, know what passes through them; else next to nothing is left of an image."""

    def settle(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        every = [axis for axis in range(inputs[0].ndim) if axis != 1]
        norm.running_mean.copy_(inputs[0].mean(every))
        norm.running_var.copy_(inputs[0].var(every, correction=0))

    norms = [module for module in model.modules() if getattr(module, "running_var", None) is not None]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    with torch.no_grad():
        model.eval()(pixel_values=torch.randn(8, 3, side, side))
    for hook in hooks:
        hook.remove()


def side_of_images(settings: Any) -> int:
    """The side in pixels of the images that a tiny model's config is for."""
    size = getattr(settings, "image_size", None) or 64
    side = size[0] if isinstance(size, list | tuple) else size
    return int(side) if side <= 64 else 64  # where the config does not ask, its default is that of the full model


def _image_processor(settings: Any) -> Any:
    """The family's own image processor, for small images."""
    from transformers import ViTImageProcessorPil
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

    known: Any = IMAGE_PROCESSOR_MAPPING
    kinds = dict(known[type(settings)]) if type(settings) in known else {}
    kind = kinds["pil"] if isinstance(kinds.get("pil"), type) else ViTImageProcessorPil
    side = side_of_images(settings)
    usual = kind()
    keys = set(dict(usual.size or {}))
    given: dict[str, Any] = {"size": dict.fromkeys(keys or {"height", "width"}, side)}
    if getattr(usual, "crop_size", None):
        given["crop_size"] = {"height": side, "width": side}
    return kind(**given)


def _tokenizer(words: Sequence[str], *, typed: bool) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*_SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"],
    )


def _writers_tokenizer(words: Sequence[str], *, ends: bool) -> Any:
    """Words, a token that ends a text, and a chat template. ``ends``: whether that token is put behind each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = ("[PAD]", "[UNK]", "[EOS]", "system", "user", "assistant", ":", *words)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(known))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A [EOS]", pair="$A $B [EOS]", special_tokens=[("[EOS]", vocabulary["[EOS]"])]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="[EOS]",
        model_max_length=128,
        chat_template=_CHAT,
        model_input_names=["input_ids", "attention_mask"],
    )


def _listener(family: str, words: Sequence[str]) -> Any:
    """A feature extractor, and for Whisper a tokenizer of words."""
    extractors = library()
    if family == "whisper":
        extractor = extractors.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
        return Listener(extractor, _writers_tokenizer(words, ends=True))
    masked = family.endswith("masked")
    return Listener(extractors.Wav2Vec2FeatureExtractor(sampling_rate=8000, return_attention_mask=masked))


def _speaker(family: str, words: Sequence[str]) -> Any:
    """The tokenizer of a voice, and the feature extractor of one that says spectrograms; Piper's has neither."""
    if family == "piper_vits":
        return None
    if family == "vits":
        return Speaker(_letters(), 8000)
    rate = {"sampling_rate": 8000, "num_mel_bins": 16, "fmax": 3800}
    return Speaker(_writers_tokenizer(words, ends=True), 8000, library().SpeechT5FeatureExtractor(**rate))


def _letters() -> Any:
    """The tokenizer of VITS, which reads letters."""
    known = {letter: place for place, letter in enumerate(["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz' "])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(known), encoding="utf-8")
        return library().VitsTokenizer(str(file), language="en", phonemize=False)
