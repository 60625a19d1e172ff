"""The drawn roads: the number says where the road goes, and the test has what training never has."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from materials.roads import AHEAD, COUNTS, SIZE, _generator, drawn_road, is_against, picture

MATERIAL = "roads"


@pytest.mark.parametrize("side", list(COUNTS))
def test_every_picture_has_a_number_and_every_number_a_picture(place: Path, side: str) -> None:
    with (place / side / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == sorted(path.name for path in (place / side).glob("*.jpg"))
    assert len(rows) == COUNTS[side]
    headings = [float(row["heading"]) for row in rows]
    assert abs(np.mean(headings)) < 0.03
    assert 0.08 < np.std(headings) < 0.2
    with Image.open(place / side / rows[0]["file_name"]) as image:
        assert image.size == (SIZE, SIZE)


def test_the_heading_is_the_way_to_the_middle_of_the_road_ahead() -> None:
    road = drawn_road(_generator("train", 1), unseen=False)
    assert math.tan(road.heading) * AHEAD == pytest.approx(
        -road.offset + math.tan(road.turn) * AHEAD + road.bend * AHEAD**2 / 2
    )


def test_a_test_road_has_nothing_of_a_training_road() -> None:
    train = [drawn_road(_generator("train", number), unseen=False) for number in range(200)]
    test = [drawn_road(_generator("test", number), unseen=True) for number in range(200)]
    for name in ("light", "ground", "surface"):
        assert not {getattr(road, name) for road in train} & {getattr(road, name) for road in test}
    assert not any(is_against(road.turn, road.bend) for road in train)
    assert 0.35 < np.mean([is_against(road.turn, road.bend) for road in test]) < 0.65


def test_a_picture_is_drawn_the_same_again() -> None:
    def draw(number: int) -> np.ndarray:
        rng = _generator("test", number)
        return np.asarray(picture(drawn_road(rng, unseen=True), rng))

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
    assert draw(1).shape == (SIZE, SIZE, 3)
