"""What keeps a model from learning few examples by heart: each does what its formula says, and changes no invariant."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from regraft.errors import Interrupted, RecipeError
from regraft.preparation import Prepared, prepare
from regraft.strategies import Phase
from regraft.testing import toy_table
from regraft.training import checkpoint
from regraft.training.regularizers import Mixture, disagreement, mixable, mixing, mixout, mixture, pull
from tests.training.stage import Stage, bits, loop_of

ALL = "training.regularization={l2_sp: 20, mixout: 0.5, r_drop: 2, mixup: 1, reinit: 1}"


def _prepared(stage: Stage, folder: Path, *overrides: str) -> Prepared:
    return prepare(stage.recipe(folder, *overrides))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


# Formulas


def test_l2_sp_goes_the_asked_share_of_the_way_back() -> None:
    weight, start = torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    pull(weight, start, 0.25)
    torch.testing.assert_close(weight, torch.tensor([[2.5, -0.5]]))
    pull(weight, start, 7.0)
    assert torch.equal(weight, start), "the whole way at most"


def test_mixout_gives_the_start_or_more_of_what_moved_and_is_the_weight_on_average() -> None:
    start, moved = torch.ones(4000), torch.full((4000,), 2.0)
    parameter = nn.Parameter(moved.clone())
    with mixout({"w": parameter}, {"w": start}, 0.75, number=3):
        found = parameter.detach().clone()
        (parameter * torch.arange(4000.0)).sum().backward()
    assert set(found.tolist()) == {1.0, 5.0}, "1 + (2 - 1) / (1 - 0.75), or where it began"
    assert float((found == 1).float().mean()) == pytest.approx(0.75, abs=0.03)
    assert torch.equal(parameter.detach(), moved)
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, torch.arange(4000.0) * (found - 1))


def test_what_mixout_puts_back_follows_from_its_number() -> None:
    def mixed(number: int) -> Tensor:
        parameter = nn.Parameter(torch.ones(100))
        with mixout({"w": parameter}, {"w": torch.zeros(100)}, 0.5, number=number):
            return parameter.detach().clone()

    assert torch.equal(mixed(1), mixed(1))
    assert not torch.equal(mixed(1), mixed(2))


def test_disagreement_of_classes_is_half_of_both_divergences() -> None:
    one, other = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])  # 1/4 and 3/4; a half each
    forth = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    back = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert float(disagreement("classes", one, other)) == pytest.approx((forth + back) / 2)


def test_disagreement_of_labels_is_that_of_each_on_average_and_of_numbers_the_square() -> None:
    one, other = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    of_one = disagreement("classes", torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2))
    torch.testing.assert_close(disagreement("labels", one, other), of_one / 2)
    assert float(disagreement("numbers", torch.tensor([[1.0, 4.0]]), torch.zeros(1, 2))) == 8.5


def test_mixup_mixes_what_the_last_layer_is_given_and_both_losses() -> None:
    mixed, readout = Mixture(0.75, torch.tensor([1, 0])), nn.Linear(1, 1, bias=False)
    nn.init.constant_(readout.weight, 2.0)
    with mixing(readout, mixed):
        said = readout(torch.tensor([[0.0], [4.0]]))
    torch.testing.assert_close(said, torch.tensor([[2.0], [6.0]]))
    losses = mixed.losses(lambda output, target: (output - target)[:, 0], said, torch.tensor([[0.0], [8.0]]))
    torch.testing.assert_close(losses, torch.tensor([0.75 * 2 + 0.25 * -6, 0.75 * -2 + 0.25 * 6]))


def test_who_is_mixed_with_whom_follows_from_the_number() -> None:
    one, same, other = (mixture(0.5, 9, number=number) for number in (4, 4, 5))
    assert one.share == same.share != other.share
    assert torch.equal(one.partners, same.partners)
    assert sorted(one.partners.tolist()) == list(range(9))


# In the loop


def test_with_l2_sp_a_step_is_the_decay_towards_the_start_and_then_adamw(stage: Stage, tmp_path: Path) -> None:
    """Two steps beside torch's own AdamW on the same gradients."""
    overrides = ("training={schedule: constant, warmup: 0, clip: null, epochs: 1}", "training.weight_decay=0.5")
    prepared = _prepared(stage, tmp_path, *overrides, "training.regularization.l2_sp=20")
    loop, model = loop_of(prepared, tmp_path / "c")
    start, rate, new = _weights(model), 1e-3, prepared.pretrained.anatomy.new
    assert new
    plain = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = torch.optim.AdamW(plain.values(), lr=rate, weight_decay=0.0, fused=True)
    events, seen = loop.events(), 0
    assert next(events).name == "execution", "the optimizer is there, and no step was taken"
    with _gradients_of(loop._optimizer) as taken:  # type: ignore[attr-defined]
        while seen < 2:
            seen += next(events).name == "step"
    names = {id(value): name for name, value in model.named_parameters()}
    assert len(taken) == 2
    for gradients in taken:
        for name, value in plain.items():
            matrix = value.ndim >= 2
            with torch.no_grad():
                anchor = torch.zeros_like(value) if name in new else start[name]
                strength = rate * (0.5 if name in new else 20) if matrix else 0.0
                value.lerp_(anchor, strength)
            value.grad = next((grad for key, grad in gradients.items() if names[key] == name), None)
        optimizer.step()
    for name, value in plain.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].detach(), value.detach(), rtol=1e-4, atol=1e-6)


@contextmanager
def _gradients_of(optimizer: torch.optim.Optimizer) -> Iterator[list[dict[int, Tensor]]]:
    taken: list[dict[int, Tensor]] = []

    def before(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        held = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
        taken.append({id(value): value.grad.clone() for value in held})

    handle = optimizer.register_step_pre_hook(before)
    try:
        yield taken
    finally:
        handle.remove()


def test_l2_sp_keeps_weights_nearer_to_where_they_began(stage: Stage, tmp_path: Path) -> None:
    def moved(*overrides: str) -> float:
        loop, model = loop_of(_prepared(stage, tmp_path, *overrides), tmp_path / f"c{len(overrides)}")
        start = _weights(model)
        list(loop.events())
        matrices = [name for name in start if ".layer." in name and start[name].ndim > 1]
        return sum(float((_weights(model)[name] - start[name]).norm()) for name in matrices)

    assert moved("training.regularization.l2_sp=300") < 0.6 * moved()


def test_mixout_mixes_pretrained_matrices_alone(stage: Stage, tmp_path: Path) -> None:
    prepared = _prepared(stage, tmp_path, "training.regularization.mixout=0.5")
    model, anatomy = prepared.pretrained.model, prepared.pretrained.anatomy
    names = mixable(model, anatomy, prepared.phases)
    assert names
    assert not names & anatomy.new
    assert not [name for name in names if "embeddings" in name or name.endswith("bias") or "LayerNorm" in name]
    assert not mixable(model, anatomy, [Phase(1, prepared.phases[0].groups, "closed-form")])


def test_what_mixout_puts_back_in_every_step_does_not_move(stage: Stage, tmp_path: Path) -> None:
    common = ("training.regularization.mixout=0.9999", "training.weight_decay=0")
    loop, model = loop_of(_prepared(stage, tmp_path, *common), tmp_path / "c")
    start = _weights(model)
    list(loop.events())
    name = next(name for name in start if name.endswith("layer.0.attention.self.query.weight"))
    assert float((_weights(model)[name] == start[name]).float().mean()) > 0.95


@pytest.mark.parametrize("accumulation", [1, 3])
def test_with_all_of_them_a_stop_at_any_step_changes_no_bit(stage: Stage, tmp_path: Path, accumulation: int) -> None:
    overrides = (ALL, f"training.accumulation={accumulation}", "training.epochs=1", "training.ema=0.9")
    prepared = _prepared(stage, tmp_path, *overrides, "training.checkpoint.every=1000")
    calls = 0

    def stop_at(at: int | None) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Interrupted(15, "stopped")

    whole, model = loop_of(prepared, tmp_path / "whole", stop=lambda: stop_at(None))
    list(whole.events())
    expected, total = bits(model, tmp_path / "whole"), calls
    for at in range(2, total, 5):
        calls, folder = 0, tmp_path / f"at-{at}"
        begun, _ = loop_of(prepared, folder, stop=lambda at=at: stop_at(at))  # type: ignore[misc]
        with pytest.raises(Interrupted):
            list(begun.events())
        found, _passed_over = checkpoint.newest(folder)
        assert found is not None
        again, model = loop_of(prepared, folder)
        again.resume(found)
        list(again.events())
        assert bits(model, folder) == expected, f"stopped at poll {at} of {total}"


def test_smaller_passes_give_the_same_losses_where_nothing_is_drawn_by_pass(stage: Stage, tmp_path: Path) -> None:
    asked = "training.regularization={l2_sp: 20, mixout: 0.5, r_drop: 2}"

    def losses(accumulation: int) -> list[float]:
        overrides = ("model.dropout=0", asked, f"training.accumulation={accumulation}")
        loop, _ = loop_of(_prepared(stage, tmp_path, *overrides), tmp_path / f"c{accumulation}")
        return [event.values["loss"] for event in loop.events() if event.name == "step"]

    assert losses(3) == pytest.approx(losses(1), abs=1e-5)


def test_weights_are_regularized_where_pairs_are_learned_too(stage: Stage, tmp_path: Path) -> None:
    def losses(accumulation: int, *overrides: str) -> list[float]:
        common = (
            "strategy={name: contrastive, learning_rate: 1.0e-3}",
            "model.dropout=0",
            f"training.accumulation={accumulation}",
        )
        folder = tmp_path / f"c{accumulation}{len(overrides)}"
        loop, _ = loop_of(_prepared(stage, tmp_path, *common, *overrides), folder)
        return [event.values["loss"] for event in loop.events() if event.name == "step"]

    asked = "training.regularization={l2_sp: 20, mixout: 0.5}"
    assert losses(3, asked) == pytest.approx(losses(1, asked), abs=1e-4)
    assert losses(1, asked) != pytest.approx(losses(1), abs=1e-4)


def test_stored_rows_give_the_same_bits_with_all_of_them(stage: Stage, tmp_path: Path) -> None:
    def trained(store: str) -> dict[str, bytes]:
        overrides = ("strategy={name: top-layers, n: 1}", f"cache.store={store}", ALL)
        loop, model = loop_of(_prepared(stage, tmp_path, *overrides), tmp_path / store)
        events = list(loop.events())
        decided = next(event.values for event in events if event.name == "execution")
        assert decided["from_rows"]
        assert decided["stored"] is (store == "always")
        return bits(model, tmp_path / store)

    assert trained("always") == trained("never")


def test_r_drop_adds_what_two_passes_disagree(stage: Stage, tmp_path: Path) -> None:
    def first(*overrides: str) -> float:
        once = ("training={epochs: 1, batch_size: 72, accumulation: 1}", "model.dropout=0.3", *overrides)
        loop, _ = loop_of(_prepared(stage, tmp_path, *once), tmp_path / f"c{hash(overrides)}")
        return next(float(event.values["loss"]) for event in loop.events() if event.name == "step")

    little, much = first("training.regularization.r_drop=1e-9"), first("training.regularization.r_drop=1000")
    twice = first("training.regularization.r_drop=2000")
    assert much > little
    assert twice - little == pytest.approx(2 * (much - little), rel=1e-3)


# What begins again


def test_reinit_draws_the_top_blocks_anew_and_leaves_the_rest(stage: Stage, tmp_path: Path) -> None:
    plain = _prepared(stage, tmp_path)
    one, same, other = (
        _prepared(stage, tmp_path, "training.regularization.reinit=1", f"seed={seed}", "data.split.seed=7")
        for seed in (7, 7, 8)
    )
    anatomy, before = plain.pretrained.anatomy, _weights(plain.pretrained.model)
    after, again, seeded = (_weights(each.pretrained.model) for each in (one, same, other))
    top = {*anatomy.blocks[-1]}
    assert {name for name in before if not torch.equal(before[name], after[name])} <= top
    matrices = [name for name in top if before[name].ndim > 1]
    assert all(not torch.equal(before[name], after[name]) for name in matrices)
    assert all(torch.equal(after[name], again[name]) for name in top)
    assert any(not torch.equal(after[name], seeded[name]) for name in matrices)
    std = one.pretrained.config.initializer_range
    assert float(torch.cat([after[name].flatten() for name in matrices]).std()) == pytest.approx(std, rel=0.1)
    assert top <= one.pretrained.anatomy.new
    assert top <= set(one.plan.model["new"])
    assert any("begin again" in note for note in one.plan.notes)


def test_reinit_leaves_a_model_alone_that_shares_its_weights(stage: Stage, tmp_path: Path) -> None:
    from regraft.pretrained import begun_again

    opened = _prepared(stage, tmp_path).pretrained
    shared = copy.deepcopy(opened.model, {id(value): value for value in opened.model.parameters()})
    before = _weights(opened.model)
    begun_again(replace(opened, model=shared), 1, [frozenset(before)], seed=0)
    assert all(torch.equal(value, before[name]) for name, value in opened.model.named_parameters())


# Refusals


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["strategy=linear-probe", "training.regularization.l2_sp=1"], "nothing that is pretrained trains"),
        (["strategy=linear-probe", "training.regularization.mixout=0.5"], "nothing that is pretrained trains"),
        (["strategy=lora", "training.interpolate=0.5"], "nothing that is pretrained trains"),
        (["strategy=logistic", "training.ema=0.9"], "training.ema = 0.9, and no step is taken"),
        (["strategy=linear-probe", "training.regularization.reinit=1"], "would stay noise"),
        (["strategy.freeze=blocks[-1]", "training.regularization.reinit=1"], "would stay noise"),
        (["training.regularization.reinit=9"], "reinit = 9"),
        (["strategy=logistic", "training.regularization.r_drop=1"], "no phase trains by the loss"),
        (["strategy=logistic", "training.average=uniform"], "takes no steps"),
        (["data.split={train: 0.8, validation: 0, test: 0.2}", "training.average=greedy"], "no validation rows"),
        (["data.split={train: 0.8, validation: 0, test: 0.2}", "training.interpolate=auto"], "no validation rows"),
    ],
)
def test_what_has_nothing_to_act_on_is_refused(stage: Stage, tmp_path: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        _prepared(stage, tmp_path, *overrides)


@pytest.mark.parametrize("asked", ["r_drop", "mixup"])
def test_other_kinds_of_answers_are_refused(tmp_path: Path, asked: str) -> None:
    from regraft.recipe import make_recipe
    from regraft.testing import tiny_model

    tiny_model(tmp_path / "m", family="marian")
    data = toy_table(tmp_path / "t.csv", kind="translations")
    recipe = make_recipe(
        {"task": "translation", "data": str(data), "model": str(tmp_path / "m")},
        [f"training.regularization.{asked}=true"],
    )
    with pytest.raises(RecipeError, match="here the answers are translations"):
        prepare(recipe)


def test_mixup_is_refused_where_a_last_layer_answers_for_every_token(tmp_path: Path) -> None:
    from regraft.recipe import make_recipe
    from regraft.testing import WORDS, tiny_model

    tiny_model(tmp_path / "m", family="gpt2", words=WORDS)
    values = {"task": "text-classification", "data": str(toy_table(tmp_path / "t.csv")), "model": str(tmp_path / "m")}
    with pytest.raises(RecipeError, match="more than one row for an example"):
        prepare(make_recipe(values, ["training.regularization.mixup=true"]))


def test_the_plan_says_that_nothing_drops_out(stage: Stage, tmp_path: Path) -> None:
    told = "nothing that trains has dropout"
    without = _prepared(stage, tmp_path, "model.dropout=0", "training.regularization.r_drop=true")
    with_some = _prepared(stage, tmp_path, "model.dropout=0.1", "training.regularization.r_drop=true")
    assert any(told in note for note in without.plan.notes)
    assert not any(told in note for note in with_some.plan.notes)


def test_true_stands_for_the_usual_value_and_false_for_nothing(stage: Stage, tmp_path: Path) -> None:
    asked = stage.recipe(tmp_path, "training.regularization={mixout: true, reinit: true, r_drop: false}")
    found = asked.training.regularization
    assert (found.mixout, found.reinit, found.r_drop, found.l2_sp) == (0.7, 1, None, None)


@pytest.mark.parametrize(("family", "auto"), [("gpt2", "Sequence"), ("swin", "Image"), ("resnet", "Image")])
def test_every_matrix_of_the_top_block_begins_again_as_the_family_has_it(
    tmp_path: Path, family: str, auto: str
) -> None:
    from regraft.pretrained import begun_again, load
    from regraft.recipe import ModelOptions
    from regraft.testing import tiny_model

    tiny_model(tmp_path / "m", family=family)
    options = ModelOptions(name=str(tmp_path / "m"))
    opened = load(options, f"AutoModelFor{auto}Classification", {"num_labels": 2, "id2label": {0: "a", 1: "b"}}, seed=0)
    for value in opened.model.parameters():
        nn.init.uniform_(value, 5, 6)  # as far from any beginning as can be told
    again = begun_again(opened, 1, [frozenset(opened.anatomy.parameters)], seed=0)
    parameters = _weights(again.model)
    assert all(float(parameters[name].abs().max()) < 5 for name in again.anatomy.blocks[-1])
    assert all(float(parameters[name].min()) >= 5 for name in again.anatomy.stem)
