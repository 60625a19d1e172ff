"""What a language model learns of texts, completions and conversations, and how it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft import Outcome, Tuned, evaluate, make_recipe, prepare, read_recipe, tune
from regraft.data.example import Example
from regraft.errors import DataError, RecipeError
from regraft.pretrained import Glimpse, load
from regraft.pretrained.opening import library
from regraft.pretrained.processor import tokenizer_of
from regraft.recipe import ModelOptions
from regraft.tasks import Answers
from regraft.tasks._conversation import parse_turns
from regraft.tasks._language import packed
from regraft.tasks._writing import IGNORED
from regraft.tasks.text_generation import TextGeneration
from regraft.testing import LANGUAGE_MODELS, WORDS, tiny_model, toy_table

TURNS = [("user", "the film"), ("assistant", "was good"), ("user", "and the plot"), ("assistant", "was dull")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "llama", family="llama-lm", words=WORDS)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return tokenizer_of(folder)


def conversation(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def example(target: str | None = None, **inputs: Any) -> Example:
    return Example("id", inputs, target, None, "a.jsonl", 1)


def learned(task: TextGeneration, row: Example, tokenizer: Any) -> list[tuple[str, str]]:
    """Each token that is read, with the one that it is to be followed by, or · where nothing is learned."""
    (encoded,), _ = task.rows([row], Answers("completions", ()), tokenizer, _config())
    words = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    wanted = ["·" if label == IGNORED else tokenizer.convert_ids_to_tokens(label) for label in encoded["labels"]]
    return list(zip(words, wanted, strict=True))


def _config() -> Any:
    return library().LlamaConfig(max_position_embeddings=64)


def test_the_mask_of_a_conversation_holds_what_the_assistant_says(tokenizer: Any) -> None:
    task = TextGeneration(format="chat")
    mask = learned(task, example(messages=conversation(*TURNS)), tokenizer)
    print("\n".join(f"{read:10} → {wanted}" for read, wanted in mask))
    told = [wanted for _, wanted in mask if wanted != "·"]
    assert told == ["was", "good", "[EOS]", "was", "dull", "[EOS]"]
    assert [read for read, wanted in mask if wanted == "was"] == [":", ":"]  # learned where "assistant :" has been read


def test_the_mask_of_a_completion_holds_the_completion_and_its_end(tokenizer: Any) -> None:
    mask = learned(TextGeneration(format="completion"), example(" was good", prompt="the film"), tokenizer)
    assert mask == [("the", "·"), ("film", "was"), ("was", "good"), ("good", "[EOS]"), ("[EOS]", "·")]


def test_of_a_text_every_token_but_the_first_is_learned(tokenizer: Any) -> None:
    mask = learned(TextGeneration(format="text"), example(text="the film was good"), tokenizer)
    assert [wanted for _, wanted in mask] == ["film", "was", "good", "[EOS]", "·"]


def test_the_end_is_learned_though_it_also_pads(folder: Path) -> None:
    tokenizer = tokenizer_of(folder)
    tokenizer.pad_token = tokenizer.eos_token
    task = TextGeneration(format="completion")
    rows = [example(" was", prompt="the film"), example(" good", prompt="the plot and the end was")]
    encoded, values = task.rows(rows, Answers("completions", ()), tokenizer, _config())
    batch = task.batch(encoded, values, Answers("completions", ()), tokenizer)
    assert int((batch.target == tokenizer.eos_token_id).sum()) == 2
    assert batch.units == 4


def test_a_prompt_that_is_too_long_is_cut_on_the_left(tokenizer: Any) -> None:
    task = TextGeneration(format="completion", max_length=6)
    mask = learned(task, example(" good", prompt=" ".join(["the"] * 20 + ["film", "was"])), tokenizer)
    assert mask[-3:] == [("was", "good"), ("good", "[EOS]"), ("[EOS]", "·")]
    assert len(mask) == 6


@pytest.mark.parametrize("turns", [TURNS[:2], TURNS, [("system", "the"), *TURNS]])
def test_a_prediction_is_asked_with_the_very_tokens_that_training_showed(turns: Any, tokenizer: Any) -> None:
    task = TextGeneration(format="chat")
    (known,), _ = task.rows([example(messages=conversation(*turns))], Answers("completions", ()), tokenizer, _config())
    (asked,) = task.inputs.encode([{"messages": conversation(*turns[:-1])}], tokenizer, _config())
    assert asked["input_ids"] == known["input_ids"][: known["prompt"]]


def test_a_template_that_hides_earlier_thoughts_is_learned_from_in_its_last_answer(folder: Path) -> None:
    tokenizer = tokenizer_of(folder)
    tokenizer.chat_template = (
        "{% for t in messages %}{{ t['role'] }} : {% if t['role'] == 'assistant' and not loop.last %}and"
        "{% else %}{{ t['content'] }}{% endif %} {{ eos_token }} {% endfor %}"
        "{% if add_generation_prompt %}assistant : {% endif %}"
    )
    mask = learned(TextGeneration(format="chat"), example(messages=conversation(*TURNS)), tokenizer)
    assert [wanted for _, wanted in mask if wanted != "·"] == ["was", "dull", "[EOS]"]


def test_a_model_without_a_chat_template_is_given_no_conversations(folder: Path) -> None:
    tokenizer = tokenizer_of(folder)
    tokenizer.chat_template = None
    with pytest.raises(RecipeError, match="no chat template"):
        learned(TextGeneration(format="chat"), example(messages=conversation(*TURNS)), tokenizer)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("not json", "is no JSON"),
        ([], "no list of turns"),
        ([{"role": "user"}], "turn 1 has no text"),
        ([{"role": "robot", "content": "a"}], "turn 1 has the role 'robot'"),
        (["a"], "turn 1 is no object"),
    ],
)
def test_what_is_no_conversation_is_said(cell: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_turns(cell)


def test_conversations_of_other_tools_are_understood() -> None:
    cell = json.dumps([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}])
    assert parse_turns(cell) == conversation(("user", "a"), ("assistant", "b"))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (["messages"], "chat"),
        (["id", "Conversations"], "chat"),
        (["instruction", "output"], "completion"),
        (["text", "id"], "text"),
        (["whatever"], "text"),
    ],
)
def test_the_columns_tell_the_format(header: list[str], chosen: str) -> None:
    assert TextGeneration().settled(lambda: header, {}, Glimpse(ModelOptions(name="x"))).format == chosen


def test_columns_that_tell_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="a, b do not tell what is to be learned"):
        TextGeneration().settled(lambda: ["a", "b"], {}, Glimpse(ModelOptions(name="x")))


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_packed_texts_do_not_see_each_other(family: str, tmp_path: Path) -> None:
    """Packed together or each alone, every token is as likely; and no gradient crosses from one text to another."""
    folder = tiny_model(tmp_path / family, family=family, words=WORDS)
    opened = load(ModelOptions(name=str(folder)), TextGeneration.auto_class, {}, seed=0)
    tokenizer, model = opened.processor, opened.model
    task = TextGeneration(format="text", packing=True, max_length=24)
    rows = [example(text=text) for text in ("the film was good", "the plot", "a very dull end of the story", "awful")]
    encoded, values = task.rows(rows, Answers("passages", ()), tokenizer, model.config)
    inputs, labels = packed(encoded, tokenizer, size=24)
    together = task.batch(encoded, values, Answers("passages", ()), tokenizer)
    assert together.inputs["input_ids"].shape[0] == 1
    loss = task.targets.loss(Answers("passages", ()), [])
    alone = [task.batch([row], [""], Answers("passages", ()), tokenizer) for row in encoded]
    sums = [float(loss.function(model(**each.inputs), each.target).sum().detach()) for each in alone]
    found = loss.function(model(**together.inputs), together.target)
    ends = torch.tensor([len(row["input_ids"]) for row in encoded]).cumsum(0).tolist()
    parts = [float(found[0, start:stop].sum().detach()) for start, stop in zip([0, *ends], ends, strict=False)]
    assert parts == pytest.approx(sums, rel=1e-5)
    assert together.units == sum(each.units for each in alone)
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    positions = {"position_ids": inputs["position_ids"]}
    second = loss.function(model(inputs_embeds=embedded, **positions), labels)[0, ends[0] : ends[1]].sum()
    (slope,) = torch.autograd.grad(second, [embedded])
    seen = slope[0].abs().amax(-1) > 0
    assert not bool(seen[: ends[0]].any())
    assert not bool(seen[ends[1] :].any())
    assert bool(seen[ends[0] : ends[1] - 1].all())


def test_a_model_that_does_not_keep_packed_texts_apart_is_refused(folder: Path) -> None:
    opened = load(ModelOptions(name=str(folder)), TextGeneration.auto_class, {}, seed=0)
    opened.model.config.use_cache = True  # with a cache transformers takes a row for one text
    task, answers = TextGeneration(format="text", packing=True), Answers("passages", ())
    rows = [example(text=text) for text in ("the film was good", "the plot", "awful")]
    encoded, _ = task.rows(rows, answers, opened.processor, opened.config)
    with pytest.raises(RecipeError, match="does not keep packed texts apart"):
        task.prove(opened.model, encoded, answers, opened.processor)


def test_packing_changes_no_weight_beyond_rounding(folder: Path, tmp_path: Path) -> None:
    table = toy_table(tmp_path / "t.jsonl", kind="passages", rows=40)
    states = []
    for packing in (True, False):
        outcome = tune(_recipe(table, folder, tmp_path, f"p{packing}", packing=packing))
        states.append(outcome.tuned.pretrained.model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-5)


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    table = toy_table(tmp_path / "t.jsonl", kind="passages", rows=40)
    for family in ("bert", "t5"):
        folder = tiny_model(tmp_path / family, family=family, words=WORDS)
        with pytest.raises(RecipeError):
            prepare(_recipe(table, folder, tmp_path, "x"))


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    tiny_model(folder, family="bert", words=WORDS)
    model = library().AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(folder)
    table = toy_table(tmp_path / "t.jsonl", kind="passages", rows=40)
    with pytest.raises(RecipeError, match="sees what comes after a token"):
        prepare(_recipe(table, folder, tmp_path, "x"))


@pytest.fixture(scope="module")
def answering(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A model that has learned its conversations by heart."""
    place = tmp_path_factory.mktemp("chat")
    table = toy_table(place / "t.jsonl", kind="conversations", rows=26)
    return tune(_recipe(table, folder, place, "chat", epochs=12, rate=1e-2))


def test_twenty_conversations_are_learned_to_exact_answers(answering: Outcome) -> None:
    recipe = read_recipe(answering.run.recipe)
    learned = prepare(recipe).splits.train
    assert len(learned) >= 20
    scores = evaluate(answering.run.folder, data=recipe.data.train)
    assert scores["rows"] == 26
    assert scores["test"]["exact_match"]["value"] == 1.0


def test_a_conversation_may_be_given_in_three_ways(answering: Outcome) -> None:
    tuned = Tuned.load(answering.run.folder)
    said = "the film was superb and superb n1"
    asked = [said, {"messages": said}, {"messages": conversation(("user", said))}]
    answers = tuned.predict(asked)
    assert answers[0] == answers[1] == answers[2] == tuned.predict([conversation(("user", said))])[0]


def test_what_is_shown_as_it_comes_is_what_is_written(answering: Outcome) -> None:
    tuned = Tuned.load(answering.run.folder)
    said = "the film was superb and superb n1"
    assert "".join(tuned.speak(said)).strip() == tuned.predict(said)[0]["prediction"]


def test_what_fails_while_it_is_shown_is_raised(answering: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = Tuned.load(answering.run.folder)
    monkeypatch.setattr(tuned.pretrained.processor, "decode", None)
    with pytest.raises(TypeError):
        list(tuned.speak("the film"))


def test_what_is_drawn_follows_the_seed(answering: Outcome) -> None:
    tuned = Tuned.load(answering.run.folder).writing(temperature=5.0, max_new_tokens=12)
    drawn = []
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(seed)
        drawn.append(tuned.predict("the film")[0]["prediction"])
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_no_more_is_written_than_there_are_positions(answering: Outcome) -> None:
    tuned = Tuned.load(answering.run.folder).writing(max_new_tokens=1000)
    model = tuned.pretrained.model
    positions = model.config.max_position_embeddings
    asked = tuned.task.inputs.encode([tuned.parsed("the film was good", 1)], tuned.pretrained.processor, model.config)
    model.generation_config.eos_token_id = None  # it never ends
    written = tuned.task.write(model, asked, tuned.pretrained.processor)
    assert written is not None
    assert int((written >= 0).sum()) == positions - asked[0]["prompt"]
    assert len(tuned.predict("the film was good")) == 1


def test_a_task_that_does_not_write_cannot_be_asked_to_speak(tmp_path: Path) -> None:
    table = toy_table(tmp_path / "t.jsonl", rows=40)
    folder = tiny_model(tmp_path / "bert", words=WORDS)
    tuned = tune(_recipe(table, folder, tmp_path, "c", task="text-classification")).tuned
    with pytest.raises(RecipeError, match="does not write"):
        tuned.speak("good")


def _recipe(table: Path, folder: Path, place: Path, name: str, **options: Any) -> Any:
    own = {"packing": options["packing"]} if "packing" in options else {}
    sides = {side: options[side] for side in ("validation", "test") if side in options}
    return make_recipe(
        {
            "task": {"name": options.get("task", "text-generation"), **own},
            "data": {"train": str(table), **sides, "on_bad_rows": "skip"},
            "model": str(folder),
            "strategy": {"name": "full", "learning_rate": options.get("rate", 1e-3)},
            "training": {"epochs": options.get("epochs", 1), "batch_size": 4, "precision": "fp32"},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(place / "runs"),
            "name": name,
        }
    )
