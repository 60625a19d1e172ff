"""Accumulation, the size of a pass and padding change neither the loss nor, but for rounding, the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regraft.preparation import prepare
from tests.training.stage import Stage, loop_of


def _trained(stage: Stage, folder: Path, *overrides: str) -> tuple[list[float], torch.nn.Module]:
    loop, model = loop_of(prepare(stage.recipe(folder, "model.dropout=0", *overrides)), folder / "checkpoints")
    losses = [event.values["loss"] for event in loop.events() if event.name == "step"]
    return losses, model


@pytest.mark.parametrize("task", ["text-classification", "text-regression"])
@pytest.mark.parametrize(
    "smaller",
    ["training.accumulation=4", "training.max_tokens=40", "training.accumulation=3 training.max_tokens=60"],
)
def test_smaller_passes_give_the_same_losses_and_weights(stage: Stage, tmp_path: Path, task: str, smaller: str) -> None:
    from regraft.testing import toy_table

    data = toy_table(tmp_path / "t.csv", kind="numbers" if task == "text-regression" else "classes")
    common = (f"task={task}", f"data.train={data}", "training.accumulation=1")
    losses, model = _trained(stage, tmp_path / "one", *common)
    again, other = _trained(stage, tmp_path / "many", *common, *smaller.split())
    assert again == pytest.approx(losses, abs=1e-6)
    for (name, value), same in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(same, value, rtol=1e-4, atol=2e-4, msg=name)


def test_the_last_batch_is_a_mean_over_its_own_rows(stage: Stage, tmp_path: Path) -> None:
    """72 training rows in batches of 50: the last has 22, and its loss is on the scale of the others."""
    losses, _ = _trained(stage, tmp_path, "training={batch_size: 50, epochs: 1}", "strategy.learning_rate=1e-9")
    assert len(losses) == 2
    assert losses == pytest.approx([0.693, 0.693], abs=0.05)
