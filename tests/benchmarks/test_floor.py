"""The floor counts what must be computed, and no more."""

from __future__ import annotations

import pytest

from benchmarks.floor import Rates, Work, floor_seconds

RATES = Rates(1e9, 1e9, 1e9)


def seconds(trained: int, *, weights: bool = True, epochs: int = 1) -> float:
    return floor_seconds(Work([10], 8, 6, trained, weights), RATES, epochs=epochs)


def test_full_tuning_of_one_block_is_its_keys_and_values_three_times() -> None:
    assert floor_seconds(Work([10], 8, 1, 1, True), RATES, epochs=2) == pytest.approx(2 * 3 * 4 * 8**2 * 10 / 1e9)


def test_a_probe_computes_the_backbone_once() -> None:
    assert seconds(0, epochs=20) == seconds(0, epochs=1) > 0


def test_frozen_blocks_are_computed_once() -> None:
    once = 4 * (24 * 8**2 * 10 + 4 * 8 * 10**2) / 1e9
    assert seconds(2, epochs=5) - once == pytest.approx(5 * (seconds(2) - once))


def test_weights_that_rest_have_no_gradient() -> None:
    assert seconds(3, weights=False) < seconds(3)
