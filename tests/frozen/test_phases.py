"""The loop over phases whose frontiers differ: each from rows of its own, and no bit depends on the store."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.preparation import Prepared, prepare
from regraft.strategies import Group, Phase
from regraft.training import Loop, checkpoint
from regraft.tuning import make_loop
from tests.training.stage import Stage, bits, make_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(tmp_path_factory.mktemp("stage"), rows=60, num_hidden_layers=3)


def _gradual(stage: Stage, tmp_path: Path, *overrides: str) -> Prepared:
    """Probe, then the top block, then all: as gradual unfreezing does (Howard and Ruder, 2018)."""
    prepared = prepare(stage.recipe(tmp_path, *overrides))
    anatomy = prepared.pretrained.anatomy
    above = (*anatomy.tail, *anatomy.head)
    parts = [above, (*above, *anatomy.blocks[-1]), anatomy.parameters]
    phases = [Phase(2, (Group(tuple(names), 1e-3),)) for names in parts]
    model = copy.deepcopy(prepared.pretrained.model)
    return replace(prepared, phases=phases, pretrained=replace(prepared.pretrained, model=model))


def _run(loop: Loop) -> Iterator[dict[str, Any]]:
    yield from (event.values for event in loop.events() if event.name == "execution")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_phases_of_different_frontiers_give_the_same_bits_with_and_without_the_store(
    stage: Stage, tmp_path: Path, precision: str
) -> None:
    found = {}
    for store in ("never", "always"):
        prepared = _gradual(stage, tmp_path, f"cache.store={store}", f"training.precision={precision}")
        decisions = list(_run(make_loop(prepared, tmp_path / store)))
        assert [decision["frontier"]["blocks"] for decision in decisions] == [3, 2, 0]
        assert [decision["stored"] for decision in decisions] == [store == "always"] * 2 + [False]
        found[store] = bits(prepared.pretrained.model, tmp_path / store)
    assert found["never"].keys() == found["always"].keys()
    assert [name for name in found["never"] if found["never"][name] != found["always"][name]] == []


def test_a_phase_that_is_gone_on_with_is_computed_as_it_began(stage: Stage, tmp_path: Path) -> None:
    whole = _gradual(stage, tmp_path, "training.precision=bf16")
    list(make_loop(whole, tmp_path / "whole").events())
    cut = make_loop(_gradual(stage, tmp_path, "training.precision=bf16"), tmp_path / "cut")
    for event in cut.events():
        if event.name == "checkpoint" and event.values["step"] == 12:
            break
    again = _gradual(stage, tmp_path, "training.precision=bf16")
    loop = make_loop(again, tmp_path / "cut")
    found, _ = checkpoint.newest(tmp_path / "cut")
    assert found is not None
    loop.resume(found)
    assert loop.state.execution is not None
    list(loop.events())
    assert bits(again.pretrained.model, tmp_path / "cut") == bits(whole.pretrained.model, tmp_path / "whole")


def test_what_a_later_phase_freezes_keeps_its_average(stage: Stage, tmp_path: Path) -> None:
    prepared = _gradual(stage, tmp_path, "training.ema=0.9")
    prepared = replace(prepared, phases=prepared.phases[::-1])
    model = prepared.pretrained.model
    loop = make_loop(prepared, tmp_path / "c")
    bottom = prepared.pretrained.anatomy.blocks[0][0]
    averages = []
    for event in loop.events():
        if event.name == "step" and loop.state.phase == 0:
            averages.append(loop._average[bottom].clone())
        if event.name == "execution" and event.values["phase"] == 1:
            assert torch.equal(dict(model.named_parameters())[bottom], averages[-1])
            assert bottom not in loop._average
            break
