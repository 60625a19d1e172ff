"""The order of the data is a pure function of (seed, epoch, example id), and almost nothing of a batch is padding."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from regraft.data.batches import passes, step_batches, within_budget
from regraft.fingerprint import draw

lengths_of = st.lists(st.integers(1, 300), min_size=1, max_size=200)
seeds = st.integers(0, 5)


def _ids(count: int) -> list[str]:
    return [f"example-{number}" for number in range(count)]


@given(lengths_of, seeds, seeds, st.integers(1, 40))
def test_every_example_is_in_one_batch_of_an_epoch(lengths: list[int], seed: int, epoch: int, batch_size: int) -> None:
    batches = step_batches(_ids(len(lengths)), lengths, seed=seed, epoch=epoch, batch_size=batch_size)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(len(batch) <= batch_size for batch in batches)
    assert len(batches) == -(-len(lengths) // batch_size), "as many steps as the plan says"


@given(lengths_of, seeds, seeds)
def test_the_order_is_the_same_whenever_it_is_asked_for(lengths: list[int], seed: int, epoch: int) -> None:
    first, second = (step_batches(_ids(len(lengths)), lengths, seed=seed, epoch=epoch, batch_size=8) for _ in range(2))
    assert first == second


def test_seed_and_epoch_change_the_order() -> None:
    ids, lengths = _ids(100), [10] * 100
    orders = [
        step_batches(ids, lengths, seed=seed, epoch=epoch, batch_size=8) for seed in range(3) for epoch in range(3)
    ]
    assert len({str(order) for order in orders}) == 9


def test_examples_with_equal_ids_are_all_there() -> None:
    batches = step_batches(["same"] * 20, [3] * 20, seed=0, epoch=0, batch_size=8)
    assert sorted(place for batch in batches for place in batch) == list(range(20))


@given(lengths_of, st.integers(1, 8), st.integers(1, 2000))
def test_passes_hold_a_batch_within_the_budget(lengths: list[int], accumulation: int, max_tokens: int) -> None:
    cut = list(passes(range(len(lengths)), lengths, accumulation=accumulation, max_tokens=max_tokens))
    assert sorted(place for part in cut for place in part) == list(range(len(lengths)))
    for part in cut:
        assert part, "no pass is empty"
        assert len(part) == 1 or len(part) * max(lengths[place] for place in part) <= max_tokens
    assert len(cut) >= min(accumulation, len(lengths)) or len(lengths) % accumulation


@given(lengths_of, st.integers(1, 2000))
def test_a_budget_is_used_as_far_as_it_goes(lengths: list[int], max_tokens: int) -> None:
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    runs = list(within_budget(ordered, lengths, max_tokens=max_tokens))
    assert [place for run in runs for place in run] == ordered
    for run, following in pairwise(runs):
        assert (len(run) + 1) * lengths[following[0]] > max_tokens, "the next one would not have fitted"


def test_little_of_a_batch_is_padding() -> None:
    # Lengths as texts have them: many short ones, a long tail.
    lengths = [4 + min(250, int(20 * (1 / (1 - draw("length", n) / 2**63)) ** 0.6)) for n in range(5000)]
    batches = step_batches(_ids(5000), lengths, seed=0, epoch=0, batch_size=32)
    real = sum(lengths)
    padded = sum(len(batch) * max(lengths[place] for place in batch) for batch in batches)
    chance = [list(range(start, min(start + 32, 5000))) for start in range(0, 5000, 32)]
    random_batches = sum(len(batch) * max(lengths[place] for place in batch) for batch in chance)
    assert 1 - real / padded < 0.08
    assert 1 - real / random_batches > 0.4, "in random batches most would be padding"


def test_the_order_of_the_rows_in_the_file_changes_no_batch() -> None:
    ids = [f"id{number}" for number in range(300)]
    lengths = [3 + number * 7 % 40 for number in range(300)]
    turned = list(range(300))[::-1]
    first = step_batches(ids, lengths, seed=1, epoch=2, batch_size=8)
    second = step_batches([ids[n] for n in turned], [lengths[n] for n in turned], seed=1, epoch=2, batch_size=8)
    assert [[ids[place] for place in batch] for batch in first] == [
        [ids[turned[place]] for place in batch] for batch in second
    ]
