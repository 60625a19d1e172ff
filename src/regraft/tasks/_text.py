"""Inputs that are texts, or pairs of texts: the columns, tokens, and padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from regraft.data.example import Column
from regraft.tasks._contract import Encoded, Inputs

SYNONYMS = ("sentence", "review", "content", "body", "comment", "tweet", "document", "question", "premise", "sentence1",
         "text1", "message", "title", "文本", "内容", "评论", "句子", "正文")  # fmt: skip
_PAIR = ("sentence2", "text2", "hypothesis", "answer", "文本2", "句子2")
_STRANGE = 0.1  # share of unknown tokens above which a note is due
# Families that count positions from behind the padding index, and so have fewer than their config says.
_SHIFTED = {
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


@dataclass(frozen=True)
class TextInputs(Inputs):
    """A text, and optionally a second one that is read together with it, as tokens."""

    uneven: ClassVar[bool] = True
    compared: ClassVar[bool] = True

    max_length: int = 256

    def varied(self, inputs: Mapping[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
        """An example with all that is only read changed by ``change(name, text)``."""
        return {name: change(name, text) for name, text in inputs.items()}

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("text", "input", parse_text, SYNONYMS),
            Column("text_pair", "input", parse_text, _PAIR, required=False),
        )

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        encoded: list[Encoded] = [{} for _ in inputs]
        limit = self.limit(processor, config)
        for paired in (False, True):
            places = [index for index, values in enumerate(inputs) if ("text_pair" in values) is paired]
            if not places:
                continue
            texts = [inputs[index]["text"] for index in places]
            pairs = [inputs[index]["text_pair"] for index in places] if paired else None
            tokens = processor(texts, pairs, truncation=True, max_length=limit, padding=False)
            names = [name for name in processor.model_input_names if name in tokens]
            for row, index in enumerate(places):
                encoded[index] = {name: tokens[name][row] for name in names}
        return encoded

    def length(self, encoded: Encoded) -> int:
        return len(encoded["input_ids"])

    def remarks(self, encoded: Sequence[Encoded], processor: Any, config: Any) -> list[str]:
        limit = self.limit(processor, config)
        full = sum(self.length(row) >= limit for row in encoded)
        cut = f"{full} of {len(encoded)} texts fill the {limit} tokens that are read; longer ones are cut"
        tokens = Counter(token for row in encoded for token in row["input_ids"])
        unknown = tokens[processor.unk_token_id] / max(1, tokens.total())
        strange = f"{unknown:.0%} of the tokens are unknown to the model: was it trained on this language?"
        return [remark for remark, said in ((cut, full > 0), (strange, unknown > _STRANGE)) if said]

    def limit(self, processor: Any, config: Any) -> int:
        """How many tokens are read: what was asked for, unless tokenizer or model take fewer."""
        limits = [self.max_length, int(min(processor.model_max_length, 1 << 30))]
        positions = getattr(config, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            padding = max(1, getattr(config, "pad_token_id", None) or 1)  # 1 in all of them; fixed in MPNet's code
            limits.append(positions - (padding + 1 if getattr(config, "model_type", "") in _SHIFTED else 0))
        return max(1, min(limits))

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """input_ids, attention_mask and what else the tokenizer gives, int64 [n, size], padded on its own side."""
        size = size or max(self.length(row) for row in encoded)
        fill = {
            "input_ids": processor.pad_token_id or 0,
            "token_type_ids": getattr(processor, "pad_token_type_id", 0),
        }
        left = processor.padding_side == "left"
        return {
            name: _tensor([_padded(row[name], size, fill.get(name, 0), left=left) for row in encoded])
            for name in encoded[0]
        }


def parse_text(cell: Any) -> str:
    """A cell that must hold text; surrounding space is not part of it."""
    if cell is None:
        raise ValueError("is empty; a text is needed")
    if not isinstance(cell, str):
        raise ValueError(f"holds {type(cell).__name__}; a text is needed")
    text = cell.strip()
    if not text:
        raise ValueError("is empty; a text is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds bytes that are no text; is it in another encoding?") from None
    return text


def _tensor(rows: list[list[int]]) -> Tensor:
    """int64 [n, size]; numpy reads lists seven times faster than torch does."""
    return torch.from_numpy(np.array(rows, dtype=np.int64))


def _padded(values: list[int], size: int, fill: int, *, left: bool) -> list[int]:
    more = [fill] * (size - len(values))
    return more + values if left else values + more
