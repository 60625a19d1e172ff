"""Texts become tokens: read, cut, padded, and never longer than the model has positions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.pretrained import Pretrained, load
from regraft.recipe import ModelOptions
from regraft.tasks._text import TextInputs, parse_text
from regraft.testing import FAMILIES, WORDS, tiny_model

LONG = "the film was good " * 60


def _opened(folder: Path, family: str = "bert", *, longest: int | None = None) -> Pretrained:
    tiny_model(folder, family=family, words=WORDS)
    config = folder / "tokenizer_config.json"
    if longest is not None:
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_max_length": longest}))
    options = ModelOptions(name=str(folder))
    return load(options, "AutoModelForSequenceClassification", {"num_labels": 2}, seed=0)


def _encoded(opened: Pretrained, *texts: Any, longest: int = 256) -> list[dict[str, Any]]:
    rows = [text if isinstance(text, dict) else {"text": text} for text in texts]
    return TextInputs(longest).encode(rows, opened.processor, opened.config)


@pytest.mark.parametrize("cell", ["good", " good ", "很好", "1", "a\nb"])
def test_a_text_is_read(cell: str) -> None:
    assert parse_text(cell) == cell.strip()


@pytest.mark.parametrize("cell", [None, "", " \n", 3, 2.5, True, ["a"], {"a": 1}])
def test_a_cell_without_text_says_why(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"^(is empty|holds)"):
        parse_text(cell)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_text_fits_the_positions_of_the_model(family: str, tmp_path: Path) -> None:
    """Also where the tokenizer knows no limit. Families of RoBERTa count positions from behind the padding index."""
    opened = _opened(tmp_path, family, longest=10**30)
    inputs = TextInputs(512)
    batch = inputs.collate(_encoded(opened, LONG, longest=512), opened.processor)
    assert 63 <= batch["input_ids"].shape[1] <= 66
    with torch.inference_mode():
        assert opened.model(**batch)["logits"].isfinite().all()


def test_the_tokenizer_may_take_fewer(tmp_path: Path) -> None:
    assert len(_encoded(_opened(tmp_path, longest=20), LONG)[0]["input_ids"]) == 20


def test_the_recipe_may_take_fewer(tmp_path: Path) -> None:
    assert len(_encoded(_opened(tmp_path), LONG, longest=9)[0]["input_ids"]) == 9


@pytest.mark.parametrize("longest", [4, 5, 8])
def test_a_pair_is_cut_to_the_limit_too(longest: int, tmp_path: Path) -> None:
    (row,) = _encoded(_opened(tmp_path), {"text": LONG, "text_pair": LONG}, longest=longest)
    assert len(row["input_ids"]) == longest


def test_what_is_cut_is_noted(tmp_path: Path) -> None:
    opened = _opened(tmp_path)
    inputs = TextInputs(9)
    encoded = _encoded(opened, LONG, "good", longest=9)
    notes = inputs.remarks(encoded, opened.processor, opened.config)
    assert notes[0] == "1 of 2 texts fill the 9 tokens that are read; longer ones are cut"
    assert inputs.remarks(encoded[1:], opened.processor, opened.config) == []


def test_words_that_the_model_does_not_know_are_noted(tmp_path: Path) -> None:
    opened = _opened(tmp_path)
    inputs = TextInputs(9)
    encoded = _encoded(opened, "这 是 一 部 好 电影", longest=9)
    (note,) = inputs.remarks(encoded, opened.processor, opened.config)
    assert "unknown to the model" in note


def test_texts_and_pairs_go_together(tmp_path: Path) -> None:
    opened = _opened(tmp_path)
    mixed = _encoded(opened, "good", {"text": "bad", "text_pair": "fine"}, "dull")
    alone = [_encoded(opened, text)[0] for text in ("good", {"text": "bad", "text_pair": "fine"}, "dull")]
    assert mixed == alone
    assert 1 in mixed[1]["token_type_ids"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_on_the_side_of_the_tokenizer(side: str, tmp_path: Path) -> None:
    opened = _opened(tmp_path, "llama")
    opened.processor.padding_side = side
    batch = TextInputs().collate(_encoded(opened, "good", "the film was good"), opened.processor)
    short = batch["input_ids"][0] == opened.processor.pad_token_id
    assert short.tolist() == ([True] * 3 + [False] * 3 if side == "left" else [False] * 3 + [True] * 3)
    assert torch.equal(batch["attention_mask"][0], (~short).long())


def test_a_batch_is_as_the_tokenizer_pads_it(tmp_path: Path) -> None:
    opened = _opened(tmp_path)
    texts = ["good", "the film was good", "the plot"]
    ours = TextInputs().collate(_encoded(opened, *texts), opened.processor)
    theirs = opened.processor(texts, padding=True, return_tensors="pt")
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_length_is_in_tokens(tmp_path: Path) -> None:
    assert TextInputs().length(_encoded(_opened(tmp_path), "the film")[0]) == 4
