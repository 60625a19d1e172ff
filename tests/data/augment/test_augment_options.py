"""What a recipe can ask of augmentation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from regraft import extensions
from regraft.data.augment.options import ImageAugmentation
from regraft.errors import RecipeError


def test_all_is_off_unless_asked_for() -> None:
    assert ImageAugmentation().off


@pytest.mark.parametrize("policy", ["light", "trivial", "rand"])
def test_a_policy_turns_things_on(policy: Any) -> None:
    assert not ImageAugmentation(policy=policy).off


@pytest.mark.parametrize(
    "asked",
    [
        *({"flip": 0.5}, {"flip_vertical": 0.5}, {"crop": 0.9}, {"rotate": 5.0}, {"colour": 0.1}, {"blur": 1.0}),
        *({"noise": 0.1}, {"erase": 0.1}, {"mixup": 0.2}, {"cutmix": 1.0}, {"mosaic": 0.5}),
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_one_option_turns_it_on(asked: dict[str, Any]) -> None:
    assert not ImageAugmentation(**asked).off


def test_an_option_goes_before_the_policy() -> None:
    settled = ImageAugmentation(policy="light", flip=0.0).settled
    assert (settled.flip, settled.crop, settled.colour) == (0.0, 0.5, 0.2)


def test_without_geometry_a_crop_is_off() -> None:
    assert ImageAugmentation(crop=0.5, flip=1.0, rotate=4.0, mosaic=1.0, geometry=False).off


def test_views_take_turns() -> None:
    assert [ImageAugmentation(views=3).view(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [ImageAugmentation().view(epoch) for epoch in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    "asked",
    [
        *({"flip": 1.5}, {"crop": 0}, {"rotate": -1}, {"policy": "heavy"}, {"views": 0}, {"magnitude": 31}),
        *({"mixup": -1}, {"operations": 0}, {"colour": "strong"}, {"flip": True}, {"jitter": 1}),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        extensions.build("augmentation", ImageAugmentation, asked)


def test_every_option_is_explained() -> None:
    said = ImageAugmentation.__doc__ or ""
    assert [field.name for field in fields(ImageAugmentation) if f"\n        {field.name}: " not in said] == []


def test_options_need_neither_torch_nor_kornia() -> None:
    code = "import sys, regraft.data.augment.options; print({'torch', 'kornia'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.strip() == "set()"
