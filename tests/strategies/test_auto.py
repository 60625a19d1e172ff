"""What ``strategy: auto`` takes, by what there is to go by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from regraft.recipe import StrategyOptions
from regraft.strategies import Choice, Names, Probe, Signs, make_strategy

PROBE = Probe("accuracy", 512, 0.7, 0.5)
SIGNS = Signs(
    kind="classes",
    rows=64,
    rarest=30,
    epochs=20,
    fewest=3,
    an_epoch=4,
    fitted=True,
    pairs=True,
    probe=lambda: PROBE,
    names=lambda: None,
    blocks=lambda: 6,
    seconds=lambda: 2.0,
)
NUMBERS = replace(SIGNS, kind="numbers", rarest=64, pairs=False)
BOXES = replace(SIGNS, kind="boxes", rarest=64, fitted=False, pairs=False)


def _choice(signs: Signs, minutes: float | None = None) -> Choice:
    return make_strategy(StrategyOptions(name="auto", minutes=minutes)).choice(signs)


@pytest.mark.parametrize(
    ("signs", "name"),
    [(SIGNS, "contrastive"), (NUMBERS, "probe-then-tune"), (replace(SIGNS, fitted=False), "full"), (BOXES, "full")],
)
def test_the_answers_and_the_head_decide(signs: Signs, name: str) -> None:
    choice = _choice(signs)
    assert (choice.strategy, choice.epochs) == (name, 10 if name == "contrastive" else 20)


@pytest.mark.parametrize(("fewest", "epochs", "rate"), [(3, 10, 1e-4), (20, 20, 5e-5)])
def test_of_pairs_half_the_epochs_at_twice_the_rate_do_as_well(fewest: int, epochs: int, rate: float) -> None:
    choice = _choice(replace(SIGNS, fewest=fewest))
    assert choice.epochs == epochs
    assert choice.options["learning_rate"] == pytest.approx(rate)


@pytest.mark.parametrize(
    ("minutes", "name", "n", "epochs"),
    [
        (1, "contrastive", None, 10),
        (0.2, "contrastive", None, 6),
        (0.05, "contrastive", 3, 3),
        (0.01, "logistic", None, 20),
    ],
)
def test_within_a_limit_there_are_fewer_epochs_then_fewer_blocks_then_a_fit_alone(
    minutes: float, name: str, n: int | None, epochs: int
) -> None:
    choice = _choice(SIGNS, minutes)
    assert (choice.strategy, choice.options.get("n"), choice.epochs) == (name, n, epochs)


@pytest.mark.parametrize(("minutes", "epochs", "kept"), [(0.03, 5, True), (0.001, 3, False)])
def test_what_cannot_be_fitted_learns_in_its_last_block_where_time_is_short(
    minutes: float, epochs: int, kept: bool
) -> None:
    choice = _choice(BOXES, minutes)
    assert (choice.strategy, choice.options, choice.epochs) == ("top-layers", {"n": 1}, epochs)
    assert ("though not within" in choice.reason) != kept


def test_time_that_is_enough_is_used_where_nothing_else_could_be_taken() -> None:
    choice = _choice(replace(BOXES, blocks=lambda: 0), 10)
    assert (choice.strategy, choice.epochs) == ("full", 20)
    assert choice.reason.endswith("within 10 minutes.")


def test_epochs_that_are_asked_for_are_not_cut() -> None:
    asked = replace(SIGNS, fewest=20)
    assert _choice(asked, 0.4).options["n"] == 3
    assert _choice(asked, 0.4).epochs == 20


def test_where_frozen_features_tell_all_only_the_last_layer_is_fitted() -> None:
    perfect = replace(PROBE, value=1.0)
    assert _choice(replace(SIGNS, probe=lambda: perfect)).strategy == "logistic"
    for little in (replace(perfect, rows=16), replace(PROBE, value=0.996, without=0.996)):
        assert _choice(replace(SIGNS, probe=lambda said=little: said)).strategy == "contrastive"


def test_rows_that_may_not_be_parted_are_not_probed() -> None:
    choice = _choice(replace(SIGNS, probe=lambda: None))
    assert choice.strategy == "contrastive"
    assert "probe" not in choice.reason


def test_the_reason_is_two_sentences_with_what_was_seen() -> None:
    reason = _choice(SIGNS, 1).reason
    assert "64 rows" in reason
    assert "30 of the rarest class" in reason
    assert "0.700" in reason
    assert [each for each in reason.split(". ") if each[0].isupper()] == reason.split(". ")
    assert len(reason.split(". ")) == 2


def test_names_that_fit_the_rows_are_learned_from() -> None:
    choice = _choice(replace(SIGNS, names=lambda: Names(0.72, 16)))
    assert choice.names
    assert "16 more say the names of the classes" in choice.reason
    assert "0.720" in choice.reason


def test_names_that_say_nothing_or_the_contrary_are_left_out() -> None:
    for auc in (0.5, 0.3):
        choice = _choice(replace(SIGNS, names=lambda said=auc: Names(said, 16)))
        assert not choice.names
        assert "left out" in choice.reason


def test_the_time_that_rows_of_names_take_counts() -> None:
    as_many = replace(SIGNS, names=lambda: Names(0.7, SIGNS.rows))
    assert _choice(as_many, 0.2).epochs == 3
