"""Virtual tokens and prefixes: before every text, whatever pads it; as plain peft reads and writes with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft import Outcome, Tuned, make_recipe, prepare, tune
from regraft.errors import RecipeError
from regraft.sweeping.trial import Bench
from regraft.testing import WORDS, tiny_model, toy_table

KINDS = ("prompt-tuning", "prefix-tuning", "p-tuning")
TOKENS = 5
TASKS = {
    **dict.fromkeys(("bert", "gpt2", "llama", "modernbert"), ("text-classification", "classes")),
    **dict.fromkeys(("gpt2-lm", "llama-lm"), ("text-generation", "completions")),
    **dict.fromkeys(("t5", "marian"), ("translation", "translations")),
}
OPENED = {
    "text-generation": "AutoModelForCausalLM",
    "translation": "AutoModelForSeq2SeqLM",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("virtual")
    for family, (_, table) in TASKS.items():
        tiny_model(folder / family, family=family, words=WORDS)
        file = folder / f"{table}.jsonl"
        if not file.exists():
            toy_table(file, kind=table)
    return folder


def recipe(place: Path, kind: str, family: str, *overrides: str) -> Any:
    task, table = TASKS[family]
    return make_recipe(
        {
            "task": task,
            "data": str(place / f"{table}.jsonl"),
            "model": str(place / family),
            "strategy": {"name": kind, "tokens": TOKENS, "learning_rate": 5e-2},
            "training": {"epochs": 2, "batch_size": 8, "precision": "fp32"},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(place / "runs"),
            "name": f"{family}-{kind}",
        },
        overrides,
    )


class Made:
    """Runs that are made when they are first asked for."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._done: dict[tuple[str, str], Outcome] = {}

    def __getitem__(self, asked: tuple[str, str]) -> Outcome:
        if asked not in self._done:
            self._done[asked] = tune(recipe(self.place, asked[1], asked[0]))
        return self._done[asked]


@pytest.fixture(scope="module")
def made(place: Path) -> Made:
    return Made(place)


def _fits(family: str, kind: str) -> bool:
    return kind != "prefix-tuning" or family not in ("t5", "marian", "modernbert")


READ = [
    (f, kind) for f, (task, _) in TASKS.items() if task == "text-classification" for kind in KINDS if _fits(f, kind)
]
WRITTEN = [(f, kind) for f, (task, _) in TASKS.items() if task in OPENED for kind in KINDS if _fits(f, kind)]


@pytest.mark.parametrize("head", ["own", "mean"])
@pytest.mark.parametrize(("family", "kind"), READ)
def test_padding_changes_nothing(family: str, kind: str, head: str, place: Path) -> None:
    opened = prepare(recipe(place, kind, family, f"model.head={head}")).pretrained
    texts = ["the film was good", "dull", "the plot was dull and the film was awful and bad"]
    opened.processor.padding_side = "left" if family == "llama" else "right"
    together = opened.processor(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        beside = opened.model(**together)["logits"]
        for row, text in zip(beside, texts, strict=True):
            alone = opened.model(**opened.processor([text], return_tensors="pt"))["logits"]
            assert torch.allclose(alone[0], row, atol=1e-5)


@pytest.mark.parametrize(("family", "kind"), READ)
def test_what_stands_before_a_text_changes_what_is_said_of_it(family: str, kind: str, place: Path) -> None:
    opened = prepare(recipe(place, kind, family)).pretrained
    asked = opened.processor(["the film was good"], return_tensors="pt")
    before = opened.model(**asked)["logits"]
    with torch.no_grad():
        for name in opened.adapter.parameters:
            opened.model.get_parameter(name).mul_(3)
    assert not torch.allclose(opened.model(**asked)["logits"], before, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # peft's, of transformers' generate
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's, of transformers
@pytest.mark.parametrize(("family", "kind"), WRITTEN)
def test_plain_peft_writes_the_same(family: str, kind: str, place: Path, made: Made) -> None:
    import transformers
    from peft import PeftModel

    run = made[family, kind].run
    base = getattr(transformers, OPENED[TASKS[family][0]]).from_pretrained(place / family)
    plain = PeftModel.from_pretrained(base, run.model).eval()
    ours = Tuned.load(run.folder).pretrained
    asked = dict(ours.processor(["the film was good and dull"], return_tensors="pt"))
    asked.pop("token_type_ids", None)
    for beams in (1, 3):
        one, other = (
            model.generate(**asked, max_new_tokens=8, do_sample=False, num_beams=beams, use_cache=True)
            for model in (plain, ours.model)
        )
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["gpt2-lm", "llama-lm"])
def test_what_is_written_does_not_depend_on_padding_or_the_cache(
    family: str, kind: str, place: Path, made: Made
) -> None:
    opened = Tuned.load(made[family, kind].run.folder).pretrained
    ids = opened.processor(["the film was good"], return_tensors="pt")["input_ids"]
    padded = torch.nn.functional.pad(ids, (3, 0), value=opened.processor.pad_token_id)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (3, 0))
    options = {"max_new_tokens": 8, "do_sample": False}
    alone = opened.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options, use_cache=True)
    for cached in (True, False):
        beside = opened.model.generate(input_ids=padded, attention_mask=mask, **options, use_cache=cached)
        assert torch.equal(beside[:, 3:], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_that_many_places_less(kind: str, place: Path, made: Made) -> None:
    tuned = made["bert", kind].tuned
    known = json.loads((place / "bert" / "config.json").read_text())["max_position_embeddings"]
    assert tuned.pretrained.config.max_position_embeddings == known - TOKENS
    saved = json.loads((made["bert", kind].run.model / "config.json").read_text())
    assert saved["max_position_embeddings"] == known
    assert len(tuned.predict(["good " * 3 * known])) == 1


def test_in_a_sweep_texts_are_cut_for_each_trial(place: Path) -> None:
    asked = [recipe(place, "prompt-tuning", "bert", f"strategy.tokens={tokens}") for tokens in (2, 60)]
    bench = Bench()
    long, short = (max(bench.prepared(each).rows.lengths) for each in asked)
    assert short <= 66 - 60 < long <= 66 - 2


def test_more_tokens_than_places_are_a_mistake(place: Path) -> None:
    with pytest.raises(RecipeError, match="leaves no room for a text"):
        prepare(recipe(place, "prompt-tuning", "bert", "strategy.tokens=66"))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_stored_and_the_run_says_why(kind: str, made: Made) -> None:
    told = next(event for event in made["bert", kind].run.history() if event["event"] == "execution")
    assert not told["stored"]
    assert told["frontier"]["blocks"] == 0
    assert told["frontier"]["above"] in made["bert", kind].tuned.pretrained.adapter.parameters


@pytest.mark.parametrize("kind", KINDS)
def test_texts_in_one_row_are_refused(kind: str, place: Path) -> None:
    with pytest.raises(RecipeError, match="leave task.packing out"):
        prepare(recipe(place, kind, "gpt2-lm", "task.packing=true"))


@pytest.mark.parametrize("family", ["modernbert", "marian"])
def test_a_prefix_is_refused_where_attention_takes_none(family: str, place: Path) -> None:
    with pytest.raises(RecipeError, match="takes no keys and values that it has not computed"):
        prepare(recipe(place, "prefix-tuning", family))
