"""The split: stable, never apart what belongs together, and in proportion."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.data import Example
from regraft.data.split import split
from regraft.errors import DataError
from regraft.recipe import SplitOptions
from tests.data.samples import example

HALVES = SplitOptions(train=0.5, validation=0.25, test=0.25)
SOME = [example(f"text {number}") for number in range(40)]  # so that no side is empty


def sides(examples: Sequence[Example], options: SplitOptions = HALVES, **given: Any) -> dict[int, int]:
    """The side of each example, by its place in the list."""
    parts = split(examples, options, **{"seed": 0, "stratify": False, **given})
    assert sorted(map(id, examples)) == sorted(id(e) for part in parts for e in part)
    side = {id(e): number for number, part in enumerate(parts) for e in part}
    return {place: side[id(e)] for place, e in enumerate(examples)}


def labelled(number: int, classes: int, *, seed: int) -> list[Example]:
    """Examples of classes that grow rarer: the second half as frequent as the first, the third a third."""
    draw = random.Random(seed)
    weights = [1 / (place + 1) for place in range(classes)]
    names = [f"class {place}" for place in range(classes)]
    return [example(f"text {seed} {i}", draw.choices(names, weights)[0]) for i in range(number)]


def moved(examples: Sequence[Example], more: Sequence[Example], **given: Any) -> int:
    before, after = sides(examples, **given), sides([*examples, *more], **given)
    return sum(after[place] != side for place, side in before.items())


texts = st.integers(0, 500).map(lambda number: f"more {number}")
named = st.sampled_from("abcdefgh")
groups = st.none() | named
rows = st.lists(st.builds(lambda text, group: example(text, group=group), texts, groups), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, max_size=60), st.lists(texts, max_size=60), st.integers(0, 5))
def test_adding_rows_moves_none(first: list[str], second: list[str], seed: int) -> None:
    examples = [*SOME, *map(example, first)]
    assert moved(examples, [example(text) for text in second], seed=seed) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(texts, named), max_size=60), groups)
def test_adding_rows_to_a_group_moves_none(pairs: list[tuple[str, str]], group: str | None) -> None:
    examples = [*SOME, *(example(f"{text} by {by}", group=by) for text, by in pairs)]
    assert moved(examples, [example(f"new text {number}", group=group) for number in range(20)]) == 0


@settings(max_examples=150, deadline=None)
@given(rows, st.booleans())
def test_duplicates_and_groups_never_straddle(more: list[Example], stratify: bool) -> None:
    examples = [*SOME, *more]
    side = sides(examples, stratify=stratify)
    for place, one in enumerate(examples):
        for other_place, other in enumerate(examples):
            if one.id == other.id or (one.group is not None and one.group == other.group):
                assert side[place] == side[other_place]


def test_units_are_joined_through_shared_examples() -> None:
    chain = [example(f"link {i + j}", group=f"group {i}") for i in range(200) for j in (0, 1)]
    side = sides([*SOME, *chain])
    assert len({side[place] for place in range(len(SOME), len(SOME) + len(chain))}) == 1


def test_the_order_of_the_rows_decides_nothing() -> None:
    examples = labelled(300, 5, seed=3)
    order = random.Random(0).sample(range(300), 300)
    straight = sides(examples, stratify=True)
    shuffled = sides([examples[place] for place in order], stratify=True)
    assert all(shuffled[new] == straight[old] for new, old in enumerate(order))


def test_rows_of_a_side_are_in_the_order_of_the_file() -> None:
    for part in split(SOME, HALVES, seed=0, stratify=True):
        assert part == [e for e in SOME if e in part]


def test_another_seed_is_another_split() -> None:
    assert sides(SOME, seed=0) != sides(SOME, seed=1)


def test_changing_the_validation_fraction_moves_no_row_of_test() -> None:
    examples = [example(f"text {number}") for number in range(500)]
    one = split(examples, SplitOptions(train=0.8, validation=0.1, test=0.1), seed=0, stratify=False)
    two = split(examples, SplitOptions(train=0.6, validation=0.3, test=0.1), seed=0, stratify=False)
    assert one[2] == two[2]


def test_the_fractions_are_met_to_within_chance() -> None:
    parts = split(labelled(10_000, 1, seed=0), SplitOptions(), seed=0, stratify=False)
    assert [len(part) / 10_000 for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.012)


@pytest.mark.parametrize(("train", "validation", "test"), [(1.0, 0.0, 0.0), (0.7, 0.3, 0.0), (0.7, 0.0, 0.3)])
@pytest.mark.parametrize("stratify", [True, False])
def test_a_fraction_of_zero_is_an_empty_side(train: float, validation: float, test: float, stratify: bool) -> None:
    options = SplitOptions(train=train, validation=validation, test=test)
    parts = split(labelled(300, 4, seed=0), options, seed=0, stratify=stratify)
    assert [bool(part) for part in parts] == [True, validation > 0, test > 0]


@pytest.mark.parametrize("classes", [2, 5, 20])
@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_its_share_on_every_side(classes: int, seed: int) -> None:
    examples = labelled(1000, classes, seed=seed)
    parts = split(examples, SplitOptions(), seed=seed, stratify=True)
    for name, number in Counter(e.target for e in examples).items():
        for part, fraction in zip(parts, (0.8, 0.1, 0.1), strict=True):
            found, quota = sum(e.target == name for e in part), fraction * number
            assert number < 5 or abs(found - quota) <= max(1, 0.1 * quota) + 1e-6
            assert number < 3 or found > 0


def test_without_stratification_a_share_may_be_missed() -> None:
    """The control: the bound above is not met by chance."""
    examples = labelled(1000, 5, seed=0)
    _, _, test = split(examples, SplitOptions(), seed=0, stratify=False)
    off = [
        abs(sum(e.target == name for e in test) - 0.1 * n) / max(1, 0.01 * n)
        for name, n in Counter(e.target for e in examples).items()
    ]
    assert max(off) > 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=3, unique=True), min_size=60, max_size=200))
def test_every_frequent_label_of_several_is_on_every_side(labels: list[list[str]]) -> None:
    examples = [example(f"text {number}", tuple(names)) for number, names in enumerate(labels)]
    parts = split(examples, HALVES, seed=0, stratify=True)
    for name, number in Counter(name for names in labels for name in names).items():
        if number >= 12:
            assert all(any(name in e.target for e in part) for part in parts)


@pytest.mark.parametrize(("classes", "bound"), [(2, 20), (10, 30), (50, 40)])
def test_a_hundred_rows_added_to_a_thousand_move_few_when_stratified(classes: int, bound: int) -> None:
    for seed in range(10):
        examples = labelled(1100, classes, seed=seed)
        assert moved(examples[:1000], examples[1000:], options=SplitOptions(), seed=seed, stratify=True) <= bound


def test_one_row_added_moves_few_when_stratified() -> None:
    for seed in range(30):
        examples = labelled(501, 8, seed=seed)
        assert moved(examples[:500], examples[500:], options=SplitOptions(), seed=seed, stratify=True) <= 8


def test_a_class_in_one_large_group_is_not_torn_apart() -> None:
    examples = [*SOME, *(example(f"rare {number}", "no", group="one author") for number in range(50))]
    side = sides(examples, stratify=True)
    assert len({side[place] for place in range(len(SOME), len(examples))}) == 1


def test_numbers_are_not_stratified() -> None:
    examples = [example(f"text {number}", float(number)) for number in range(100)]
    assert sides(examples, stratify=True) == sides(examples, stratify=False)


@pytest.mark.parametrize("stratify", [True, False])
def test_too_few_examples_say_how_many_there_are(stratify: bool) -> None:
    with pytest.raises(DataError, match=r"^2 examples are too few: none falls into \w+") as raised:
        split(SOME[:2], SplitOptions(), seed=0, stratify=stratify)
    assert "add rows, or give data.split." in str(raised.value)


def test_too_few_groups_say_how_many_units_there_are() -> None:
    examples = [example(f"text {number}", group="one author") for number in range(100)]
    with pytest.raises(DataError, match="100 examples in 1 units that stay together"):
        split(examples, SplitOptions(), seed=0, stratify=True)


def test_three_examples_of_a_class_are_enough_when_stratified() -> None:
    assert [len(part) for part in split(SOME[:3], SplitOptions(), seed=0, stratify=True)] == [1, 1, 1]
