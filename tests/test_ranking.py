"""Ranking: the probe decides on rows that nothing learned from, ties are told, all depths cost one pass."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from regraft import make_recipe
from regraft.errors import DataError, RecipeError, RefusedError
from regraft.ranking import Ranking, _read, rank_layers, rank_models
from regraft.recipe import Recipe
from regraft.testing import WORDS, tiny_model, toy_table

BLOCKS = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, one of which knows no word; and tables."""
    folder = tmp_path_factory.mktemp("rank")
    tiny_model(folder / "small", words=WORDS)
    tiny_model(folder / "deep", words=WORDS, num_hidden_layers=BLOCKS)
    tiny_model(folder / "blind")
    for kind in ("classes", "labels", "numbers"):
        toy_table(folder / f"{kind}.jsonl", rows=150, kind=kind)
    return folder


def asked(place: Path, table: str = "classes", **more: Any) -> Recipe:
    task = "text-regression" if table == "numbers" else "text-classification"
    data = {"train": str(place / f"{table}.jsonl"), **more.pop("data", {})}
    return make_recipe({"task": task, "model": str(place / "deep"), "data": data, **more})


CROSS_VALIDATED = {"split": {"train": 0.9, "validation": 0.0, "test": 0.1}}


def ranked(steps: Iterator[str | Ranking]) -> Ranking:
    *_, ranking = steps
    assert isinstance(ranking, Ranking)
    return ranking


def models(place: Path, recipe: Recipe, *names: str, **more: Any) -> Ranking:
    return ranked(rank_models(recipe, [str(place / name) for name in names], **more))


class Rows:
    """How many rows went through each block while this was there."""

    def __enter__(self) -> Counter[int]:
        seen: Counter[int] = Counter()

        def count(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if type(module).__name__ == "BertLayer":
                seen[id(module)] += len(inputs[0])

        self._hook = register_module_forward_hook(count)
        return seen

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


@pytest.fixture
def no_store(monkeypatch, tmp_path):
    monkeypatch.setenv("REGRAFT_STORE", str(tmp_path / "store"))


# Models


def test_a_model_that_reads_the_words_beats_one_that_does_not(place):
    ranking = models(place, asked(place, data=CROSS_VALIDATED), "blind", "small")
    best, other = ranking.candidates
    assert ranking.best == best.name == ranking.recommended == str(place / "small")
    assert not other.as_good
    assert other.comparison is not None
    assert other.comparison.difference > 0.2
    assert best.probe.low > other.probe.value


def test_models_that_are_equally_good_are_ties_and_the_smallest_is_recommended(place):
    ranking = models(place, asked(place), "deep", "small")
    assert all(each.as_good for each in ranking.candidates)
    assert ranking.recommended == str(place / "small")


def test_p_holds_for_all_comparisons_that_were_made(place, tmp_path):
    """The same model three times: beside a third one, the p of the first two is doubled, and never more than 1."""
    for name in ("one", "two"):
        shutil.copytree(place / "blind", tmp_path / name)
    recipe = asked(place, data=CROSS_VALIDATED)
    alone = models(place, recipe, "small", "blind")
    beside = ranked(rank_models(recipe, [str(place / "small"), str(place / "blind"), str(tmp_path / "one")]))
    (p,) = [each.comparison.p for each in alone.candidates if each.comparison]
    assert [each.comparison.p for each in beside.candidates if each.comparison] == pytest.approx([2 * p, 2 * p])


def test_the_parameters_are_those_of_the_backbone_that_is_looked_at(place):
    sizes = {Path(each.name).name: each.parameters for each in models(place, asked(place), "deep", "small").candidates}
    from safetensors.torch import load_file

    weights = load_file(place / "small" / "model.safetensors")
    assert sizes["small"] == sum(tensor.numel() for name, tensor in weights.items() if not name.startswith("pooler."))
    assert sizes["deep"] > sizes["small"]


def test_two_models_are_too_few_to_tell_an_agreement(place):
    assert set(models(place, asked(place), "small", "blind").agreement.values()) == {None}


def test_three_models_tell_how_far_the_scores_agree(place):
    told = models(place, asked(place, data=CROSS_VALIDATED), "small", "blind", "deep").agreement
    assert set(told) == {"knn", "log_me", "h_score", "size"}
    assert all(tau is not None and -1 <= tau <= 1 for tau in told.values())


@pytest.mark.parametrize("table", ["labels", "numbers"])
def test_labels_and_numbers_have_no_h_score_and_all_others(place, table):
    ranking = models(place, asked(place, table), "small", "blind")
    for each in ranking.candidates:
        assert each.h_score is None
        assert np.isfinite([each.probe.value, each.log_me]).all()
        assert each.neighbours is not None


def test_where_less_is_better_the_smallest_is_best(place):
    ranking = models(place, asked(place, evaluation={"primary": "log_loss"}, data=CROSS_VALIDATED), "blind", "small")
    assert not ranking.higher_is_better
    assert ranking.best == str(place / "small")
    assert ranking.candidates[0].probe.value < ranking.candidates[1].probe.value


def test_the_ranking_is_the_same_each_time(place):
    told = [models(place, asked(place), "small", "blind").candidates for _ in range(2)]
    assert told[0] == told[1]


def test_what_is_told_is_strict_json(place):
    told = json.dumps(models(place, asked(place, "numbers"), "small", "blind").to_json(), allow_nan=False)
    assert json.loads(told)["of"] == "models"


# What is refused, and before anything is computed


def said_before(steps: Iterator[str | Ranking], error: type[Exception], match: str) -> list[str]:
    said: list[str] = []
    with pytest.raises(error, match=match):
        said.extend(step for step in steps if isinstance(step, str))
    return said


def test_a_hostile_folder_stops_all_before_any_is_opened(place, tmp_path):
    shutil.copytree(place / "small", tmp_path / "hostile")
    (tmp_path / "hostile" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    steps = rank_models(asked(place), [str(place / "small"), str(tmp_path / "hostile")])
    assert said_before(steps, RefusedError, "hostile") == []


def test_a_damaged_folder_stops_all_before_any_is_computed(place, tmp_path):
    shutil.copytree(place / "small", tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"nothing")
    with Rows() as seen:
        steps = rank_models(asked(place), [str(place / "small"), str(tmp_path / "damaged")])
        said_before(steps, RecipeError, "damaged")
    assert not seen


def test_one_model_is_nothing_to_compare(place):
    said_before(rank_models(asked(place), [str(place / "small")]), RecipeError, "fewer than two")


def test_a_model_that_is_named_twice_is_an_error(place):
    said_before(rank_models(asked(place), [str(place / "small")] * 2), RecipeError, "twice")


# The rows


def test_test_rows_are_never_looked_at(place, no_store):
    recipe = asked(place, data=CROSS_VALIDATED)
    with Rows() as seen:
        ranking = ranked(rank_layers(recipe))
    assert ranking.train_rows + 15 == 150
    assert ranking.judged_rows == ranking.passes[0].rows == ranking.train_rows
    assert max(seen.values()) <= ranking.train_rows + 2  # and two more to see how the model is read


def test_the_probe_is_judged_on_validation_rows_where_there_are_any(place):
    ranking = models(place, asked(place), "small", "blind")
    assert ranking.judged_on == "validation"
    assert ranking.passes[0].rows == ranking.train_rows + ranking.judged_rows


def test_only_so_many_rows_are_looked_at_as_asked_for(place):
    ranking = models(place, asked(place), "small", "blind", rows=40)
    assert ranking.train_rows == 40
    assert ranking.of_rows == 120


def test_a_sample_has_the_shares_of_the_whole_and_its_order(tmp_path):
    table = tmp_path / "rare.csv"
    labels = ["rare" if number % 10 == 0 else "common" for number in range(400)]
    table.write_text("text,label\n" + "".join(f"text {n},{label}\n" for n, label in enumerate(labels)))
    recipe = make_recipe({"task": "text-classification", "data": str(table)})
    trial = _read(recipe, 50)
    train = trial.examples[: trial.train]
    assert [example.target for example in train].count("rare") == 5
    assert [example.row for example in train] == sorted(example.row for example in train)
    assert trial.examples == _read(recipe, 50).examples
    assert trial.examples != _read(recipe.model_copy(update={"seed": 1}), 50).examples


def test_equal_inputs_and_groups_stay_in_one_fold(tmp_path):
    table = tmp_path / "grouped.csv"
    rows = [f"text {n % 60},{'good' if n % 2 else 'bad'},author {n % 12}\n" for n in range(120)]
    table.write_text("text,label,author\n" + "".join(rows))
    data = {"train": str(table), "group": "author", **CROSS_VALIDATED}
    trial = _read(make_recipe({"task": "text-classification", "data": data}), 1000)
    assert trial.fold is not None
    of_group = {(example.group, number) for example, number in zip(trial.examples, trial.fold, strict=True)}
    assert len(of_group) == len({example.group for example in trial.examples})
    assert len(set(trial.fold)) == 5


def test_rows_that_cannot_be_parted_cannot_be_judged_on(place, tmp_path):
    table = tmp_path / "one.csv"
    table.write_text("text,label,who\n" + "".join(f"text {n},{'ab'[n % 2]},me\n" for n in range(20)))
    test = tmp_path / "test.csv"
    test.write_text("text,label,who\nother,a,you\n")
    split = {"train": 1.0, "validation": 0.0, "test": 0.0}
    recipe = asked(place, data={"train": str(table), "test": str(test), "group": "who", "split": split})
    with Rows() as seen:
        said_before(rank_layers(recipe), DataError, "parted")
    assert not seen


# Layers


def test_every_depth_is_ranked_from_the_bottom_up(place):
    ranking = ranked(rank_layers(asked(place)))
    assert [each.name for each in ranking.candidates] == [f"blocks[{index}]" for index in range(BLOCKS)]
    sizes = [each.parameters for each in ranking.candidates]
    assert sizes == sorted(set(sizes))


def test_what_follows_the_blocks_is_a_depth_of_its_own(tmp_path, place):
    """GPT-2 has a norm after its last block."""
    tiny_model(tmp_path / "gpt2", family="gpt2", words=WORDS)
    recipe = asked(place).model_copy(
        update={"model": asked(place).model.model_copy(update={"name": str(tmp_path / "gpt2")})}
    )
    ranking = ranked(rank_layers(recipe))
    assert [each.name for each in ranking.candidates] == ["blocks[0]", "blocks[1]", "output"]


def test_a_layer_that_knows_more_than_the_last_is_found(place, tmp_path):
    """The last two blocks forget: what they add to what they are given is a constant."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(place / "deep", tmp_path / "forgets")
    weights = load_file(tmp_path / "forgets" / "model.safetensors")
    for name in weights:
        if name.startswith(("encoder.layer.2.", "encoder.layer.3.")) and name.endswith("output.LayerNorm.weight"):
            weights[name] = torch.zeros_like(weights[name])
    save_file(weights, tmp_path / "forgets" / "model.safetensors", metadata={"format": "pt"})
    model = asked(place).model.model_copy(update={"name": str(tmp_path / "forgets")})
    ranking = ranked(rank_layers(asked(place, data=CROSS_VALIDATED).model_copy(update={"model": model})))
    assert [each.as_good for each in ranking.candidates] == [True, True, False, False]
    assert ranking.recommended == "blocks[0]"


def test_all_depths_cost_one_pass(place, no_store):
    with Rows() as seen:
        ranking = ranked(rank_layers(asked(place)))
    rows = ranking.passes[0].rows
    assert len(seen) == BLOCKS
    assert set(seen.values()) == {rows + 2}  # two rows more, to see how the model runs


def test_a_second_ranking_reads_the_store(place, no_store):
    first = ranked(rank_layers(asked(place)))
    with Rows() as seen:
        second = ranked(rank_layers(asked(place)))
    assert max(seen.values()) == 2
    assert [first.passes[0].computed, second.passes[0].computed] == [True, False]
    assert first.candidates == second.candidates


def test_what_layers_stored_serves_the_ranking_of_models(place, no_store):
    ranked(rank_layers(asked(place)))
    assert [spent.computed for spent in models(place, asked(place), "deep", "small").passes] == [False, True]


def test_without_a_store_the_ranking_is_the_same(place, no_store):
    stored = ranked(rank_layers(asked(place)))
    unstored = ranked(rank_layers(asked(place, cache={"store": "never"})))
    assert stored.candidates == unstored.candidates
    assert unstored.passes[0].computed


def test_a_stop_is_heard_before_the_pass(place, no_store):
    def stop() -> None:
        raise KeyboardInterrupt

    with Rows() as seen, pytest.raises(KeyboardInterrupt):
        ranked(rank_layers(asked(place), poll=stop))
    assert not seen
