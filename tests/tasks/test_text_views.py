"""Texts in augmented views: what is read is varied, what is to be written is not, and nothing else decides how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import regraft
from regraft import make_recipe, prepare, tune
from regraft.errors import RecipeError
from regraft.preparation import Prepared
from regraft.pretrained.opening import library
from regraft.tasks._text_views import parse_wordings
from regraft.testing import WORDS, tiny_model, toy_table
from tests.report.test_images import section

ALL = {"word_dropout": 0.2, "swaps": 0.2, "casing": 0.2, "typos": 0.2, "token_dropout": 0.2}
TASKS = {
    "pairs": "text-classification",
    "classes": "text-classification",
    "numbers": "text-regression",
    "translations": "translation",
    "completions": "text-generation",
    "conversations": "text-generation",
    "passages": "text-generation",
}
FAMILIES = {"translations": "marian", **dict.fromkeys(("completions", "conversations", "passages"), "llama-lm")}
MASKED = ("bert", "roberta", "electra", "distilbert", "albert", "mpnet", "deberta-v2", "modernbert")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models, one of them with a masked-LM head, and toy tables."""
    folder = tmp_path_factory.mktemp("texts")
    for family in ("bert", "gpt2", "marian", "llama-lm"):
        tiny_model(folder / family, family=family, words=WORDS)
    for kind in TASKS:
        toy_table(folder / f"{kind}.jsonl", kind=kind, rows=60)
    with_head(folder / "bert", folder / "masked")
    return folder


@pytest.fixture
def own_cache(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
        yield tmp_path / "cache"


def with_head(plain: Path, folder: Path) -> Path:
    """The model of a folder with a masked-LM head of random weights."""
    shutil.copytree(plain, folder)
    transformers = library()
    settings = transformers.AutoConfig.from_pretrained(plain)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForMaskedLM.from_config(settings).save_pretrained(folder)
    return folder


def recipe(place: Path, kind: str, augmentation: Any, *, model: str = "", **sections: Any) -> regraft.Recipe:
    return make_recipe(
        {
            "task": TASKS[kind],
            "model": str(place / (model or FAMILIES.get(kind, "bert"))),
            "data": str(place / f"{kind}.jsonl"),
            "augmentation": augmentation,
            "training": {"epochs": 3, "precision": "fp32"},
            "evaluation": {"resamples": 100, "baselines": False},
            **sections,
        }
    )


def views_of(prepared: Prepared) -> list[dict[str, Any]]:
    return [dict(row) for row in prepared.rows.views]


def words(prepared: Prepared, rows: Any) -> list[str]:
    found = prepared.task.texts(list(rows), prepared.pretrained.processor)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["pairs", "classes", "numbers"])
def test_views_follow_from_seed_number_and_example(place: Path, kind: str) -> None:
    first, again, other = (
        prepare(recipe(place, kind, ALL, seed=seed, data={"train": str(place / f"{kind}.jsonl"), "split": {"seed": 0}}))
        for seed in (0, 0, 1)
    )
    backwards = [again.rows.views[place] for place in reversed(range(len(again.rows.views)))]
    assert views_of(first) == backwards[::-1]
    assert views_of(first) != views_of(other)
    count = len(first.rows.encoded)
    assert len({json.dumps(views_of(first)[number * count]) for number in range(3)}) == 3


def test_both_texts_of_a_pair_are_varied_and_each_by_itself(place: Path) -> None:
    prepared = prepare(recipe(place, "pairs", {"word_dropout": 0.3}))
    plain = words(prepared, prepared.rows.encoded)
    varied = words(prepared, prepared.rows.views)[: len(plain)]
    sides = [[text.split(" | ") for text in texts] for texts in (plain, varied)]
    assert all(len(texts) == 2 for side in sides for texts in side)
    changed = [tuple(one != other for one, other in zip(*pair, strict=True)) for pair in zip(*sides, strict=True)]
    assert {(True, False), (False, True), (True, True)} <= set(changed)


def test_rows_of_several_lengths_fill_the_passes_that_were_planned(place: Path) -> None:
    """A misspelt word may take more tokens: lengths are those of the view that an epoch reads."""
    prepared = prepare(recipe(place, "classes", {"word_dropout": 0.5}))
    rows, inputs = prepared.rows, prepared.task.inputs
    count = len(rows.encoded)
    lengths = rows.lengths_in(4, inputs)
    assert lengths == [len(row["input_ids"]) for row in rows.views[count : 2 * count]]
    assert lengths != rows.lengths
    assert prepare(recipe(place, "classes", {})).rows.lengths_in(1, inputs) == rows.lengths


@pytest.mark.parametrize("kind", ["pairs", "conversations"])
@pytest.mark.parametrize(("model", "noted"), [("as it is", False), ("in lower case", True)])
def test_the_plan_says_where_capitals_are_not_seen(
    place: Path, tmp_path: Path, kind: str, model: str, noted: bool
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(place / FAMILIES.get(kind, "bert"), folder)
    if model == "in lower case":
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": {"type": "Lowercase"}}))
    for augmentation, expected in (({"casing": 0.2}, noted), ({"swaps": 0.2}, False)):
        notes = prepare(recipe(place, kind, augmentation, model=str(folder))).plan.notes
        assert any("augmentation.casing changes nothing" in note for note in notes) == expected


def test_a_hidden_token_is_masked_where_the_model_knows_a_mask(place: Path) -> None:
    prepared = prepare(recipe(place, "classes", {"token_dropout": 0.3}))
    mask = prepared.pretrained.processor.mask_token_id
    for plain, varied in zip(prepared.rows.encoded, prepared.rows.views, strict=False):
        assert varied["attention_mask"] == plain["attention_mask"]
        pairs = list(zip(plain["input_ids"], varied["input_ids"], strict=True))
        assert all(new in (old, mask) for old, new in pairs)
        assert pairs[0][0] == pairs[0][1]
        assert pairs[-1][0] == pairs[-1][1]
    assert any(mask in row["input_ids"] for row in prepared.rows.views)


def test_a_hidden_token_is_gone_where_the_model_knows_no_mask(place: Path) -> None:
    prepared = prepare(recipe(place, "completions", {}))  # for its tokenizer
    assert prepared.pretrained.processor.mask_token_id is None
    classes = prepare(recipe(place, "classes", {"token_dropout": 0.5}, model="llama-lm"))
    for plain, varied in zip(classes.rows.encoded, classes.rows.views, strict=False):
        rest = iter(plain["input_ids"])
        assert varied["input_ids"]
        assert all(token in rest for token in varied["input_ids"])
        assert len(varied["attention_mask"]) == len(varied["input_ids"])
    assert any(
        len(a["input_ids"]) > len(b["input_ids"])
        for a, b in zip(classes.rows.encoded, classes.rows.views, strict=False)
    )


# Words that the masked-LM head proposes


@pytest.mark.parametrize("family", MASKED)
def test_a_masked_lm_head_proposes_words(tmp_path: Path, place: Path, family: str) -> None:
    plain = place / family if family == "bert" else tiny_model(tmp_path / "plain", family=family, words=WORDS)
    model = with_head(plain, tmp_path / "model")
    prepared = prepare(recipe(place, "classes", {"masked_words": 0.5}, model=str(model), training={"epochs": 1}))
    special = set(prepared.pretrained.processor.all_special_ids)
    changed = 0
    for before, after in zip(prepared.rows.encoded, prepared.rows.views, strict=True):
        pairs = list(zip(before["input_ids"], after["input_ids"], strict=True))
        changed += sum(old != new for old, new in pairs)
        assert all(old == new for old, new in pairs if old in special)
        assert all(new not in special for old, new in pairs if old != new)
    words_in_all = sum(token not in special for row in prepared.rows.encoded for token in row["input_ids"])
    assert 0.35 < changed / words_in_all < 0.65


def test_words_are_proposed_by_the_untuned_model_and_the_same_each_time(place: Path) -> None:
    first, again = (prepare(recipe(place, "pairs", {"masked_words": 0.3, "views": 2}, model="masked")) for _ in "ab")
    with torch.no_grad():
        for parameter in again.pretrained.model.parameters():
            parameter.mul_(2)
    assert views_of(first) == views_of(again)
    assert views_of(first)[: len(first.rows.encoded)] != views_of(first)[len(first.rows.encoded) :]


@pytest.mark.parametrize(
    ("model", "said"),
    [("bert", "holds no masked-LM head"), ("gpt2", "no masked-LM head"), ("llama-lm", "no token for")],
)
def test_a_model_without_the_head_is_refused(place: Path, model: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as refused:
        prepare(recipe(place, "classes", {"masked_words": 0.1}, model=model))
    assert "masked_words" in (refused.value.fix or "")


# Other wordings


def reworded(place: Path, folder: Path, wordings: Any) -> dict[str, Any]:
    """The toy table with a column of other wordings."""
    rows = [json.loads(line) for line in (place / "classes.jsonl").read_text().splitlines()]
    file = folder / "reworded.jsonl"
    file.write_text("".join(json.dumps({**row, "other": wordings}) + "\n" for row in rows))
    return {"train": str(file)}


@pytest.mark.parametrize("wordings", [["a superb plot", "the end"], "a superb plot\nthe end"])
def test_a_view_has_the_text_or_one_of_its_other_wordings(place: Path, tmp_path: Path, wordings: Any) -> None:
    data = reworded(place, tmp_path, wordings)
    prepared = prepare(recipe(place, "classes", {"paraphrases": "other"}, data=data, training={"epochs": 12}))
    plain = words(prepared, prepared.rows.encoded)
    seen = [words(prepared, prepared.rows.views)[place :: len(plain)] for place in range(len(plain))]
    assert all(set(views) <= {text, "a superb plot", "the end"} for text, views in zip(plain, seen, strict=True))
    flat = [view for views in seen for view in views]
    assert 0.2 < flat.count("the end") / len(flat) < 0.45


def test_other_wordings_are_no_part_of_what_is_asked(place: Path, tmp_path: Path) -> None:
    data = reworded(place, tmp_path, "a superb plot")
    with_them = prepare(recipe(place, "classes", {"paraphrases": "other"}, data=data))
    without = prepare(recipe(place, "classes", {}))
    assert with_them.rows.ids == without.rows.ids
    assert with_them.rows.encoded == without.rows.encoded


def test_an_example_without_other_wordings_stays_as_it_is(place: Path, tmp_path: Path) -> None:
    data = reworded(place, tmp_path, None)
    prepared = prepare(recipe(place, "classes", {"paraphrases": "other"}, data=data))
    assert views_of(prepared)[: len(prepared.rows.encoded)] == prepared.rows.encoded


@pytest.mark.parametrize("name", ["nowhere", "text", "label"])
def test_a_column_that_is_not_left_for_it_is_refused(place: Path, name: str) -> None:
    with pytest.raises((RecipeError, regraft.RegraftError), match=name):
        prepare(recipe(place, "classes", {"paraphrases": name}))


@pytest.mark.parametrize("cell", [3, [3], ["a", 1.5], [{"text": "a"}]])
def test_a_cell_without_wordings_says_why(cell: Any) -> None:
    with pytest.raises(ValueError, match="a text is needed"):
        parse_wordings(cell)


def test_what_comes_back_of_two_translators_is_another_wording_and_is_kept(place: Path, own_cache: Path) -> None:
    models = [str(place / "marian"), str(place / "marian")]
    asked = recipe(place, "classes", {"back_translation": models}, training={"epochs": 6})
    first = views_of(prepare(asked))
    (file,) = (own_cache / "back-translations").iterdir()
    kept = json.loads(file.read_text())
    assert set(kept) == {example.inputs["text"] for example in prepare(asked).splits.train}
    assert views_of(prepare(asked)) == first
    file.write_text(json.dumps(dict.fromkeys(kept, "a superb end")))
    prepared = prepare(asked)
    assert words(prepared, prepared.rows.views).count("a superb end") / len(first) == pytest.approx(0.5, abs=0.15)


def test_the_recipe_of_a_run_names_translators_so_that_they_are_found_from_everywhere(
    place: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    resolved = prepare(recipe(place, "classes", {"back_translation": ["marian", "./marian"]})).recipe
    assert list(resolved.augmentation.own()["back_translation"]) == [str(place / "marian")] * 2
    assert not own_cache.exists()  # nothing is translated before a view is looked at


def test_translators_that_are_none_are_refused(place: Path) -> None:
    with pytest.raises(RecipeError):
        prepare(recipe(place, "classes", {"back_translation": [str(place / "bert"), str(place / "bert")]}))


# What is written


@pytest.mark.parametrize("kind", ["translations", "completions", "conversations"])
def test_what_is_to_be_written_stays_as_it_is(place: Path, kind: str) -> None:
    prepared = prepare(recipe(place, kind, {"policy": "strong", "swaps": 0.5, "typos": 0.5}))
    changed = 0
    for plain, varied in zip(prepared.rows.encoded, prepared.rows.views, strict=False):
        learned = [[token for token in row["labels"] if token != -100] for row in (plain, varied)]
        assert learned[0] == learned[1]
        assert len(varied["labels"]) == len(varied["input_ids"]) or kind == "translations"
        changed += plain["input_ids"] != varied["input_ids"]
    assert changed > 10


@pytest.mark.parametrize("kind", ["translations", "completions", "conversations"])
@pytest.mark.parametrize("option", ["word_dropout", "token_dropout", "masked_words"])
def test_words_that_an_answer_is_written_from_do_not_go(place: Path, kind: str, option: str) -> None:
    with pytest.raises(RecipeError, match=f"augmentation.{option}"):
        prepare(recipe(place, kind, {option: 0.1}))


def test_a_text_of_which_all_is_written_is_not_varied(place: Path) -> None:
    with pytest.raises(RecipeError, match="all is learned to be written"):
        prepare(recipe(place, "passages", "light"))
    assert not prepare(recipe(place, "passages", "none")).rows.views


def test_a_conversation_has_no_other_wordings(place: Path) -> None:
    with pytest.raises(RecipeError, match="no other wordings"):
        prepare(recipe(place, "conversations", {"back_translation": [str(place / "marian")] * 2}))


# What a run leaves


def test_a_run_leaves_texts_beside_their_views_and_the_report_shows_them(place: Path, tmp_path: Path) -> None:
    run = tune(recipe(place, "classes", {"policy": "strong", "views": 2}, output=str(tmp_path))).run
    examples = json.loads(run.augmented_texts.read_text())["examples"]
    assert len(examples) == 6
    assert all(len(example["views"]) == 2 and example["text"] for example in examples)
    assert not run.augmented.exists()
    page = regraft.write_report(run).read_text(encoding="utf-8")
    shown = section(page, "augmented")
    assert examples[0]["text"].replace("[UNK]", "").strip() in shown
    assert examples[0]["views"][1] in shown
    again = regraft.read_recipe(run.recipe)
    assert again.augmentation.own()["policy"] == "strong"
    run.augmented_texts.write_text('{"examples": [{}]}')
    assert "augmented.json cannot be read" in regraft.write_report(run).read_text(encoding="utf-8")
