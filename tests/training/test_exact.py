"""R2: stopped at any poll, in the middle of an epoch or of a step, a run ends with the bits of one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.errors import Interrupted
from regraft.preparation import Prepared, prepare
from regraft.training import checkpoint
from tests.training.stage import Stage, bits, loop_of, make_stage, saved_steps

Prepare = Callable[..., Prepared]


class Countdown:
    """A poll that raises at the n-th call, and counts."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.calls = at, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise Interrupted(15, "stopped by SIGTERM")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Three steps an epoch, one block: for there are many runs here."""
    return make_stage(tmp_path_factory.mktemp("small"), rows=72, num_hidden_layers=1)


@pytest.fixture
def prepared_with(small: Stage, output: Path) -> Prepare:
    def prepared(*overrides: str) -> Prepared:
        never = "training.checkpoint.every=1000"  # so that what is resumed is what the stop published
        return prepare(small.recipe(output, never, *overrides))

    return prepared


def _whole(prepared: Prepared, folder: Path, stop: Countdown) -> dict[str, bytes]:
    loop, model = loop_of(prepared, folder, stop=stop)
    list(loop.events())
    return bits(model, folder)


def _broken(prepared: Prepared, folder: Path, at: int) -> dict[str, bytes]:
    """Stop at the n-th poll, go on in a loop that knows nothing of the first one."""
    loop, _ = loop_of(prepared, folder, stop=Countdown(at))
    with pytest.raises(Interrupted):
        list(loop.events())
    found, passed_over = checkpoint.newest(folder)
    assert found is not None
    assert not passed_over
    again, model = loop_of(prepared, folder)
    again.resume(found)
    list(again.events())
    return bits(model, folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_stop_at_any_poll_of_two_epochs_changes_no_bit(
    prepared_with: Prepare, tmp_path: Path, accumulation: int, precision: str
) -> None:
    prepared = prepared_with(f"training.accumulation={accumulation}", f"training.precision={precision}")
    count = Countdown()
    expected = _whole(prepared, tmp_path / "whole", count)
    assert count.calls == 2 * (3 * accumulation + 2)  # 3 steps an epoch, and two polls in its validation
    for at in range(1, count.calls + 1):
        assert _broken(prepared, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


def test_a_stop_with_worker_processes_changes_no_bit(prepared_with: Prepare, tmp_path: Path) -> None:
    expected = _whole(prepared_with(), tmp_path / "whole", Countdown())
    prepared = prepared_with("training.workers=2")
    for at in (1, 5, 8, 14):
        assert _broken(prepared, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


def test_a_run_stopped_again_and_again_changes_no_bit(prepared_with: Prepare, tmp_path: Path) -> None:
    prepared = prepared_with()
    expected = _whole(prepared, tmp_path / "whole", Countdown())
    folder = tmp_path / "stopped"
    for _ in range(40):
        loop, model = loop_of(prepared, folder, stop=Countdown(5))
        found, _passed_over = checkpoint.newest(folder)
        if found:
            loop.resume(found)
        try:
            list(loop.events())
        except Interrupted:
            continue
        break
    assert bits(model, folder) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_no_bit(prepared_with: Prepare, tmp_path: Path, workers: int) -> None:
    here = _whole(prepared_with("training.workers=0"), tmp_path / "here", Countdown())
    there = _whole(prepared_with(f"training.workers={workers}"), tmp_path / "there", Countdown())
    assert here == there


def test_how_often_checkpoints_are_kept_changes_no_bit(prepared_with: Prepare, tmp_path: Path) -> None:
    seldom = _whole(prepared_with(), tmp_path / "seldom", Countdown())
    often = _whole(prepared_with("training.checkpoint={every: 1, keep: 3}"), tmp_path / "often", Countdown())
    assert seldom == often
    assert len(saved_steps(tmp_path / "often")) > len(saved_steps(tmp_path / "seldom"))


def test_dropout_is_on_so_the_comparison_can_see_noise(prepared_with: Prepare, tmp_path: Path) -> None:
    with_dropout = _whole(prepared_with("model.dropout=0.1"), tmp_path / "with", Countdown())
    without = _whole(prepared_with("model.dropout=0"), tmp_path / "without", Countdown())
    assert with_dropout != without
