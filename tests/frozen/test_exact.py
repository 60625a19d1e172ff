"""Stored, computed each time, or run whole: every family learns the same, or says why it is run whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from regraft.frozen import Decision, Execution, chain_of, depth_taps, features, find_frontier, resting
from regraft.pretrained import fast_attention
from regraft.recipe import CacheOptions
from regraft.tasks import Batch, Loss
from regraft.tasks._losses import cross_entropy
from regraft.training.freeze import freeze_all_but, set_modes
from tests.frozen.families import KINDS, Case, Images, case

_STEPS, _BATCH = 6, 4
LOSS = Loss("cross-entropy", "", lambda output, target: cross_entropy(output["logits"], target))

# What is not run from rows, and why.
DECLINED = {
    ("albert", "top-1"): 0,  # one block that is run many times: to train its last use is to train its first
    ("pvt_v2", "top-1"): 3,  # its blocks give their states within a tuple within a tuple
}


def trainable(given: Case, strategy: str) -> set[str]:
    anatomy = given.subject.anatomy
    above = {*anatomy.tail, *anatomy.head} - anatomy.unused
    if strategy == "linear-probe":  # the tail of a text model is often new (a pooler), that of an image model never
        return {*anatomy.head} if isinstance(given.subject.inputs, Images) else above
    if strategy == "tail and head":
        return above
    blocks = len(chain_of(anatomy))
    frozen = {name for block in anatomy.blocks[: blocks - 1] for name in block} | {*anatomy.stem}
    return set(anatomy.parameters) - frozen - anatomy.unused


def batch_of(given: Case, places: Sequence[int]) -> Batch:
    target = torch.tensor([place % 2 for place in places])
    encoded = [given.encoded[place] for place in places]
    return Batch(given.subject.inputs.collate(encoded, given.subject.processor), target, len(places))


def _train(
    given: Case, store: str, root: Path, strategy: str, dtype: str = "auto"
) -> tuple[dict[str, Tensor], Decision]:
    """Weights after a few steps, and how they were computed. ``store`` may also be "whole"."""
    with fast_attention(given.subject.model):
        return _trained(given, store, root, strategy, dtype)


def _trained(given: Case, store: str, root: Path, strategy: str, dtype: str) -> tuple[dict[str, Tensor], Decision]:
    subject = given.subject
    model = subject.model
    freeze_all_but(model, trainable(given, strategy))
    frontier = find_frontier(model, subject.anatomy)
    set_modes(model, resting(model, subject.anatomy, frontier.blocks))
    execution = Execution(subject, given.encoded, options_of(store, dtype), root=root)
    *_, decision = execution.enter(batch_of(given, range(8)), range(8), LOSS, reads=2, poll=lambda: None)
    assert isinstance(decision, Decision)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for step in range(_STEPS):
        torch.manual_seed(step)
        places = [(step * _BATCH + offset * 5) % len(given.encoded) for offset in range(_BATCH)]
        batch = batch_of(given, places)
        with subject.device.computing():
            output = model(**batch.inputs) if store == "whole" else execution(batch.inputs, places)
            loss = LOSS.function(output, batch.target)
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)  # norms at rest do not rein weights in
        optimizer.step()
        optimizer.zero_grad()
    execution.close()
    return copy.deepcopy(model.state_dict()), decision


def options_of(store: str, dtype: str = "auto") -> CacheOptions:
    return CacheOptions(store="never" if store == "whole" else store, dtype=dtype)  # type: ignore[arg-type]


def _without_dropout(given: Case) -> Case:
    """Shortcuts draw fewer random numbers, so whole runs are compared without dropout."""
    for module in given.subject.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return given


@pytest.mark.parametrize("strategy", ["linear-probe", "top-1"])
@pytest.mark.parametrize("family", KINDS)
def test_stored_and_computed_rows_give_the_same_bits(family: str, strategy: str, tmp_path: Path) -> None:
    stored, decision = _train(case(family, tmp_path / "m"), "always", tmp_path / "s", strategy)
    computed, other = _train(case(family, tmp_path / "m"), "never", tmp_path / "s", strategy)
    assert decision.stored == decision.from_rows
    assert not other.stored
    assert all(torch.equal(stored[name], computed[name]) for name in stored)


@pytest.mark.parametrize("strategy", ["linear-probe", "top-1"])
@pytest.mark.parametrize("family", KINDS)
def test_rows_give_what_the_whole_model_gives(family: str, strategy: str, tmp_path: Path) -> None:
    stored, decision = _train(_without_dropout(case(family, tmp_path / "m")), "always", tmp_path / "s", strategy)
    whole, _ = _train(_without_dropout(case(family, tmp_path / "m")), "whole", tmp_path / "s", strategy)
    assert decision.from_rows is ((family, strategy) not in DECLINED), decision.reason
    assert decision.frontier.blocks == DECLINED.get((family, strategy), decision.frontier.blocks)
    images = isinstance(case(family, tmp_path / "m").subject.inputs, Images)
    near = {"rtol": 1e-4, "atol": 1e-5} if images else {"rtol": 0, "atol": 1e-6}
    for name in stored:
        torch.testing.assert_close(stored[name], whole[name], **near, msg=lambda m, n=name: f"{n}: {m}")


# Above the last block their states are averaged, so that of a grid one cell is enough; or not, and all of it is.
@pytest.mark.parametrize(("family", "reading"), [("convnext", "mean"), ("hgnet_v2", "mean"), ("mobilenet_v2", "all")])
def test_what_trains_above_the_grid_may_need_its_mean_alone(family: str, reading: str, tmp_path: Path) -> None:
    stored, decision = _train(case(family, tmp_path / "m"), "always", tmp_path / "s", "tail and head")
    computed, _ = _train(case(family, tmp_path / "m"), "never", tmp_path / "s", "tail and head")
    assert decision.tap.reading == reading
    assert all(torch.equal(stored[name], computed[name]) for name in stored)


def _moved(given: Case, root: Path) -> list[str]:
    """The running means that tuning the last block has moved."""
    before = copy.deepcopy(given.subject.model.state_dict())
    after, _ = _train(given, "always", root, "top-1")
    return [name for name in after if "running_mean" in name and not torch.equal(after[name], before[name])]


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "mobilevit", "levit"])
def test_batch_norms_of_the_checkpoint_keep_their_statistics(family: str, tmp_path: Path) -> None:
    assert _moved(case(family, tmp_path / "m"), tmp_path / "s") == []


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "mobilevit", "levit"])
def test_batch_norms_that_are_new_gather_theirs(family: str, tmp_path: Path) -> None:
    given = case(family, tmp_path / "m")
    anatomy = given.subject.anatomy
    last = frozenset(anatomy.blocks[len(chain_of(anatomy)) - 1])
    subject = replace(given.subject, anatomy=replace(anatomy, new=last))
    moved = _moved(replace(given, subject=subject), tmp_path / "s")
    assert moved
    assert {name.replace("running_mean", "weight") for name in moved} <= last


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "vit", "whisper encoder"])
def test_shorter_rows_stay_within_the_tolerance(family: str, dtype: str, tmp_path: Path) -> None:
    given = _without_dropout(case(family, tmp_path / "m"))
    short, decision = _train(given, "always", tmp_path / "s", "top-1", dtype)
    whole, _ = _train(_without_dropout(case(family, tmp_path / "m")), "whole", tmp_path / "s", "top-1")
    assert decision.stored
    limit = {"bf16": 2e-2, "fp16": 2e-3}[dtype]
    for name in short:
        torch.testing.assert_close(short[name], whole[name], rtol=0, atol=limit)


@pytest.mark.parametrize("family", ["bert", "modernbert", "llama", "vit", "swin", "convnext", "efficientnet", "resnet"])
def test_in_bf16_stored_and_computed_rows_give_the_same_bits(family: str, tmp_path: Path) -> None:
    stored, _ = _train(case(family, tmp_path / "m", precision="bf16"), "always", tmp_path / "s", "top-1")
    computed, _ = _train(case(family, tmp_path / "m", precision="bf16"), "never", tmp_path / "s", "top-1")
    assert all(torch.equal(stored[name], computed[name]) for name in stored)


@pytest.mark.parametrize("store", ["always", "never"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_rows_of_every_type_go_with_bf16_products(dtype: str, store: str, tmp_path: Path) -> None:
    given = case("bert", tmp_path / "m", precision="bf16")
    _, decision = _train(given, store, tmp_path / "s", "linear-probe", dtype)
    assert decision.shortcuts.one_row
    assert decision.stored == (store == "always")


@pytest.mark.parametrize("family", [family for family in KINDS if family != "pvt_v2"])  # see DECLINED
def test_what_is_filled_in_the_same_pass_is_what_a_pass_of_its_own_gives(family: str, tmp_path: Path) -> None:
    """Among others: a decoder's attention must not see the keys of a block twice."""
    given = case(family, tmp_path / "m")
    freeze_all_but(given.subject.model, trainable(given, "linear-probe"))
    taps, options = depth_taps(given.subject)[-2:], options_of("always")
    execution = Execution(given.subject, given.encoded, options, root=tmp_path / "s")
    batch = batch_of(given, range(8))
    *_, decision = execution.enter(batch, range(8), LOSS, reads=2, poll=lambda: None, also=taps)
    execution.close()
    assert isinstance(decision, Decision)
    kept = features(given.subject, given.encoded, taps, options, root=tmp_path / "s")
    alone = features(given.subject, given.encoded, taps, options_of("never"), root=tmp_path / "s")
    assert decision.stored
    assert all(np.array_equal(one, other) for one, other in zip(kept, alone, strict=True))
