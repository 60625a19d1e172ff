"""Adapters: where they go, what they leave as it was, what plain peft makes of their folder, and merging."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from regraft import Outcome, Tuned, make_recipe, merge, prepare, tune
from regraft.errors import RecipeError, RefusedError
from regraft.pretrained import last_layers, layers_for
from regraft.report import write_card
from regraft.testing import WORDS, tiny_model, toy_images, toy_table
from tests.training.test_exact import Countdown, _broken, _whole

LORA = {"name": "lora", "rank": 4, "learning_rate": 1e-2}
KINDS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "dora": {**LORA, "dora": True},
    "rslora": {**LORA, "rslora": True, "alpha": 16.0, "dropout": 0.1},
    "ia3": {"name": "ia3", "learning_rate": 1e-1},
    "adapter": {"name": "adapter", "size": 4, "learning_rate": 1e-2},
    "prompt-tuning": {"name": "prompt-tuning", "tokens": 5, "learning_rate": 1e-1},
    "prefix-tuning": {"name": "prefix-tuning", "tokens": 5, "learning_rate": 1e-1},
    "p-tuning": {"name": "p-tuning", "tokens": 5, "hidden": 12, "learning_rate": 1e-2},
}
OF_PEFT = [kind for kind in KINDS if kind != "adapter"]
LINEAR = ("lora", "dora", "rslora", "ia3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    toy_table(folder / "reviews.csv")
    for family in ("bert", "roberta", "distilbert", "gpt2", "vit"):
        tiny_model(folder / family, family=family, words=WORDS)
    return folder


def recipe(place: Path, strategy: dict[str, Any], *overrides: str, family: str = "bert", head: str = "own") -> Any:
    return make_recipe(
        {
            "task": "text-classification",
            "data": str(place / "reviews.csv"),
            "model": {"name": str(place / family), "head": head},
            "strategy": strategy,
            "training": {"epochs": 2, "batch_size": 8, "precision": "fp32"},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(place / "runs"),
        },
        overrides,
    )


@pytest.fixture(scope="module")
def tuned(place: Path) -> dict[str, Outcome]:
    return {kind: tune(recipe(place, strategy, f"name={kind}")) for kind, strategy in KINDS.items()}


@pytest.mark.parametrize("where", ["linear", "attention", "mlp"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2"])
def test_layers_are_found_by_what_they_are(family: str, where: Any, place: Path) -> None:
    opened = prepare(recipe(place, {"name": "full"}, family=family)).pretrained
    found = layers_for(opened.model, opened.anatomy, where=where, top=None)
    per_block = {"bert": (4, 2), "roberta": (4, 2), "distilbert": (4, 2), "gpt2": (2, 2)}[family]
    expected = {"attention": per_block[0], "mlp": per_block[1], "linear": sum(per_block)}[where]
    assert len(found) == expected * len(opened.anatomy.blocks)
    top = layers_for(opened.model, opened.anatomy, where=where, top=1)
    assert len(top) == expected
    assert all(path.startswith(opened.anatomy.modules[-1]) for path in top)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapter_and_the_head_move(kind: str, place: Path, tuned: dict[str, Outcome]) -> None:
    before = prepare(recipe(place, KINDS[kind])).pretrained
    after = tuned[kind].tuned.pretrained.model.state_dict()
    moved = {name for name, value in before.model.state_dict().items() if not torch.equal(value, after[name])}
    assert moved <= {*before.anatomy.new, *before.anatomy.head}
    assert moved & set(before.adapter.parameters)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's, of transformers
@pytest.mark.parametrize("kind", OF_PEFT)
def test_plain_peft_answers_alike(kind: str, place: Path, tuned: dict[str, Outcome]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(place / "bert", num_labels=2)
    plain = PeftModel.from_pretrained(base, tuned[kind].run.model).eval()
    ours = Tuned.load(tuned[kind].run.folder).pretrained
    asked = ours.processor(["the film was good", "awful and dull"], return_tensors="pt", padding=True)
    with torch.no_grad():
        one, other = (
            model(input_ids=asked["input_ids"], attention_mask=asked["attention_mask"]).logits
            for model in (plain, ours.model)
        )
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("head", ["own", "mean"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_merged_the_answers_stay_and_nothing_else_is_needed(
    family: str, head: str, place: Path, tmp_path: Path
) -> None:
    run = tune(recipe(place, LORA, f"output={tmp_path}", family=family, head=head)).run
    found = merge(run.folder)
    assert found.folder == run.folder / "merged"
    assert found.difference <= 1e-5
    texts = ["the film was good", "awful and dull"]
    one, other = Tuned.load(found.folder).predict(texts), Tuned.load(run.folder).predict(texts)
    assert [each["prediction"] for each in one] == [each["prediction"] for each in other]
    assert not (found.folder / "adapter_config.json").exists()
    assert Tuned.load(found.folder).pretrained.adapter is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LINEAR])
def test_what_is_not_linear_is_not_merged(kind: str, tuned: dict[str, Outcome]) -> None:
    with pytest.raises(RecipeError, match="does not go into its weights"):
        merge(tuned[kind].run.folder)
    assert not (tuned[kind].run.folder / "merged").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_changes_no_bit(kind: str, place: Path, tmp_path: Path) -> None:
    prepared = prepare(recipe(place, KINDS[kind], "training.checkpoint.every=1000"))
    expected = _whole(prepared, tmp_path / "whole", Countdown())
    assert _broken(prepared, tmp_path / "broken", 9) == expected


def test_a_bottleneck_begins_as_nothing_and_follows_attention_and_the_last_layer(place: Path) -> None:
    before, after = (prepare(recipe(place, strategy)).pretrained for strategy in ({"name": "full"}, KINDS["adapter"]))
    asked = before.processor(["the film was good"], return_tensors="pt")
    assert torch.equal(before.model.eval()(**asked).logits, after.model.eval()(**asked).logits)
    layers = {path.partition("layer.0.")[2] for path in after.adapter.layers} - {""}
    assert layers == {"attention.output.dense", "output.dense"}


@pytest.mark.parametrize("family", ["bert", "gpt2", "distilbert"])
def test_of_the_last_layers_there_are_two_a_block(family: str, place: Path) -> None:
    opened = prepare(recipe(place, {"name": "full"}, family=family)).pretrained
    assert len(last_layers(opened.model, opened.anatomy, where="linear", top=None)) == 2 * len(opened.anatomy.blocks)
    assert len(last_layers(opened.model, opened.anatomy, where="mlp", top=1)) == 1


def test_what_has_no_adapter_is_not_merged(place: Path) -> None:
    run = tune(recipe(place, {"name": "linear-probe"}, "name=whole")).run
    with pytest.raises(RecipeError, match="has no adapter"):
        merge(run.folder)


def test_a_merge_overwrites_nothing(tuned: dict[str, Outcome], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(RecipeError, match="exists"):
        merge(tuned["lora"].run.folder, to=tmp_path / "there")


def test_an_adapter_of_a_model_that_has_changed_is_refused(place: Path, tmp_path: Path) -> None:
    base = shutil.copytree(place / "bert", tmp_path / "base")
    run = tune(recipe(place, LORA, f"model={base}", f"output={tmp_path}")).run
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "layer.0" in name and name.endswith("weight"))
    save_file({**weights, name: weights[name] + 1}, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match="whose weights are not those that it was tuned on"):
        Tuned.load(run.folder)
    shutil.rmtree(base)
    with pytest.raises(RecipeError, match="no such folder"):
        Tuned.load(run.folder)


def _without(folder: Path, name: str) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors[next(each for each in tensors if name in each)]
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "lost"),
    [("lora", "lora_A"), ("lora", "classifier"), ("adapter", "up.weight"), ("prefix-tuning", "prompt_embeddings")],
)
def test_a_folder_with_a_hole_is_refused(kind: str, lost: str, tuned: dict[str, Outcome], tmp_path: Path) -> None:
    folder = shutil.copytree(tuned[kind].run.model, tmp_path / "model")
    _without(folder, lost)
    with pytest.raises(RecipeError, match="is missing, or does not fit"):
        Tuned.load(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"peft_type": "POLY", "target_modules": []}'])
def test_a_damaged_config_is_refused(content: str, tuned: dict[str, Outcome], tmp_path: Path) -> None:
    folder = shutil.copytree(tuned["lora"].run.model, tmp_path / "model")
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(RecipeError, match="the adapter cannot be read"):
        Tuned.load(folder)


def test_a_whole_model_with_an_adapter_slipped_in_is_refused(
    place: Path, tuned: dict[str, Outcome], tmp_path: Path
) -> None:
    run = tune(recipe(place, {"name": "linear-probe"}, f"output={tmp_path}")).run
    shutil.copy(tuned["lora"].run.model / "adapter_config.json", run.model)
    with pytest.raises(RefusedError, match="makes transformers open another model"):
        Tuned.load(run.folder)


def test_below_the_top_blocks_rows_are_stored(place: Path, tmp_path: Path) -> None:
    run = tune(recipe(place, {**LORA, "n": 1}, f"output={tmp_path}", "cache.store=always", head="mean")).run
    told = next(event for event in run.history() if event["event"] == "execution")
    assert told["stored"]
    assert told["frontier"]["blocks"] == 1


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_a_stored_run_gives_the_adapter_that_an_unstored_one_gives(kind: str, place: Path, tmp_path: Path) -> None:
    runs = [
        tune(recipe(place, {**KINDS[kind], "n": 1}, f"output={tmp_path}", f"cache.store={store}", head="mean")).run
        for store in ("always", "never")
    ]
    one, other = (load_file(run.model / "adapter_model.safetensors") for run in runs)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def _of_images(place: Path, folder: Path, strategy: dict[str, Any]) -> Any:
    data = folder / "images"
    values = {
        "task": "image-classification",
        "data": str(data if data.exists() else toy_images(data, kind="classes")),
        "model": str(place / "vit"),
        "strategy": strategy,
        "training": {"epochs": 1, "precision": "fp32"},
        "evaluation": {"baselines": False, "resamples": 100},
        "output": str(folder),
    }
    return make_recipe(values)


def test_images_take_adapters_too(place: Path, tmp_path: Path) -> None:
    run = tune(_of_images(place, tmp_path, LORA)).run
    assert merge(run.folder).difference <= 1e-5


@pytest.mark.parametrize("kind", ["prompt-tuning", "prefix-tuning", "p-tuning"])
def test_images_have_no_words_before_them(kind: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not look words up|takes no keys and values"):
        prepare(_of_images(place, tmp_path, KINDS[kind]))


def test_more_blocks_than_there_are_is_a_mistake(place: Path) -> None:
    with pytest.raises(RecipeError, match=r"strategy.n = 9"):
        prepare(recipe(place, {**LORA, "n": 9}))


def test_the_config_says_what_peft_needs(place: Path, tuned: dict[str, Outcome]) -> None:
    config = json.loads((tuned["lora"].run.model / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "SEQ_CLS"
    assert config["base_model_name_or_path"] == str(place / "bert")
    assert config["modules_to_save"] == ["classifier"]


@pytest.mark.parametrize(
    ("kind", "more"),
    [("lora", "`regraft merge` makes one"), ("adapter", "no other program knows"), ("p-tuning", "peft opens it")],
)
def test_the_card_says_that_it_is_an_adapter(kind: str, more: str, tuned: dict[str, Outcome]) -> None:
    card = write_card(tuned[kind].run).read_text(encoding="utf-8")
    assert "from regraft import Tuned  # it is an adapter" in card
    assert more in card
    assert "from transformers import pipeline" not in card
