"""The learning rate: values worked out by hand, and what a run really uses."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.preparation import prepare
from regraft.training.schedule import factor
from tests.training.stage import Stage, loop_of

Schedule = Literal["linear", "cosine", "constant"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_values(schedule: Schedule, expected: list[float]) -> None:
    found = [factor(step, 6, schedule=schedule, warmup=1 / 3) for step in range(6)]
    assert found == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 500), st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 1, exclude_max=True))
def test_it_rises_then_never_rises_again_and_stays_between_0_and_1(
    total: int, schedule: Schedule, warmup: float
) -> None:
    values = [factor(step, total, schedule=schedule, warmup=warmup) for step in range(total)]
    top = values.index(max(values))
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert all(0 <= value <= 1 for value in values)
    assert values[0] > 0, "no step is wasted"


def test_the_run_uses_it(stage: Stage, tmp_path: Path) -> None:
    options = ("training={schedule: linear, warmup: 0.2, epochs: 2}", "strategy.learning_rate=0.01")
    loop, _ = loop_of(prepare(stage.recipe(tmp_path, *options)), tmp_path / "checkpoints")
    rates = [event.values["learning_rate"] for event in loop.events() if event.name == "step"]
    shares = [factor(step, 10, schedule="linear", warmup=0.2) for step in range(10)]
    assert rates == pytest.approx([0.01 * share for share in shares])
