"""Each strategy on a known anatomy: which parameters train, at which rate, and what is refused."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest

from regraft import extensions
from regraft.errors import RecipeError
from regraft.pretrained import Anatomy
from regraft.recipe import StrategyOptions
from regraft.strategies import Phase, make_strategy, phases, require_kind, strategy_class, strategy_names

NAMED = [name for name in strategy_names() if not strategy_class(StrategyOptions(name=name)).chooses]
STEPLESS = {"logistic", "knn"}
FITTING = [name for name in strategy_names() if strategy_class(StrategyOptions(name=name)).needs_readout]
DEPTH = 4
PLACES = {
    "bert.embeddings.words.weight": "embeddings.words.weight",
    **{
        f"bert.encoder.layer.{n}.{part}": f"blocks.{n}.{part}"
        for n in range(DEPTH)
        for part in ("attention.weight", "output.weight", "norm.weight", "norm.bias")
    },
    "bert.pooler.dense.weight": "pooler.dense.weight",
    "classifier.weight": "head.classifier.weight",
    "classifier.bias": "head.classifier.bias",
}


def _anatomy(
    *, new: tuple[str, ...] = ("classifier.weight", "classifier.bias"), unused: tuple[str, ...] = ()
) -> Anatomy:
    blocks = tuple(
        tuple(name for name, place in PLACES.items() if place.startswith(f"blocks.{n}.")) for n in range(DEPTH)
    )
    return Anatomy(
        stem=("bert.embeddings.words.weight",),
        blocks=blocks,
        tail=("bert.pooler.dense.weight",),
        head=("classifier.weight", "classifier.bias"),
        places=PLACES,
        sizes=dict.fromkeys(PLACES, 1),
        new=frozenset(new),
        unused=frozenset(unused),
        readout=("classifier.weight", "classifier.bias"),
        norms=tuple(name for name in PLACES if ".norm." in name),
    )


def _phases(
    name: str,
    *,
    freeze: Any = (),
    train: Any = (),
    anatomy: Anatomy | None = None,
    head_rate: float | None = None,
    **options: Any,
) -> list[Phase]:
    strategy = make_strategy(StrategyOptions(name=name, **options), head_rate=head_rate)
    strategy = strategy.settled(lambda: {f"blocks[{n}]": 1.0 for n in range(DEPTH)})
    return phases(strategy, anatomy or _anatomy(), epochs=3, freeze=freeze, train=train)


def _rates(name: str, **options: Any) -> dict[str, float]:
    """The rate of every parameter that trains, by its place; of several phases, in the first."""
    phase = _phases(name, **options)[0]
    return {PLACES[parameter]: group.learning_rate for group in phase.groups for parameter in group.parameters}


HEAD = {"head.classifier.weight", "head.classifier.bias"}


def test_full_trains_everything_at_one_rate() -> None:
    assert _rates("full", learning_rate=1e-4) == dict.fromkeys(PLACES.values(), 1e-4)


def test_a_probe_trains_the_head_alone() -> None:
    assert _rates("linear-probe", learning_rate=0.01) == dict.fromkeys(HEAD, 0.01)


def test_a_probe_trains_a_new_pooler_too() -> None:
    anatomy = _anatomy(new=("classifier.weight", "classifier.bias", "bert.pooler.dense.weight"))
    assert set(_rates("linear-probe", anatomy=anatomy)) == {*HEAD, "pooler.dense.weight"}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_top_layers_train_n_blocks_and_all_above(n: int) -> None:
    blocks = {
        place for place in PLACES.values() if place.startswith(tuple(f"blocks.{b}." for b in range(DEPTH - n, DEPTH)))
    }
    assert set(_rates("top-layers", n=n)) == {*blocks, "pooler.dense.weight", *HEAD}


@pytest.mark.parametrize("n", [0, 5, -1])
def test_top_layers_beyond_the_model_say_how_many_there_are(n: int) -> None:
    with pytest.raises(RecipeError, match="choose 1 to 4"):
        _phases("top-layers", n=n)


def test_bitfit_trains_biases_and_norm_tuning_norms() -> None:
    shifts = {f"blocks.{n}.norm.bias" for n in range(DEPTH)}
    assert set(_rates("bitfit")) == {*shifts, *HEAD}
    assert set(_rates("norm-tuning")) == {*shifts, *(f"blocks.{n}.norm.weight" for n in range(DEPTH)), *HEAD}


@pytest.mark.parametrize("name", ["bitfit", "norm-tuning"])
def test_below_the_top_blocks_nothing_trains(name: str) -> None:
    assert {place for place in _rates(name, n=1) if place not in HEAD} == {
        place for place in _rates(name) if place.startswith("blocks.3.")
    }
    with pytest.raises(RecipeError, match="choose 1 to 4"):
        _phases(name, n=5)


@pytest.mark.parametrize(("name", "kind"), [("bitfit", "biases"), ("norm-tuning", "norms")])
def test_a_model_that_has_none_of_the_kind_is_refused(name: str, kind: str) -> None:
    anatomy = _anatomy()
    places = {name: place for name, place in PLACES.items() if ".norm." not in name}
    without = replace(
        anatomy, norms=(), places=places, blocks=tuple(tuple(n for n in b if n in places) for b in anatomy.blocks)
    )
    with pytest.raises(RecipeError, match=f"has no {kind}"):
        _phases(name, anatomy=without)


def test_layer_decay_falls_by_block() -> None:
    rates = _rates("full", learning_rate=1.0, layer_decay=0.5)
    assert rates["head.classifier.weight"] == rates["pooler.dense.weight"] == 1.0
    for block in range(DEPTH):
        assert rates[f"blocks.{block}.attention.weight"] == rates[f"blocks.{block}.output.weight"]
        assert rates[f"blocks.{block}.output.weight"] == pytest.approx(0.5 ** (DEPTH - block))
    assert rates["embeddings.words.weight"] == pytest.approx(0.5 ** (DEPTH + 1))


def test_layer_decay_of_top_layers_is_that_of_full() -> None:
    full, top = (_rates(name, learning_rate=1.0, layer_decay=0.7) for name in ("full", "top-layers"))
    assert top.items() <= full.items()


@pytest.mark.parametrize("name", ["full", "top-layers"])
def test_the_head_may_have_its_own_rate(name: str) -> None:
    rates = _rates(name, learning_rate=1e-5, head_learning_rate=1e-2, layer_decay=0.9)
    assert {rates[place] for place in HEAD} == {1e-2}
    assert rates["pooler.dense.weight"] == 1e-5


@pytest.mark.parametrize("name", [name for name in NAMED if name not in FITTING])
def test_a_new_head_learns_at_what_it_needs(name: str) -> None:
    assert {_rates(name, head_rate=0.25)[place] for place in HEAD} == {0.25}


@pytest.mark.parametrize("name", ["full", "top-layers"])
def test_the_rate_that_a_head_needs_is_no_limit_and_only_the_heads(name: str) -> None:
    assert set(_rates(name, head_rate=0.25, learning_rate=0.5).values()) == {0.5}
    rates = _rates(name, head_rate=0.25)
    assert rates["pooler.dense.weight"] == _rates(name)["pooler.dense.weight"] < 0.25


@pytest.mark.parametrize(
    ("name", "option"),
    [("full", "head_learning_rate"), ("top-layers", "head_learning_rate"), ("linear-probe", "learning_rate")],
)
def test_a_rate_that_the_recipe_gives_the_head_is_kept(name: str, option: str) -> None:
    assert {_rates(name, head_rate=0.25, **{option: 1e-6})[place] for place in HEAD} == {1e-6}


@pytest.mark.parametrize("name", [name for name in NAMED if name not in STEPLESS])
def test_the_epochs_are_those_asked_for(name: str) -> None:
    assert sum(phase.epochs for phase in _phases(name) if not phase.fitted) == 3


@pytest.mark.parametrize("name", FITTING)
def test_the_last_layer_is_fitted_last(name: str) -> None:
    last = _phases(name)[-1]
    assert last.fitted
    assert last.trainable == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", FITTING)
def test_a_head_that_is_more_than_its_last_layer_is_not_fitted(name: str) -> None:
    anatomy = _anatomy(new=("classifier.weight", "classifier.bias", "bert.pooler.dense.weight"))
    with pytest.raises(RecipeError, match="pooler.dense.weight starts from random numbers"):
        _phases(name, anatomy=anatomy)


@pytest.mark.parametrize("name", ["logistic", "contrastive"])
def test_a_head_that_does_not_end_with_a_linear_layer_is_not_fitted(name: str) -> None:
    with pytest.raises(RecipeError, match="does not end with a linear layer and its bias"):
        _phases(name, anatomy=replace(_anatomy(), readout=("classifier.weight",)))


def test_what_takes_no_step_trains_nothing_besides() -> None:
    with pytest.raises(RecipeError, match="takes no step"):
        _phases("logistic", train=["blocks[3]"])


def test_the_layer_that_is_fitted_is_not_frozen_in_part() -> None:
    with pytest.raises(RecipeError, match="is to be fitted"):
        _phases("logistic", freeze=["head.classifier.bias"], anatomy=_anatomy(new=()))


@pytest.mark.parametrize(
    ("name", "kind"), [("logistic", "boxes"), ("contrastive", "labels"), ("contrastive", "numbers")]
)
def test_a_strategy_is_not_asked_for_answers_that_it_cannot_learn(name: str, kind: str) -> None:
    with pytest.raises(RecipeError, match=f"strategy {name} learns"):
        require_kind(StrategyOptions(name=name), kind)


@pytest.mark.parametrize("name", NAMED)
def test_a_parameter_is_in_one_group_and_the_head_trains(name: str) -> None:
    for phase in _phases(name):
        listed = [parameter for group in phase.groups for parameter in group.parameters]
        assert len(listed) == len(set(listed)) == len(phase.trainable)
        assert ({"classifier.weight", "classifier.bias"} <= phase.trainable) == (phase.objective != "contrastive")
        assert all((group.learning_rate > 0) != phase.fitted for group in phase.groups)


@pytest.mark.parametrize("name", NAMED)
def test_what_the_head_ignores_never_trains(name: str) -> None:
    anatomy = _anatomy(unused=("bert.pooler.dense.weight",))
    assert all("bert.pooler.dense.weight" not in phase.trainable for phase in _phases(name, anatomy=anatomy))


def test_asking_to_train_what_the_head_ignores_is_refused() -> None:
    with pytest.raises(RecipeError, match="the head does not look at it"):
        _phases("full", train=["pooler"], anatomy=_anatomy(unused=("bert.pooler.dense.weight",)))


def test_freeze_takes_out() -> None:
    rates = _rates("full", freeze=["embeddings", "blocks[:2]", "blocks.*.attention"])
    kept = {f"blocks.{n}.{part}" for n in (2, 3) for part in ("output.weight", "norm.weight", "norm.bias")}
    assert set(rates) == {*kept, "pooler.dense.weight", *HEAD}


def test_freeze_keeps_the_rates_of_the_rest() -> None:
    before = _rates("full", layer_decay=0.5)
    assert _rates("full", layer_decay=0.5, freeze=["blocks[1]"]).items() <= before.items()


def test_train_puts_in_at_the_rate_of_the_strategy() -> None:
    rates = _rates("linear-probe", learning_rate=0.5, train=["blocks[-1].attention", "pooler"])
    assert rates == dict.fromkeys({"blocks.3.attention.weight", "pooler.dense.weight", *HEAD}, 0.5)


def test_train_changes_nothing_that_trains_already() -> None:
    assert _rates("full", layer_decay=0.5, train=["blocks[0]"]) == _rates("full", layer_decay=0.5)


@pytest.mark.parametrize("way", ["freeze", "train"])
def test_a_pattern_that_matches_nothing_stops(way: str) -> None:
    with pytest.raises(RecipeError, match=r"there are: embeddings, blocks\[0\] … blocks\[3\], pooler, head"):
        _phases("full", **{way: ["blocks[4]"]})


def test_freezing_and_training_the_same_is_refused() -> None:
    with pytest.raises(RecipeError, match="asked to be frozen and to be trained"):
        _phases("full", freeze=["blocks[:2]"], train=["blocks[1]"])


@pytest.mark.parametrize("pattern", ["head", "classifier.bias", "**", "*.bias"])
def test_freezing_a_new_head_is_refused(pattern: str) -> None:
    with pytest.raises(RecipeError, match="starts from random numbers"):
        _phases("full", freeze=[pattern])


def test_a_head_that_was_trained_before_may_be_frozen() -> None:
    assert not HEAD & set(_rates("full", freeze=["head"], anatomy=_anatomy(new=())))


def test_nothing_left_to_train_is_refused() -> None:
    with pytest.raises(RecipeError, match="nothing is left to train"):
        _phases("linear-probe", freeze=["head"], anatomy=_anatomy(new=()))


def test_after_a_probe_everything_trains_at_its_own_rate() -> None:
    first, second = _phases("probe-then-tune", probe_epochs=1, probe_learning_rate=1e-2, learning_rate=1e-5)
    assert (first.epochs, second.epochs) == (1, 2)
    assert {group.learning_rate for group in first.groups} == {1e-2}
    assert {group.learning_rate for group in second.groups} == {1e-5}
    assert first.trainable < second.trainable == frozenset(PLACES)


def test_what_thaws_thaws_from_the_top_an_epoch_at_a_time() -> None:
    found = [{PLACES[name] for name in phase.trainable} for phase in _phases("gradual-unfreezing")]
    assert found[0] == {*HEAD, "pooler.dense.weight"}
    assert {place.split(".")[1] for place in found[1] - found[0]} == {"2", "3"}
    assert found[2] == set(PLACES.values())
    assert found[0] < found[1] < found[2]


def test_nothing_thaws_within_one_epoch() -> None:
    strategy = make_strategy(StrategyOptions(name="gradual-unfreezing"))
    with pytest.raises(RecipeError, match="everything would train at once"):
        phases(strategy, _anatomy(), epochs=1)


def test_the_blocks_that_are_pulled_most_are_chosen() -> None:
    pull = {"embeddings": 9.0, "blocks[0]": 0.1, "blocks[1]": 0.5, "blocks[2]": 0.2, "blocks[3]": 0.4, "head": 7.0}
    strategy = make_strategy(StrategyOptions(name="surgical", n=2)).settled(lambda: pull)
    (phase,) = phases(strategy, _anatomy(), epochs=1)
    assert {PLACES[name].split(".")[1] for name in phase.trainable} == {"1", "3", "classifier"}
    again = make_strategy(StrategyOptions(name="surgical", blocks=[0])).settled(lambda: pull)
    assert {PLACES[n].split(".")[1] for n in phases(again, _anatomy(), epochs=1)[0].trainable} == {"0", "classifier"}


@pytest.mark.parametrize(("option", "value"), [("n", 5), ("blocks", [4]), ("blocks", [])])
def test_blocks_that_are_not_there_are_refused(option: str, value: Any) -> None:
    pull = {f"blocks[{n}]": 1.0 for n in range(DEPTH)}
    with pytest.raises(RecipeError, match=f"strategy.{option}"):
        phases(
            make_strategy(StrategyOptions(name="surgical", **{option: value})).settled(lambda: pull),
            _anatomy(),
            epochs=1,
        )


@pytest.mark.parametrize(
    ("pull", "decay"), [([1, 2, 4, 8], 0.5), ([1, 1.25, 1.5625, 1.953125], 0.8), ([4, 3, 2, 1], 1.0)]
)
def test_rates_fall_as_relative_gradients_do(pull: list[float], decay: float) -> None:
    look = {f"blocks[{n}]": value for n, value in enumerate(pull)}
    settled = make_strategy(StrategyOptions(name="full", layer_decay="auto")).settled(lambda: look)
    assert settled.layer_decay == decay  # type: ignore[attr-defined]


# Where default rates come from


RATES = [
    (name, field.name)
    for name in NAMED
    for field in fields(strategy_class(StrategyOptions(name=name)))  # type: ignore[arg-type]
    if field.name.endswith("learning_rate") and field.name != "head_learning_rate"
]


def test_every_strategy_that_takes_steps_has_a_rate() -> None:
    assert {name for name, _ in RATES} == set(NAMED) - STEPLESS


@pytest.mark.parametrize(("name", "option"), RATES)
def test_a_default_rate_says_where_it_comes_from(name: str, option: str) -> None:
    told = extensions.descriptions(strategy_class(StrategyOptions(name=name)))[option]
    assert re.search(r"\b20\d\d\b|paper|SetFit's|P-Tuning v2's|``|measured", told), told


@pytest.mark.parametrize(("name", "option"), RATES)
def test_a_rate_that_is_said_to_be_that_of_another_strategy_is(name: str, option: str) -> None:
    found = strategy_class(StrategyOptions(name=name))
    told = re.search(r"(twice )?that of ``([a-z-]+)``", extensions.descriptions(found)[option])
    times = 2 if told and told[1] else 1
    other = make_strategy(StrategyOptions(name=told[2])).learning_rate if told else None
    assert other is None or getattr(found(), option) == times * other
