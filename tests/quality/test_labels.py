"""Labels that were exchanged are at the top of the list, of texts and of numbers, and none of right ones is doubted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from regraft.data import Example
from regraft.quality.findings import Finding, Row
from regraft.quality.labels import wrong_labels
from regraft.tasks import Answers

CLASSES = Answers("classes", ("bad", "good"))
NUMBERS = Answers("numbers", ("stars",), (0.0,), (1.0,))


def _rows(targets: list[Any]) -> list[Row]:
    return [
        Row("train", Example(str(place), {"image": place}, target, None, "t.csv", place + 2))
        for place, target in enumerate(targets)
    ]


def _found(values: np.ndarray, heights: list[np.ndarray], answers: Answers) -> list[Finding]:
    shown = [answers.names[value] for value in values] if answers.kind == "classes" else [tuple(v) for v in values]
    return [*wrong_labels(_rows(shown), heights, values.tolist(), answers, seed=0)]


@pytest.fixture(scope="module")
def heights() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(400, 8)).astype(np.float32) for _ in range(2)]


def test_exchanged_classes_are_at_the_top(heights: list[np.ndarray]) -> None:
    right = (heights[0][:, 0] + heights[1][:, 0] > 0).astype(int)
    sure = np.flatnonzero(np.abs(heights[0][:, 0] + heights[1][:, 0]) > 1)[:20]
    given = right.copy()
    given[sure] = 1 - given[sure]
    (found,) = _found(given, heights, CLASSES)
    top = {item.rows[0].row - 2 for item in found.items[:22]}
    assert len(top & set(sure.tolist())) >= 18
    assert found.level == "warning"


def test_of_right_classes_few_are_doubted(heights: list[np.ndarray]) -> None:
    right = (heights[0][:, 0] + heights[1][:, 0] > 0).astype(int)
    assert sum(finding.count for finding in _found(right, heights, CLASSES)) <= 8


def test_numbers_that_are_far_off_are_found(heights: list[np.ndarray]) -> None:
    noise = np.random.default_rng(1).normal(scale=0.1, size=400)
    values = (heights[0][:, :1] * 2 + noise[:, None]).astype(np.float64)
    values[[3, 77]] += 5
    (found,) = _found(values, heights, NUMBERS)
    assert {item.rows[0].row - 2 for item in found.items} == {3, 77}


def test_of_very_few_rows_nothing_is_said(heights: list[np.ndarray]) -> None:
    few = [each[:10] for each in heights]
    assert _found(np.arange(10) % 2, few, CLASSES) == []


def test_where_the_features_know_nothing_no_label_is_doubted(heights: list[np.ndarray]) -> None:
    assert _found(np.random.default_rng(2).integers(0, 2, 400), heights, CLASSES) == []
