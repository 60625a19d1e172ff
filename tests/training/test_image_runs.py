"""R2 with images: augmentation, worker processes, stops and stores change no bit of what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from regraft import make_recipe
from regraft.preparation import Prepared, prepare
from regraft.tasks import Batch
from regraft.testing import tiny_model, toy_images
from tests.training.stage import bits, loop_of
from tests.training.test_exact import Countdown, _broken, _whole

_TASKS = {
    "image-classification": "classes",
    "image-regression": "numbers",
    "object-detection": "boxes",
    "image-segmentation": "masks",
}
_VARIED: dict[str, dict[str, Any]] = {
    "image-classification": {"policy": "trivial", "mixup": 0.4, "cutmix": 1.0},
    "image-regression": {"policy": "light", "geometry": False, "noise": 0.1},
    "object-detection": {"policy": "light", "mosaic": 0.5},
    "image-segmentation": {"policy": "rand", "mosaic": 0.5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny pictures of every kind, and a small network with batch norms."""
    place = tmp_path_factory.mktemp("images")
    tiny_model(place / "resnet", family="resnet")
    for kind in _TASKS.values():
        toy_images(place / kind, kind=kind, images=40)
    return place


def _prepared(folder: Path, task: str, **sections: Any) -> Prepared:
    kind = _TASKS[task]
    base = {
        "task": task,
        "model": str(folder / "resnet"),
        "data": {"train": str(folder / kind / ("instances.json" if kind == "boxes" else "")),
                 "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "strategy": {"name": "full", "learning_rate": 1e-3},
        "augmentation": _VARIED[task],
        "training": {"epochs": 2, "precision": "fp32", "batch_size": 8, "checkpoint": {"every": 1000}},
        "seed": 3,
    }  # fmt: skip
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values} if isinstance(values, dict) else values
    return prepare(make_recipe(base))


@pytest.mark.parametrize("task", _TASKS)
def test_a_stop_with_augmentation_and_two_workers_changes_no_bit(folder: Path, tmp_path: Path, task: str) -> None:
    expected = _whole(_prepared(folder, task), tmp_path / "whole", Countdown())
    with_workers = _prepared(folder, task, training={"workers": 2})
    for at in (2, 6):
        assert _broken(with_workers, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


def test_stops_among_views_that_take_turns_change_no_bit(folder: Path, tmp_path: Path) -> None:
    prepared = _prepared(
        folder,
        "image-classification",
        augmentation={"policy": "light", "views": 2},
        strategy={"name": "top-layers", "n": 1, "learning_rate": 1e-3},
        training={"epochs": 4},
    )
    expected = _whole(prepared, tmp_path / "whole", Countdown())
    for at in (3, 9, 14):
        assert _broken(prepared, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


@pytest.mark.parametrize("strategy", ["linear-probe", "top-layers"])
def test_stored_views_and_computed_views_give_the_same_bits(folder: Path, tmp_path: Path, strategy: str) -> None:
    found = {}
    for store in ("always", "never"):
        prepared = _prepared(
            folder,
            "image-classification",
            augmentation={"policy": "light", "views": 2, "mixup": 0.4},
            strategy={"name": strategy, "learning_rate": 1e-3},
            training={"epochs": 4},
            cache={"store": store},
        )
        loop, model = loop_of(prepared, tmp_path / store)
        events = [event.values for event in loop.events() if event.name == "execution"]
        assert [each["from_rows"] for each in events] == [True]
        assert [each["stored"] for each in events] == [store == "always"]
        found[store] = bits(model, tmp_path / store)
    assert found["always"] == found["never"]


def test_each_epoch_reads_its_own_view(folder: Path) -> None:
    rows = _prepared(
        folder, "image-classification", augmentation={"policy": "light", "views": 3}, training={"epochs": 4}
    ).rows
    count = len(rows.encoded)
    assert rows.number_of_views == 3
    assert [rows.in_epoch([0, 2], epoch) for epoch in range(4)] == [
        [0, 2], [count, count + 2], [2 * count, 2 * count + 2], [0, 2]]  # fmt: skip
    assert rows.reads(10) == 4


def test_an_image_in_a_batch_does_not_depend_on_its_neighbours(folder: Path) -> None:
    prepared = _prepared(folder, "object-detection")
    task, answers, processor = prepared.task, prepared.answers, prepared.pretrained.processor

    def batch(places: list[int]) -> Batch:
        return prepared.rows.batch(places, task, answers, processor)

    alone, among = batch([1]), batch([0, 1, 5])
    assert torch.equal(alone.inputs["pixel_values"][0], among.inputs["pixel_values"][1])
    objects = int((alone.target[0, :, 0] >= 0).sum())
    assert torch.equal(alone.target[0, :objects], among.target[1, :objects])


def test_blank_batches_have_the_targets_of_whole_ones(folder: Path) -> None:
    for task in ("image-classification", "object-detection", "image-segmentation"):
        prepared = _prepared(folder, task)
        made = (prepared.task, prepared.answers, prepared.pretrained.processor)
        whole, blank = (prepared.rows.batch(range(6), *made, blank=blank) for blank in (False, True))
        assert torch.equal(whole.target, blank.target), task
        assert whole.inputs["pixel_values"].shape == blank.inputs["pixel_values"].shape
        assert not blank.inputs["pixel_values"].any()
