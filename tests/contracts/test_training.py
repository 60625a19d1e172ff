"""Whatever is combined: the run ends, what the strategy promises has learned, and nothing else has moved by a bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from regraft import Tuned
from regraft.preparation import Prepared
from regraft.run import read_json
from tests.contracts.runs import CELLS, Cell, Runs


def _state(tuned: Tuned) -> dict[str, Tensor]:
    return dict(tuned.pretrained.model.state_dict())


def _tied(model: nn.Module, trainable: frozenset[str]) -> frozenset[str]:
    """The other names of weights that have several."""
    places = {model.state_dict()[name].data_ptr() for name in trainable}
    return frozenset(name for name, value in model.state_dict().items() if value.data_ptr() in places)


def _statistics(model: nn.Module, new: frozenset[str]) -> set[str]:
    """The running means of batch norms that are new: they are gathered, not learned. Those of others stay."""
    norms = [path for path, module in model.named_modules() if isinstance(module, _BatchNorm)]
    fresh = [path for path in norms if any(name.startswith(f"{path}.") for name in new)]
    return {f"{path}.{name}" for path in fresh for name in ("running_mean", "running_var", "num_batches_tracked")}


def _flat(prepared: Prepared, name: str) -> bool:
    """Whether the loss depends on a weight but not here: a bias of keys, a norm of what is 0 on tiny images."""
    rows = prepared.rows.batch(range(4), prepared.task, prepared.answers, prepared.pretrained.processor)
    model = prepared.pretrained.model.train()
    loss = prepared.loss.function(model(**rows.inputs), rows.target).sum()
    (slope,) = torch.autograd.grad(loss, [model.eval().get_parameter(name)])
    return bool(slope.abs().max() < 1e-6)


def _saved(model: Path) -> dict[str, Tensor]:
    return {name: value for file in model.glob("*.safetensors") for name, value in load_file(file).items()}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_run_ends_with_all_that_a_run_folder_holds(cell: Cell, runs: Runs) -> None:
    run = runs[cell].run
    for path in (run.recipe, run.plan, run.events, run.scores, run.predictions, run.model / "config.json"):
        assert path.is_file()
    assert run.history()[-1]["event"] == "end"


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_what_the_strategy_does_not_name_is_bit_identical(cell: Cell, runs: Runs) -> None:
    prepared = runs.prepared(cell)
    trainable = frozenset[str]().union(*(phase.trainable for phase in prepared.phases))
    before, after = prepared.pretrained.model.state_dict(), _state(runs.loaded(cell))
    assert before.keys() == after.keys()
    trainable |= _tied(prepared.pretrained.model, trainable)
    frozen = before.keys() - trainable - _statistics(prepared.pretrained.model, prepared.pretrained.anatomy.new)
    changed = sorted(name for name in frozen if not torch.equal(before[name], after[name]))
    assert changed == []


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_group_that_trains_has_moved(cell: Cell, runs: Runs) -> None:
    prepared = runs.prepared(cell)
    before, after = prepared.pretrained.model.state_dict(), _state(runs.loaded(cell))
    for phase in prepared.phases:
        for group in phase.groups:
            assert any(not torch.equal(before[name], after[name]) for name in group.parameters), group


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.strategy == "full"], ids=str)
def test_every_weight_that_is_said_to_train_gets_a_gradient(cell: Cell, runs: Runs) -> None:
    prepared = runs.prepared(cell)
    before, after = prepared.pretrained.model.state_dict(), _state(runs.loaded(cell))
    trainable = frozenset[str]().union(*(phase.trainable for phase in prepared.phases))
    still = [name for name in sorted(trainable) if torch.equal(before[name], after[name])]
    assert [name for name in still if not _flat(prepared, name)] == []


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.strategy == "linear-probe"], ids=str)
def test_a_probe_leaves_the_pretrained_file_as_it_was(cell: Cell, runs: Runs) -> None:
    pretrained = load_file(runs.model(cell.family) / "model.safetensors")
    saved = _saved(runs[cell].run.model)
    prefix = type(runs[cell].tuned.pretrained.model).base_model_prefix
    kept = {
        name: next(
            (saved[known] for known in (f"{prefix}.{name}", name, name.removeprefix("model.")) if known in saved), None
        )
        for name in pretrained
    }
    missing = {name for name, value in kept.items() if value is None}
    assert all("pooler" in name or "decoder" in name for name in missing)  # not every head looks at these
    assert all(torch.equal(pretrained[name], value) for name, value in kept.items() if value is not None)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_plan_says_what_then_happened(cell: Cell, runs: Runs) -> None:
    plan = read_json(runs[cell].run.plan)
    anatomy = runs.prepared(cell).pretrained.anatomy
    before = runs.prepared(cell).pretrained.model.state_dict()
    after = _state(runs.loaded(cell))
    for part in plan["tree"]:
        moved = any(not torch.equal(before[name], after[name]) for name in anatomy.parts[part["name"]])
        assert moved == (part["learning_rate"] is not None), part["name"]
