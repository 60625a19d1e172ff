"""An encoder beside a decoder is asked once about a batch: for the likelihood of the truth, and for what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.data.examples import read_examples
from regraft.frozen import encoding_once
from regraft.pretrained import load
from regraft.recipe import ModelOptions, make_recipe
from regraft.tasks import make_task
from regraft.tasks.translation import Translation
from regraft.testing import TRANSLATORS, WORDS, tiny_model, toy_sounds
from regraft.tuned import Tuned

TEXTS = ["the film was good", "a very dull end of the story", "awful"]


@pytest.fixture(params=[*TRANSLATORS, "whisper"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tuned, list[Any]]:
    """A model that writes, and rows of which the truth is known."""
    family = request.param
    folder = tiny_model(tmp_path / "model", family=family, words=WORDS)
    if family == "whisper":
        table = toy_sounds(tmp_path / "sounds", kind="transcripts", sounds=12)
        name = "automatic-speech-recognition"
    else:
        table = tmp_path / "pairs.csv"
        table.write_text("source,target\n" + "".join(f"{text},good {text}\n" for text in TEXTS * 4))
        name = "translation"
    options = {"name": name, "max_seconds": 2.0} if family == "whisper" else {"name": name}
    recipe = make_recipe({"task": options, "data": str(table), "model": str(folder)})
    task = make_task(recipe.task)
    model = load(ModelOptions(name=str(folder)), task.auto_class, {}, seed=0)
    examples, _, _ = read_examples(str(table), task.columns(label_separator="|"), recipe.data)
    answers = task.targets.learn(examples)
    encoded, _ = task.rows(examples, answers, model.processor, model.config)
    return Tuned(model, task, name, answers), encoded


def _asked(tuned: Tuned) -> list[int]:
    """How many examples each pass through the first layer of the encoder had, from now on."""
    passes: list[int] = []
    layers = next(m for m in tuned.pretrained.model.get_encoder().modules() if isinstance(m, torch.nn.ModuleList))
    layers[0].register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize("beams", [1, 2])
def test_a_batch_is_encoded_once_and_the_answers_are_the_same(writer: tuple[Tuned, list[Any]], beams: int) -> None:
    tuned, encoded = writer
    if isinstance(tuned.task, Translation):
        tuned = tuned.writing(beams=beams)
    passes = _asked(tuned)
    once = tuned.logits(encoded, batch_size=4)
    batches = -(-len(encoded) // 4)
    assert len(passes) == batches
    rows = {place: encoded[place] for place in range(4)}
    passes.clear()
    with torch.no_grad():
        alone = tuned.task.write(tuned.pretrained.model, list(rows.values()), tuned.pretrained.processor)
    assert len(passes) == 1
    written = torch.as_tensor(once[:4, 2:])
    assert alone is not None
    assert torch.equal(alone.double(), written.double())


def test_other_inputs_are_encoded_anew(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", family="t5", words=WORDS)
    model: Any = load(ModelOptions(name=str(folder)), Translation.auto_class, {}, seed=0).model
    one, other = torch.tensor([[5, 6, 7]]), torch.tensor([[5, 6, 8]])
    with torch.no_grad(), encoding_once(model):
        first, again, second = (model.get_encoder()(input_ids=ids).last_hidden_state for ids in (one, one, other))
        masked = model.get_encoder()(input_ids=one, attention_mask=torch.tensor([[1, 1, 0]])).last_hidden_state
    assert first is again
    assert not torch.equal(first, second)
    assert not torch.equal(first, masked)


def test_a_model_without_an_encoder_runs_as_ever(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", family="gpt2", words=WORDS)
    model = load(ModelOptions(name=str(folder)), "AutoModelForCausalLM", {}, seed=0).model
    with encoding_once(model):
        assert model(input_ids=torch.tensor([[5, 6]])).logits.shape[:2] == (1, 2)


def test_after_it_the_encoder_is_its_own_again(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", family="t5", words=WORDS)
    model: Any = load(ModelOptions(name=str(folder)), Translation.auto_class, {}, seed=0).model
    with encoding_once(model):
        pass
    assert "forward" not in model.get_encoder().__dict__
