"""Images: what a probe keeps of them, inputs that say nothing, several views, and models that find boxes and masks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regraft.frozen import Decision, Execution, Tap, chain_of, features, list_stores
from regraft.recipe import CacheOptions
from regraft.tasks import Loss
from regraft.training.freeze import freeze_all_but
from tests.frozen.families import DENSE, Case, case
from tests.frozen.test_exact import LOSS, batch_of, options_of, trainable

_SAID = ("logits", "pred_boxes", "class_queries_logits", "masks_queries_logits")
# One loss an example, on whatever a model says of boxes and masks.
SQUARES = Loss(
    "squares",
    "",
    lambda output, _: torch.stack([output[name].float().pow(2).flatten(1).mean(1) for name in _SAID if name in output])
    .sum(0),
)  # fmt: skip

# Frozen parts of detectors and segmenters: what a probe keeps, else why it keeps nothing.
_PYRAMID = "what several of its frozen blocks give is read, as by a feature pyramid"
PROBES = {
    "detr": "all",
    "conditional_detr": "all",
    "rt_detr": _PYRAMID,
    "d_fine": _PYRAMID,
    "yolos": "all",
    "segformer": "maps",
    "upernet": "maps",
    "mask2former": "its blocks are not what its output comes from",
}


def _entered(given: Case, root: Path, loss: Loss, store: str = "always", **options: Any) -> tuple[Execution, Decision]:
    execution = Execution(given.subject, given.encoded, options_of(store), root=root)
    options = {"reads": 2, "poll": lambda: None, **options}
    *_, decision = execution.enter(batch_of(given, range(8)), range(8), loss, **options)
    assert isinstance(decision, Decision)
    return execution, decision


def _probe(family: str, folder: Path) -> Case:
    given = case(family, folder)
    freeze_all_but(given.subject.model, {*given.subject.anatomy.head})
    return given


@pytest.mark.parametrize("strategy", ["probe", "top block"])
@pytest.mark.parametrize("family", DENSE)
def test_detectors_and_segmenters_learn_the_same_from_rows_or_say_why_not(
    family: str, strategy: str, tmp_path: Path
) -> None:
    weights: list[dict[str, Tensor]] = []
    for store in ("always", "never", "whole"):
        given = _probe(family, tmp_path / "m")
        subject, anatomy = given.subject, given.subject.anatomy
        if strategy == "top block":
            freeze_all_but(subject.model, {*anatomy.head, *anatomy.tail, *anatomy.blocks[-1]} - anatomy.unused)
        subject.model.eval()  # no dropout and no statistics of batches: a whole run is compared
        execution, decision = _entered(given, tmp_path / "s", SQUARES, "never" if store == "whole" else store)
        if strategy == "probe":
            assert (decision.tap.reading if decision.from_rows else decision.reason) == PROBES[family]
        assert decision.stored == (store == "always" and decision.from_rows)
        trained = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.001)
        for step in range(3):
            places = [(step * 4 + offset * 5) % len(given.encoded) for offset in range(4)]
            batch = batch_of(given, places)
            output = subject.model(**batch.inputs) if store == "whole" else execution(batch.inputs, places)
            SQUARES.function(output, batch.target).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        execution.close()
        weights.append(copy.deepcopy(subject.model.state_dict()))
    stored, computed, whole = weights
    assert all(torch.equal(stored[name], computed[name]) for name in stored)
    for name in stored:
        torch.testing.assert_close(stored[name], whole[name], rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_a_probe_stores_the_pooled_vector_and_nothing_more(tmp_path: Path) -> None:
    given = _probe("efficientnet", tmp_path / "m")
    execution, decision = _entered(given, tmp_path / "s", LOSS)
    execution.close()
    width = given.subject.config.hidden_dim
    assert decision.tap == Tap(6, "pooled", fields="pooler_output")
    assert decision.bytes == len(given.encoded) * width * 4
    [rows] = (tmp_path / "s").glob("*/segment-*/rows.bin")
    assert rows.stat().st_size == decision.bytes


def test_dropout_between_backbone_and_head_acts_though_the_backbone_stands_aside(tmp_path: Path) -> None:
    given = _probe("efficientnet", tmp_path / "m")
    execution, decision = _entered(given, tmp_path / "s", LOSS)
    assert decision.tap.reading == "pooled"
    assert given.subject.model.dropout.p > 0
    said = [execution(batch_of(given, [0, 1]).inputs, [0, 1])["logits"] for _ in range(2)]
    given.subject.model.eval()
    still = [execution(batch_of(given, [0, 1]).inputs, [0, 1])["logits"] for _ in range(2)]
    execution.close()
    assert not torch.equal(*said)
    assert torch.equal(*still)


def test_every_weight_of_the_backbone_is_in_the_key_of_what_is_pooled_and_none_of_the_head(tmp_path: Path) -> None:
    subject = case("mobilenet_v2", tmp_path / "m").subject
    tap = Tap(len(subject.blocks) + 1, "pooled", fields="pooler_output")
    before = subject.key(tap)
    for name, tensor in subject.model.state_dict().items():
        with torch.no_grad():
            tensor.add_(1)
        after = subject.key(tap)
        assert (after != before) is (name not in subject.anatomy.head), name
        before = after


@pytest.mark.parametrize("family", ["vit", "swin", "resnet", "efficientnet"])
@pytest.mark.parametrize("store", ["always", "never"])
def test_where_rows_stand_for_images_these_need_not_be_read(family: str, store: str, tmp_path: Path) -> None:
    given = case(family, tmp_path / "m")
    freeze_all_but(given.subject.model, trainable(given, "top-1"))
    given.subject.model.eval()
    execution, decision = _entered(given, tmp_path / "s", LOSS, store)
    assert decision.blank
    assert not execution.looks_at_inputs
    places = [3, 0, 7]
    blank = given.subject.inputs.blank([given.encoded[place] for place in places], None)
    assert blank is not None
    true = execution(batch_of(given, places).inputs, places)["logits"]
    assert torch.equal(execution(blank, places)["logits"], true)
    others = [dict(row) for row in given.encoded[:4]]
    of_others = execution.of(others, lambda: None)
    true = given.subject.model(**given.subject.batch(others))["logits"]
    torch.testing.assert_close(of_others(given.subject.batch(others), range(4))["logits"], true, rtol=0, atol=1e-5)
    execution.close()
    assert execution.looks_at_inputs


def test_what_is_gone_on_with_needs_no_images_either(tmp_path: Path) -> None:
    given = _probe("efficientnet", tmp_path / "m")
    execution, decision = _entered(given, tmp_path / "s", LOSS)
    inputs = given.subject.batch(given.encoded[:3])
    given.subject.model.eval()
    before = execution(inputs, range(3))["logits"]
    execution.close()
    known = Decision.from_json(decision.to_json())
    execution, again = _entered(given, tmp_path / "s", LOSS, known=known)
    assert not execution.looks_at_inputs
    assert again == decision
    assert torch.equal(execution(inputs, range(3))["logits"], before)
    execution.close()


def test_a_model_that_is_run_whole_looks_at_its_images(tmp_path: Path) -> None:
    given = case("resnet", tmp_path / "m")
    freeze_all_but(given.subject.model, {*given.subject.anatomy.parameters})
    execution, decision = _entered(given, tmp_path / "s", LOSS)
    assert not decision.blank
    assert execution.looks_at_inputs


def test_texts_are_always_looked_at(tmp_path: Path) -> None:
    given = case("bert", tmp_path / "m")
    freeze_all_but(given.subject.model, trainable(given, "linear-probe"))
    execution, decision = _entered(given, tmp_path / "s", LOSS)
    assert decision.stored
    assert not decision.blank
    execution.close()


@pytest.mark.parametrize(("reads", "stored"), [(1, False), (2, True)])
def test_rows_that_are_read_once_are_not_stored(reads: int, stored: bool, tmp_path: Path) -> None:
    given = _probe("resnet", tmp_path / "m")
    execution, decision = _entered(given, tmp_path / "s", LOSS, "auto", reads=reads)
    execution.close()
    assert decision.from_rows
    assert decision.stored == stored
    assert stored or "each row would be read once" in decision.reason


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "regnet", "convnext", "swin", "vit"])
def test_the_bits_of_an_image_do_not_depend_on_how_many_are_computed_with_it(family: str, tmp_path: Path) -> None:
    given = case(family, tmp_path / "m")
    depth, never = len(chain_of(given.subject.anatomy)), CacheOptions(store="never")
    taps = [Tap(1, "mean"), Tap(depth, "mean"), Tap(depth + 1, "mean")]

    def seen(places: list[int]) -> list[Any]:
        return features(given.subject, [given.encoded[place] for place in places], taps, never, root=tmp_path)

    together = seen(list(range(12)))
    for places in ([0], [5, 1], [11, 3, 7, 2, 4], [*range(12), *range(12)]):
        for few, all_of_them in zip(seen(places), together, strict=True):
            assert np.array_equal(few, all_of_them[places])


def test_two_heads_share_the_rows_of_a_backbone(tmp_path: Path) -> None:
    for seed in range(2):
        given = _probe("resnet", tmp_path / f"{seed}")
        with torch.no_grad():
            for name in given.subject.anatomy.head:
                given.subject.model.get_parameter(name).add_(seed)
        execution, _ = _entered(given, tmp_path / "s", LOSS)
        execution.close()
    assert len(list_stores(tmp_path / "s")) == 1
