"""Means of weights, and the way back to where they began: what they are, what is chosen, and exact resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regraft import resume, tune, tune_events
from regraft.errors import CheckpointError
from regraft.run import Run
from regraft.training.averaging import Ingredient, best_share, between, greedy, uniform
from tests.training.stage import Stage, assert_same_result, loop_of, result_of

FEW = "training={epochs: 4, precision: fp32}"


def _ingredient(name: str, score: float, value: float) -> Ingredient:
    return Ingredient(name, (score, 0.0), lambda: {"w": torch.tensor([value])})


def _event(run: Run, name: str) -> dict[str, object]:
    (found,) = [event for event in run.history() if event["event"] == name]
    return dict(found)


# Formulas


def test_a_uniform_soup_is_the_mean_of_all() -> None:
    mean, names = uniform([_ingredient(name, 0.0, value) for name, value in (("a", 1.0), ("b", 2.0), ("c", 6.0))])
    torch.testing.assert_close(mean["w"], torch.tensor([3.0]))
    assert names == ["a", "b", "c"]


def test_a_greedy_soup_takes_from_the_best_on_what_does_not_make_it_worse() -> None:
    """The score falls with the distance from 2: the best is 1.5; 5 would hurt, 2.5 helps."""
    parts = [_ingredient("far", 0.5, 5.0), _ingredient("best", 0.9, 1.5), _ingredient("third", 0.1, 2.5)]
    mean, names = greedy(parts, lambda weights: -abs(float(weights["w"]) - 2))
    assert names == ["best", "third"]
    torch.testing.assert_close(mean["w"], torch.tensor([2.0]))


def test_whole_numbers_are_not_averaged() -> None:
    steps = [Ingredient(each, (0.0, 0.0), lambda each=each: {"n": torch.tensor(each)}) for each in (3, 8)]  # type: ignore[misc]
    assert int(uniform(steps)[0]["n"]) == 8


def test_between_start_and_tuned_the_ends_are_exact() -> None:
    start, tuned = {"w": torch.randn(500)}, {"w": torch.randn(500)}
    assert torch.equal(between(start, tuned, 0.0)["w"], start["w"])
    assert torch.equal(between(start, tuned, 1.0)["w"], tuned["w"])
    torch.testing.assert_close(between(start, tuned, 0.3)["w"], 0.7 * start["w"] + 0.3 * tuned["w"])


def test_of_equal_scores_the_smaller_change_is_taken_and_what_is_no_number_never() -> None:
    assert best_share({0.0: 0.1, 0.4: 0.9, 0.7: 0.9, 1.0: 0.2}) == 0.4
    assert best_share({0.0: float("nan"), 1.0: 0.1}) == 1.0


# Runs


def test_the_uniform_average_of_a_run_is_the_mean_of_its_epochs(stage: Stage, output: Path) -> None:
    run = tune(stage.recipe(output, FEW, "training.average=uniform", "name=mean")).run
    asides = sorted((run.checkpoints / "epochs").glob("step-*"))
    assert len(asides) == 4
    each = [load_file(folder / "weights.safetensors") for folder in asides]
    saved = load_file(run.model / "model.safetensors")
    for name, value in saved.items():
        mean = torch.stack([weights[name] for weights in each]).mean(dim=0)
        torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-6)
    told = _event(run, "average")
    assert (told["epochs"], told["of"]) == ([1, 2, 3, 4], 4)
    assert not list((run.checkpoints / "epochs").glob("step-*/optimizer.safetensors")), "only what is needed is kept"


def test_the_epochs_are_those_of_the_last_phase(stage: Stage, tmp_path: Path) -> None:
    from regraft.preparation import prepare

    recipe = stage.recipe(tmp_path, "strategy=probe-then-tune", FEW, "training.average=uniform")
    loop, _ = loop_of(prepare(recipe), tmp_path / "c")
    list(loop.events())
    loop.use_best()
    (told,) = loop.settle()
    assert told.values["of"] == len(loop.state.aside) < 5
    assert all(each["step"] > loop.state.step // 5 for each in loop.state.aside)


def test_a_greedy_average_is_no_worse_on_the_validation_rows_than_the_best_epoch(stage: Stage, output: Path) -> None:
    run = tune(stage.recipe(output, FEW, "training.average=greedy", "name=greedy")).run
    epochs = _event(run, "average")["epochs"]
    scores = [event["scores"]["accuracy"] for event in run.history() if event["event"] == "validation"]
    assert isinstance(epochs, list)
    assert epochs
    assert set(epochs) <= {1, 2, 3, 4}
    found = json.loads(run.scores.read_text())["validation"]["accuracy"]["value"]
    assert found >= max(scores) - 1e-9


def test_averages_and_interpolation_are_resumed_exactly(stage: Stage, output: Path) -> None:
    asked = ("training={epochs: 3, precision: fp32, ema: 0.8, average: greedy, interpolate: auto}",)
    whole = tune(stage.recipe(output, *asked, "name=whole")).run
    events = tune_events(stage.recipe(output, *asked, "name=cut"))
    next(event for event in events if event.name == "validation" and event.values["epoch"] == 2)
    events.close()
    run = resume(Run(output / "cut")).run
    assert_same_result(run, result_of(whole))
    for name in ("average", "interpolation"):
        assert {**_event(run, name), "time": ""} == {**_event(whole, name), "time": ""}


def test_a_damaged_epoch_is_named(stage: Stage, tmp_path: Path) -> None:
    from regraft.preparation import prepare

    loop, _ = loop_of(prepare(stage.recipe(tmp_path, FEW, "training.average=uniform")), tmp_path / "c")
    list(loop.events())
    loop.use_best()
    file = min((tmp_path / "c" / "epochs").glob("step-*")) / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="bytes instead of"):
        list(loop.settle())


def test_a_number_puts_pretrained_weights_so_far_and_leaves_what_is_new(stage: Stage, tmp_path: Path) -> None:
    from regraft.preparation import prepare

    prepared = prepare(stage.recipe(tmp_path, FEW, "training.interpolate=0.25"))
    loop, model = loop_of(prepared, tmp_path / "c")
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    list(loop.events())
    loop.use_best()
    tuned = {name: value.detach().clone() for name, value in model.named_parameters()}
    (told,) = loop.settle()
    for name, value in model.named_parameters():
        share = 1.0 if name in prepared.pretrained.anatomy.new else 0.25
        torch.testing.assert_close(value.detach(), torch.lerp(start[name], tuned[name], share))
    assert prepared.pretrained.anatomy.new
    assert told.values["share"] == 0.25
    assert [point["share"] for point in told.values["curve"]] == [n / 10 for n in range(11)]


def test_auto_takes_the_best_point_of_its_curve(stage: Stage, output: Path) -> None:
    run = tune(stage.recipe(output, FEW, "training.interpolate=auto", "name=auto")).run
    told = _event(run, "interpolation")
    curve = told["curve"]
    assert isinstance(curve, list)
    values = {point["share"]: point["scores"]["accuracy"] for point in curve}
    assert told["share"] == min(share for share, value in values.items() if value == max(values.values()))
    found = json.loads(run.scores.read_text())["validation"]["accuracy"]["value"]
    assert found == pytest.approx(max(values.values()))


def test_a_trial_of_a_sweep_averages_nothing(stage: Stage, tmp_path: Path) -> None:
    from regraft.errors import RecipeError
    from regraft.sweeping.trial import Bench, run_trial

    with pytest.raises(RecipeError, match="scored by its best epoch"):
        run_trial(Bench(), stage.recipe(tmp_path, "training.average=uniform"), lambda: None)


def test_trials_with_and_without_what_begins_again_share_one_untouched_model(stage: Stage, tmp_path: Path) -> None:
    from regraft.sweeping.trial import Bench

    bench, again = Bench(), "training.regularization={reinit: 1, l2_sp: 1}"
    one = bench.prepared(stage.recipe(tmp_path, again))
    other = bench.prepared(stage.recipe(tmp_path))
    weights = [dict(each.pretrained.model.named_parameters()) for each in (one, other)]
    top = [name for name in one.pretrained.anatomy.blocks[-1] if weights[0][name].ndim > 1]
    assert all(not torch.equal(weights[0][name], weights[1][name]) for name in top)
    again_plain = bench.untouched(stage.recipe(tmp_path)).pretrained
    assert all(torch.equal(value, weights[1][name]) for name, value in again_plain.model.named_parameters())
