"""Tiny models with random weights, one of each family, with a tokenizer: real model folders for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from regraft.pretrained.folder import quiet, stay_offline

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


def tiny_model(folder: Path, *, family: str = "bert", words: Sequence[str] = (), seed: int = 0, **config: Any) -> Path:
    """Write a model folder as ``save_pretrained`` does: a backbone with random weights and a word tokenizer.

    Args:
        family: one of ``FAMILIES``.
        words: what the tokenizer knows besides its special tokens.
        config: what the family's config is given on top, for example ``num_hidden_layers=4``.
    """
    stay_offline()
    import transformers

    name, sizes = FAMILIES[family]
    tokenizer = _tokenizer(words, typed=family in _TYPED)
    settings = getattr(transformers, name)(**{"vocab_size": len(tokenizer), **sizes, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(settings)  # type: ignore[no-untyped-call]
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


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
