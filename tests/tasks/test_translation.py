"""What a translator learns and writes; families whose decoders start in different ways; languages; a frozen encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from regraft import Tuned, make_recipe, prepare, tune
from regraft.data.example import Example
from regraft.errors import RecipeError
from regraft.frozen import Execution
from regraft.pretrained import load
from regraft.recipe import CacheOptions, ModelOptions
from regraft.tasks import Answers
from regraft.tasks._writing import IGNORED
from regraft.tasks.translation import Translation, code
from regraft.testing import TRANSLATORS, WORDS, tiny_model, toy_table

ANSWERS = Answers("translations", ())
PAIRS = [("the film was good", "bad"), ("a very dull end of the story", "good good bad"), ("awful", "good")]


def opened(family: str, folder: Path) -> Any:
    tiny_model(folder, family=family, words=WORDS)
    return load(ModelOptions(name=str(folder)), Translation.auto_class, {}, seed=0)


def rows(model: Any, task: Translation | None = None) -> tuple[list[Any], list[Any]]:
    examples = [Example("id", {"source": source}, target, None, "a.csv", 1) for source, target in PAIRS]
    return (task or Translation()).rows(examples, ANSWERS, model.processor, model.config)


@pytest.mark.parametrize("family", TRANSLATORS)
def test_the_loss_is_the_one_that_transformers_computes(family: str, tmp_path: Path) -> None:
    model = opened(family, tmp_path / family)
    task = Translation()
    encoded, values = rows(model)
    batch = task.batch(encoded, values, ANSWERS, model.processor)
    with torch.no_grad():
        ours = task.targets.loss(ANSWERS, []).function(model.model(**batch.inputs), batch.target).sum() / batch.units
        given = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
        theirs = model.model(**given, labels=batch.target).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_padding_of_the_target_is_not_learned(tmp_path: Path) -> None:
    model = opened("bart", tmp_path / "bart")
    encoded, values = rows(model)
    batch = Translation().batch(encoded, values, ANSWERS, model.processor)
    assert (batch.target != IGNORED).sum(1).tolist() == [2, 4, 2]  # words and the end
    assert batch.units == 8


@pytest.mark.parametrize("family", TRANSLATORS)
def test_from_a_frozen_encoder_a_model_writes_what_it_writes_whole(family: str, tmp_path: Path) -> None:
    """Greedily and with beams; the rows of the encoder stand for it also while the answer is written."""
    recipe = _recipe(tmp_path, family, freeze=["encoder"], cache={"store": "always"})
    prepared = prepare(recipe)
    model, task = prepared.pretrained.model, prepared.task
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in prepared.phases[0].trainable)
    execution = Execution(prepared.subject(), prepared.rows.encoded, CacheOptions(), root=tmp_path / "store")
    batch = prepared.rows.batch([0, 1, 2], task, prepared.answers, prepared.pretrained.processor)
    decision = list(execution.enter(batch, [0, 1, 2], prepared.loss, poll=lambda: None, reads=9))[-1]
    assert decision.from_rows
    assert decision.stored
    assert decision.frontier.blocks == decision.frontier.depth
    whole = Tuned(prepared.pretrained, task, "translation", prepared.answers)
    for tuned in (whole, whole.writing(beams=3)):
        some = prepared.rows.encoded[:24]
        run = execution.of(some, lambda: None)
        from_rows, alone = tuned.logits(some, run=run), tuned.logits(some)
        assert from_rows[:, 0] == pytest.approx(alone[:, 0], rel=1e-4)
        assert (from_rows[:, 2:] == alone[:, 2:]).all()
    execution.close()


def test_a_stored_encoder_gives_the_weights_that_an_unstored_one_gives(tmp_path: Path) -> None:
    states = []
    for store in ("always", "never"):
        recipe = _recipe(tmp_path, "marian", freeze=["encoder"], cache={"store": store}, name=store)
        states.append(tune(recipe).tuned.pretrained.model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_the_encoder_can_be_frozen_by_that_name(tmp_path: Path) -> None:
    anatomy = prepare(_recipe(tmp_path, "bart", freeze=["encoder"])).pretrained.anatomy
    frozen = anatomy.select("encoder")
    assert "model.shared.weight" in frozen
    assert not [name for name in frozen if ".decoder." in name]
    assert {*frozen, *anatomy.select("decoder"), *anatomy.head} == {*anatomy.parameters}


class Codes:
    """A tokenizer that knows two languages."""

    unk_token_id = 1
    all_special_tokens = ("en_XX", "pt_XX")

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"en_XX": 7, "pt_XX": 8}.get(token, 1)


def test_a_language_that_the_model_does_not_have_is_named() -> None:
    assert code(Codes(), "pt_XX") == 8
    with pytest.raises(RecipeError, match="no language 'klingon'"):
        code(Codes(), "klingon")


def test_a_prefix_stands_before_every_text(tmp_path: Path) -> None:
    model = opened("t5", tmp_path / "t5")
    plain, prefixed = rows(model)[0], rows(model, Translation(prefix="good "))[0]
    for one, other in zip(plain, prefixed, strict=True):
        assert other["input_ids"][1:] == one["input_ids"]


def test_a_language_model_is_no_translator(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is no encoder-decoder"):
        prepare(_recipe(tmp_path, "gpt2-lm"))


def test_a_head_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_model(tmp_path / "t5", family="t5", words=WORDS)
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match="1 weights are missing or have another shape"):
        load(ModelOptions(name=str(folder)), Translation.auto_class, {}, seed=0)


def test_a_toy_language_is_learned(tmp_path: Path) -> None:
    """Every good word becomes bad and the other way round, the rest is left out."""
    recipe = _recipe(tmp_path, "mt5", epochs=6, rate=3e-3, rows=240)
    outcome = tune(recipe)
    assert outcome.scores["test"]["chrf"]["value"] > 40
    assert outcome.scores["test"]["chrf"]["value"] > outcome.scores["baselines"]["untouched"]["chrf"]["value"]
    assert set(outcome.scores["signatures"]) == {"bleu", "chrf"}


def _recipe(place: Path, family: str, **options: Any) -> Any:
    folder, table = place / family, place / "t.jsonl"
    if not folder.exists():
        tiny_model(folder, family=family, words=WORDS)
    if not table.exists():
        toy_table(table, kind="translations", rows=options.get("rows", 60))
    return make_recipe(
        {
            "task": "translation",
            "data": str(table),
            "model": str(folder),
            "strategy": {
                "name": "full",
                "learning_rate": options.get("rate", 1e-3),
                "freeze": options.get("freeze", []),
            },
            "training": {"epochs": options.get("epochs", 2), "batch_size": 8, "precision": "fp32"},
            "evaluation": {"baselines": "rows" in options, "resamples": 100},
            "cache": options.get("cache", {}),
            "output": str(place / "runs"),
            "name": options.get("name", "run"),
        }
    )
