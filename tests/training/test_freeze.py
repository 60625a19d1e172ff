"""Frozen means frozen: the same bits in parameters and buffers, no dropout, no batch statistics; and it is proved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from regraft.errors import TrainingError
from regraft.preparation import prepare
from regraft.training.freeze import freeze_all_but, frozen_sha256, frozen_tensors, prove_frozen, set_modes
from tests.training.stage import Stage, loop_of


class Net(nn.Module):
    """Two blocks, each with all that moves by itself: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.below = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.above = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.above(self.below(x)))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def _above(net: Net) -> frozenset[str]:
    return frozenset(name for name, _ in net.named_parameters() if not name.startswith("below"))


def _step(net: Net) -> None:
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()


def test_only_what_is_named_trains(net: Net) -> None:
    freeze_all_but(net, {"head.weight"})
    assert [name for name, value in net.named_parameters() if value.requires_grad] == ["head.weight"]


def test_modules_at_rest_are_in_eval_with_their_dropout(net: Net) -> None:
    freeze_all_but(net, _above(net))
    assert not any(module.training for module in net.below.modules())
    assert all(module.training for module in net.above.modules())


def test_a_module_of_which_a_part_trains_is_awake_and_the_other_part_is_not(net: Net) -> None:
    freeze_all_but(net, {"above.0.weight"})
    assert net.above[0].training
    assert net.above[2].training, "dropout has no parameters and goes with the module it is in"
    assert not net.above[1].training, "batch statistics of a frozen norm do not move"
    assert not net.head.training


def test_a_norm_without_weights_rests_where_it_is_said_to(net: Net) -> None:
    net.above[1] = nn.BatchNorm1d(4, affine=False)
    set_modes(net, [net.above[1]])
    assert not net.above[1].training
    set_modes(net)
    assert net.above[1].training


def test_batch_statistics_of_frozen_modules_do_not_move(net: Net) -> None:
    freeze_all_but(net, _above(net))
    below, above = net.below[1].running_mean.clone(), net.above[1].running_mean.clone()
    _step(net)
    assert torch.equal(net.below[1].running_mean, below)
    assert not torch.equal(net.above[1].running_mean, above), "where something trains they do"


def test_a_step_is_proved_to_have_left_the_frozen_alone(net: Net) -> None:
    freeze_all_but(net, _above(net))
    before = frozen_sha256(net, _above(net))
    _step(net)
    assert prove_frozen(net, _above(net), before) == len(frozen_tensors(net, _above(net))) == 7


@pytest.mark.parametrize("place", ["0.weight", "0.bias", "1.running_mean", "1.num_batches_tracked"])
def test_the_proof_sees_one_changed_bit(net: Net, place: str) -> None:
    freeze_all_but(net, _above(net))
    before = frozen_sha256(net, _above(net))
    with torch.no_grad():
        net.below.state_dict()[place].view(-1).view(torch.uint8)[0] ^= 1
    with pytest.raises(TrainingError, match="frozen"):
        prove_frozen(net, _above(net), before)


@pytest.mark.parametrize(
    "strategy",
    [
        "linear-probe",
        "{name: top-layers, n: 1}",
        "{name: full, freeze: [embeddings]}",
        "{name: full, freeze: ['blocks[0]']}",
    ],
)
def test_frozen_tensors_of_a_run_keep_their_bits(stage: Stage, tmp_path: Path, strategy: str) -> None:
    prepared = prepare(stage.recipe(tmp_path, f"strategy={strategy}"))
    loop, model = loop_of(prepared, tmp_path / "checkpoints")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    events = list(loop.events())
    trainable = prepared.phases[0].trainable
    after = model.state_dict()
    assert [event.values["tensors"] for event in events if event.name == "frozen"] == [
        len(frozen_tensors(model, trainable))
    ]
    assert all(torch.equal(before[name], after[name]) for name in before if name not in trainable)
    moved = {name for name in trainable if not torch.equal(before[name], after[name])}
    assert "classifier.weight" in moved


def test_a_frozen_weight_that_something_changes_fails_the_run(stage: Stage, tmp_path: Path) -> None:
    prepared = prepare(stage.recipe(tmp_path, "strategy=linear-probe"))
    loop, model = loop_of(prepared, tmp_path / "checkpoints")
    frozen = next(value for name, value in model.named_parameters() if name not in prepared.phases[0].trainable)
    events = loop.events()
    next(event for event in events if event.name == "step")
    frozen.data.view(-1)[0] += 1e-3
    with pytest.raises(TrainingError, match="frozen"):
        list(events)


def test_dropout_in_frozen_blocks_is_off_while_training(stage: Stage, tmp_path: Path) -> None:
    prepared = prepare(stage.recipe(tmp_path, "strategy={name: top-layers, n: 1}"))
    loop, model = loop_of(prepared, tmp_path / "checkpoints")
    next(event for event in loop.events() if event.name == "step")
    layers = model.bert.encoder.layer
    assert not any(module.training for module in layers[0].modules())
    assert not any(module.training for module in model.bert.embeddings.modules())
    assert all(module.training for module in layers[1].modules() if isinstance(module, nn.Dropout))
