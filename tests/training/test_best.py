"""Which weights a run ends with: the best by validation, averaged if asked for; when it stops early; what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regraft import make_recipe, resume, tune, tune_events
from regraft.preparation import Prepared, prepare
from regraft.run import Run
from regraft.testing import WORDS, tiny_model, toy_table
from regraft.training import Loop, Verdict, checkpoint
from tests.training.stage import Stage, assert_same_result, loop_of, result_of, saved_steps

PER_EPOCH = 5


def _prepared(stage: Stage, folder: Path, *overrides: str) -> Prepared:
    return prepare(stage.recipe(folder, *overrides))


def _judged(prepared: Prepared, checkpoints: Path, scores: Sequence[float]) -> tuple[Loop, torch.nn.Module]:
    """A loop whose epochs are given these scores."""
    verdicts = iter(scores)
    loop, model = loop_of(prepared, checkpoints)
    loop._validate = lambda _: Verdict(score=next(verdicts), tie=0.0, loss=0.0, values={})
    return loop, model


def test_the_best_epoch_is_what_is_kept(stage: Stage, tmp_path: Path) -> None:
    prepared = _prepared(stage, tmp_path, "training.epochs=4")
    loop, model = _judged(prepared, tmp_path / "c", [0.1, 0.9, 0.3, 0.2])
    list(loop.events())
    assert loop.use_best() == 2 * PER_EPOCH
    kept = load_file(tmp_path / "c" / f"step-{2 * PER_EPOCH:08d}" / "weights.safetensors")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in kept.items())


def test_of_equal_epochs_the_first_is_kept(stage: Stage, tmp_path: Path) -> None:
    loop, _ = _judged(_prepared(stage, tmp_path, "training.epochs=3"), tmp_path / "c", [0.5, 0.5, 0.5])
    list(loop.events())
    assert loop.use_best() == PER_EPOCH


def test_where_the_deciding_metric_says_nothing_of_the_rows_the_loss_decides(tmp_path: Path) -> None:
    toy_table(tmp_path / "numbers.csv", kind="numbers", rows=40)
    tiny_model(tmp_path / "model", words=WORDS)
    values = {
        "task": "text-regression",
        "data": {"train": str(tmp_path / "numbers.csv"), "validation": str(tmp_path / "one.csv")},
        "model": str(tmp_path / "model"),
        "training": {"epochs": 3, "precision": "fp32"},
        "evaluation": {"primary": "r2", "baselines": False, "resamples": 100},
        "output": str(tmp_path),
    }
    lines = (tmp_path / "numbers.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "one.csv").write_text("".join(lines[:2]), encoding="utf-8")
    prepared = prepare(make_recipe(values))
    assert any(
        "r2 says nothing of 1 validation row: the best epoch is chosen by the loss" in note
        for note in prepared.plan.notes
    )
    history = tune(make_recipe(values)).run.history()
    verdicts = [event for event in history if event["event"] == "validation"]
    least = min(verdicts, key=lambda event: event["loss"])
    assert [event["step"] for event in verdicts if event["best"]][-1] == least["step"] == history[-1]["best_step"]


def test_without_validation_the_last_weights_are_kept(stage: Stage, tmp_path: Path) -> None:
    loop, _ = loop_of(_prepared(stage, tmp_path), tmp_path / "c")
    loop._validate = None
    list(loop.events())
    assert loop.use_best() == 2 * PER_EPOCH


def test_the_saved_model_is_the_best_checkpoint(stage: Stage, output: Path) -> None:
    outcome = tune(stage.recipe(output, "training={epochs: 6, warmup: 0}", "strategy.learning_rate=0.05"))
    history = outcome.run.history()
    best = [event["step"] for event in history if event["event"] == "validation" and event["best"]][-1]
    assert history[-1]["best_step"] == best
    kept = load_file(outcome.run.checkpoints / f"step-{best:08d}" / "weights.safetensors")
    saved = load_file(outcome.run.model / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in kept.items())


def test_early_stopping_waits_as_long_as_asked(stage: Stage, tmp_path: Path) -> None:
    prepared = _prepared(stage, tmp_path, "training={epochs: 9, early_stopping: 2}")
    loop, _ = _judged(prepared, tmp_path / "c", [0.1, 0.5, 0.4, 0.6, 0.5, 0.5, 0.9, 0.9, 0.9])
    seen = [event for event in loop.events() if event.name == "validation"]
    assert len(seen) == 6
    assert loop.use_best() == 4 * PER_EPOCH


def test_patience_is_remembered_over_a_stop(stage: Stage, tmp_path: Path) -> None:
    prepared = _prepared(stage, tmp_path, "training={epochs: 9, early_stopping: 2}")
    loop, _ = _judged(prepared, tmp_path / "c", [0.5, 0.4])
    events = loop.events()
    while loop.state.waited < 1:
        next(events)
    next(event for event in events if event.name == "checkpoint")
    found, _ = checkpoint.newest(tmp_path / "c")
    assert found is not None
    again, _ = _judged(prepared, tmp_path / "c", [0.3, 0.9])
    again.resume(found)
    assert len([event for event in again.events() if event.name == "validation"]) == 1


def test_patience_begins_anew_with_each_phase(stage: Stage, tmp_path: Path) -> None:
    prepared = _prepared(stage, tmp_path, "training={epochs: 3, early_stopping: 1}")
    prepared = replace(prepared, phases=[*prepared.phases, *prepared.phases])
    loop, _ = _judged(prepared, tmp_path / "c", [0.9, 0.1, 0.2, 0.95, 0.96, 0.97])
    list(loop.events())
    assert loop.state.finished
    assert loop.state.step == 3 * PER_EPOCH, "two epochs in the first phase, one in the second"


def test_no_average_is_kept_unless_asked_for(stage: Stage, tmp_path: Path) -> None:
    loop, _ = loop_of(_prepared(stage, tmp_path), tmp_path / "c")
    list(loop.events())
    assert not list((tmp_path / "c").glob("*/average.safetensors"))


def test_the_average_is_what_is_scored_and_saved(stage: Stage, tmp_path: Path) -> None:
    loop, model = loop_of(_prepared(stage, tmp_path, "training={ema: 0.9, epochs: 1}"), tmp_path / "c")
    expected: dict[str, torch.Tensor] = {}
    for event in loop.events():
        if event.name == "step":
            for name, value in model.named_parameters():
                before = expected.setdefault(name, value.detach().clone())
                expected[name] = before + 0.1 * (value.detach() - before)
        if event.name == "validation":
            total = sum(float(value.double().sum()) for value in expected.values())
            assert event.values["scores"]["total"] == pytest.approx(total, rel=1e-5)
    loop.use_best()
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], rtol=1e-5, atol=1e-6)


def test_the_average_is_resumed_exactly(stage: Stage, output: Path) -> None:
    whole = tune(stage.recipe(output, "training.ema=0.8", "name=whole")).run
    events = tune_events(stage.recipe(output, "training.ema=0.8", "name=cut"))
    next(event for event in events if event.name == "checkpoint" and event.values["step"] == 8)
    events.close()
    resume(Run(output / "cut"))
    assert_same_result(Run(output / "cut"), result_of(whole))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_and_the_best_are_kept(stage: Stage, tmp_path: Path, keep: int) -> None:
    options = f"training={{epochs: 3, checkpoint: {{every: 1, keep: {keep}}}}}"
    loop, _ = _judged(_prepared(stage, tmp_path, options), tmp_path / "c", [0.9, 0.1, 0.2])
    for event in loop.events():
        if event.name == "checkpoint":
            step = event.values["step"]
            best = {PER_EPOCH} if step >= PER_EPOCH else set()
            newest = set(range(max(1, step - keep + 1), step + 1))
            assert set(saved_steps(tmp_path / "c")) == newest | best


def test_the_best_that_an_older_checkpoint_refers_to_is_kept_with_it(stage: Stage, tmp_path: Path) -> None:
    """Else the older one would be of no use when the newer turns out to be damaged."""
    loop, _ = _judged(_prepared(stage, tmp_path), tmp_path / "c", [0.1, 0.9])
    list(loop.events())
    assert saved_steps(tmp_path / "c") == [5, 8, 10]
    (tmp_path / "c" / "step-00000010" / "state.json").unlink()
    found, _ = checkpoint.newest(tmp_path / "c")
    assert found is not None
    assert found.step == 8


@pytest.mark.parametrize(("scores", "phase"), [([0.9, 0.1, 0.2], 1), ([0.1, 0.2, 0.9], None)])
def test_what_only_a_later_phase_trains_is_told_where_an_earlier_one_was_best(
    stage: Stage, tmp_path: Path, scores: list[float], phase: int | None
) -> None:
    probe = "strategy={name: probe-then-tune, probe_epochs: 1}"
    prepared = _prepared(stage, tmp_path, probe, "training.epochs=3")
    first, second = (each.trainable for each in prepared.phases)
    before = {name: value.clone() for name, value in prepared.pretrained.model.named_parameters()}
    loop, model = _judged(prepared, tmp_path / "c", scores)
    list(loop.events())
    loop.use_best()
    after = dict(model.named_parameters())
    alone = all(torch.equal(after[name], before[name]) for name in second - first)
    assert alone == (phase is not None)
    assert loop.left_alone() == ({} if phase is None else {"phase": 1, "phases": 2, "tensors": len(second - first)})
