"""Models that write: where an answer ends, what pads a batch, and whether they read from left to right at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from regraft.errors import RecipeError


def settle_writing(model: Any, processor: Any, folder: Path) -> None:
    """See to it that an answer ends where the tokenizer says that a text does, and that a batch can be padded.

    Raises:
        RecipeError: a model for texts alone looks ahead, so that it cannot write.
    """
    if processor.pad_token is None:
        processor.pad_token = processor.eos_token or processor.unk_token
    settings = model.generation_config
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    ends = [token for token in (*ends, processor.eos_token_id) if token is not None]
    settings.eos_token_id = list(dict.fromkeys(ends)) or None
    if settings.pad_token_id is None:
        settings.pad_token_id = processor.pad_token_id
    model.config.use_cache = False  # in training it would be filled for nothing, and hide where packed texts begin
    if model.config.is_encoder_decoder:
        _require_start(model, folder)
    elif _looks_ahead(model):
        raise RecipeError(
            f"model {folder} ({model.config.model_type}) sees what comes after a token, so it cannot write",
            fix="name a model that reads from left to right, such as gpt2, llama, qwen or smollm2-135m",
        )


def _require_start(model: Any, folder: Path) -> None:
    """The token that a decoder starts with, in the config, where it is looked for in training."""
    if getattr(model.config, "decoder_start_token_id", None) is None:
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id
    if model.config.decoder_start_token_id is None:
        raise RecipeError(
            f"model {folder}: config.json does not say with which token its decoder starts",
            fix="add decoder_start_token_id to it",
        )


@torch.no_grad()
def _looks_ahead(model: Any) -> bool:
    """Whether what is said at the first token depends on the second."""
    size = model.config.get_text_config().vocab_size
    tokens = torch.tensor([[size // 2, size // 3], [size // 2, size // 5]], device=model.device)
    said = model(input_ids=tokens).logits[:, 0]
    return not torch.allclose(said[0], said[1], rtol=1e-4, atol=1e-5)


@contextmanager
def as_published(model: Any) -> Iterator[None]:
    """A model with the settings that others expect of it, for as long as this lasts."""
    former = getattr(model.config, "use_cache", None)
    if former is None or not model.can_generate():
        yield
        return
    model.config.use_cache = True
    try:
        yield
    finally:
        model.config.use_cache = former
