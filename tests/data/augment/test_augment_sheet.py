"""The contact sheet: boxes and masks are drawn where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from regraft.data.augment.sample import Sample
from regraft.data.augment.sheet import colour_of, sheet
from regraft.data.masks import IGNORE
from tests.data.augment.pictures import colourful, rectangle


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_rows_and_columns(count: int) -> None:
    image = sheet([replace(colourful((40, 80)), mask=None)] * count, ["a", "b"], columns=4, width=80)
    rows = -(-count // 4)
    assert image.size == (4 * 92 - 12, rows * 52 - 12)


def test_a_box_is_drawn_around_its_object() -> None:
    sample = replace(rectangle((100, 100), (0.3, 0.4, 0.7, 0.8)), mask=None)
    drawn = np.asarray(sheet([sample], ["a", "b", "c"], columns=1, width=100).convert("RGB"))
    coloured = (drawn == colour_of(2)).all(-1)
    rows, columns = np.flatnonzero(coloured[:, 60:70].any(1)), np.flatnonzero(coloured[50:70].any(0))
    assert (columns[0], columns[-1], rows[-1]) == (30, 69, 79)


def test_a_mask_is_tinted_and_outlined() -> None:
    sample = replace(rectangle((100, 100), (0.3, 0.4, 0.7, 0.8)), boxes=None)
    drawn = np.asarray(sheet([sample], ["ground", "thing"], columns=1, width=100, background=0).convert("RGB"))
    assert tuple(drawn[40, 50]) == colour_of(1)
    tint = (np.array(colour_of(1)) + 255) / 2
    assert np.abs(drawn[60, 50] - tint).max() <= 1
    assert tuple(drawn[10, 10]) == (0, 0, 0)


def test_what_is_ignored_is_hatched() -> None:
    sample = Sample(torch.full((3, 60, 60), 0.5), mask=torch.full((60, 60), IGNORE, dtype=torch.uint8))
    drawn = np.asarray(sheet([sample], [], columns=1, width=60).convert("RGB"))
    assert len(np.unique(drawn[:, :, 0])) == 2


def test_captions_and_legend_take_room() -> None:
    plain = sheet([colourful()], ["a", "b", "c"], columns=1, background=0)
    assert sheet([colourful()], ["a", "b", "c"], columns=1, background=0, captions=["one"]).height > plain.height
    assert plain.height > sheet([replace(colourful(), mask=None)], ["a", "b", "c"], columns=1).height


def test_names_that_the_font_lacks_are_numbers() -> None:
    named = replace(rectangle(), mask=None)
    chinese, numbered = sheet([named], ["猫", "狗", "鸟"]), sheet([named], ["", "", ""])
    assert chinese.tobytes() == numbered.tobytes()


def test_every_class_has_a_colour_of_its_own() -> None:
    assert len({colour_of(label) for label in range(60)}) == 60


def test_there_may_be_nothing_to_draw() -> None:
    bare = Sample(torch.zeros(3, 8, 8), torch.zeros(0, 5))
    assert sheet([bare], []).mode == "RGBA"
