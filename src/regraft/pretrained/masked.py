"""What a masked-LM head, trained to guess hidden words (Devlin et al. 2019, arXiv 1810.04805), proposes for them.

Only models whose checkpoint holds the head are asked, and as they are, untuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.pretrained.opening import class_of, open_folder, settings_of

_AUTO_CLASS = "AutoModelForMaskedLM"
_MARKS = "Ġ▁"  # with one of which tokenizers of two kinds begin a word; those of a third begin all else with ##
_FIX = "leave augmentation.masked_words out, or name a model that was saved with its masked-LM head"


@dataclass(frozen=True)
class MaskedHead:
    """A model with its masked-LM head. ``words``, bool [vocabulary]: which tokens begin a word and have a letter."""

    model: nn.Module
    mask: int
    words: Tensor
    inside: frozenset[int]  # tokens that go on with a word

    def places(self, tokens: Sequence[int]) -> list[int]:
        """Where a token is a word by itself."""
        following = [*tokens[1:], self.mask]
        pairs = enumerate(zip(tokens, following, strict=True))
        return [place for place, (token, after) in pairs if self.words[token] and after not in self.inside]

    def proposed(
        self, row: Mapping[str, Sequence[int]], places: Sequence[int], *, candidates: int
    ) -> list[list[tuple[int, float]]]:
        """For each place other words that are likely there while all these places are hidden, likeliest first.

        The row is computed by itself and on one thread, so that neither neighbours nor cores can change what is said.

        Args:
            row: of one example, what the tokenizer gives.

        Returns:
            Tokens with their probabilities among the candidates.
        """
        device = next(self.model.parameters()).device
        inputs = {name: torch.tensor([list(values)], device=device) for name, values in row.items()}
        own = inputs["input_ids"][0, places]
        inputs["input_ids"][0, places] = self.mask
        with torch.no_grad(), _one_thread():
            logits = self.model(**inputs).logits[0, places].float()
        logits = logits[:, : len(self.words)].cpu().masked_fill(~self.words, -torch.inf)
        logits[torch.arange(len(places)), own.cpu()] = -torch.inf
        found = logits.topk(min(candidates, len(self.words)))
        shares = found.values.softmax(-1)
        return [
            [(token, share) for token, share in zip(tokens, of_place, strict=True) if share > 0]
            for tokens, of_place in zip(found.indices.tolist(), shares.tolist(), strict=True)
        ]


@lru_cache(maxsize=1)
def masked_head(folder: Path, processor: Any, device: torch.device) -> MaskedHead:
    """The masked-LM head of a model folder, with the model below it.

    Raises:
        RecipeError: the checkpoint holds no such head.
    """
    if processor.mask_token_id is None:
        raise RecipeError(f"model {folder} has no token for hidden words, and so no masked-LM head", fix=_FIX)
    words, inside = _kinds(processor)
    return MaskedHead(_opened(folder).eval().to(device), int(processor.mask_token_id), words, inside)


def _opened(folder: Path) -> nn.Module:
    settings = settings_of(folder, _AUTO_CLASS)
    if class_of(settings, _AUTO_CLASS) is None or getattr(settings, "is_encoder_decoder", False):
        raise RecipeError(f"model {folder}: {settings.model_type} has no masked-LM head", fix=_FIX)
    model, missing = open_folder(folder, _AUTO_CLASS, {}, None)
    if missing:
        few = ", ".join(sorted(missing)[:3]) + (" …" if len(missing) > 3 else "")
        raise RecipeError(f"model {folder} holds no masked-LM head: it has no {few}", fix=_FIX)
    opened: nn.Module = model
    return opened


def _kinds(processor: Any) -> tuple[Tensor, frozenset[int]]:
    """Which tokens begin a word, bool [vocabulary], and which go on with one."""
    tokens = processor.convert_ids_to_tokens(list(range(len(processor))))
    marked = any(token and token[0] in _MARKS for token in tokens)
    special = set(processor.all_special_ids)
    begins, inside = torch.zeros(len(tokens), dtype=torch.bool), set()
    for place, token in enumerate(tokens):
        if place in special or not token:
            continue
        first = token[0] in _MARKS if marked else not token.startswith("##")
        begins[place] = first and any(letter.isalpha() for letter in token)
        if not first and any(letter.isalnum() for letter in token):
            inside.add(place)
    return begins, frozenset(inside)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
