"""A temperature that undoes a known distortion, and inputs that cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.evaluation import fit_temperature, measure, probabilities, reliability_curve
from regraft.evaluation.metrics import row_log_loss


def sharpened(kind: str, factor: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``factor`` times too sure, and answers drawn from the honest ones."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, size=(n, 3))
    honest = probabilities(logits, kind)
    if kind == "labels":
        return logits * factor, rng.random((n, 3)) < honest
    return logits * factor, (honest.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


@pytest.mark.parametrize("kind", ["classes", "labels"])
@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_the_temperature_undoes_a_known_distortion(kind: str, factor: float) -> None:
    logits, target = sharpened(kind, factor)
    temperature = fit_temperature(logits, target, kind)
    assert temperature == pytest.approx(factor, rel=0.07)
    after = measure(["ece"], target, probabilities(logits, kind, temperature=temperature))["ece"]
    assert after < 0.015


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_a_separable_or_empty_validation_set_changes_nothing(kind: str) -> None:
    logits = np.array([[3.0, -3.0], [-3.0, 3.0]])
    target = np.array([0, 1]) if kind == "classes" else logits > 0
    assert fit_temperature(logits, target, kind) == 1
    assert fit_temperature(logits[:0], target[:0], kind) == 1
    assert fit_temperature(logits, target, "numbers") == 1


def test_a_model_that_is_always_wrong_reaches_the_bound() -> None:
    logits = np.tile([9.0, -9.0], (1000, 1))
    assert fit_temperature(logits, np.ones(1000, dtype=int), "classes") == pytest.approx(20, rel=0.01)


def test_one_row_alone_moves_the_temperature_a_little() -> None:
    assert 1 < fit_temperature(np.array([[2.0, -2.0]]), np.array([1]), "classes") < 2


def test_few_rows_of_a_calibrated_model_change_its_probabilities_little() -> None:
    logits, target = sharpened("classes", 1.0)
    few = [slice(start, start + 12) for start in range(0, 1200, 12)]
    temperatures = [1.0, *(fit_temperature(logits[rows], target[rows], "classes") for rows in few)]
    untouched, *after = (
        row_log_loss(target, probabilities(logits, "classes", temperature=temperature)).mean()
        for temperature in temperatures
    )
    assert np.mean(after) < untouched + 0.02


def test_many_rows_decide_alone() -> None:
    logits, target = sharpened("classes", 3.0, n=1000)
    losses = {
        temperature: row_log_loss(target, probabilities(logits, "classes", temperature=temperature)).mean()
        for temperature in np.geomspace(2, 4, 400)
    }
    assert fit_temperature(logits, target, "classes") == pytest.approx(min(losses, key=losses.__getitem__), rel=0.02)


def test_the_curve_counts_every_row_once() -> None:
    logits, target = sharpened("classes", 3.0, n=500)
    curve = reliability_curve(target, probabilities(logits, "classes"))
    assert sum(each.count for each in curve) == 500
    assert all(abs(each.confidence - each.centre) <= 1 / 30 + 1e-9 for each in curve)
    gaps = [each.count / 500 * abs(each.accuracy - each.confidence) for each in curve]
    assert sum(gaps) == pytest.approx(measure(["ece"], target, probabilities(logits, "classes"))["ece"])


def test_many_probabilities_are_kept_in_a_file_and_are_the_same(monkeypatch):
    from regraft.evaluation import room

    logits = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    in_memory = probabilities(logits, "classes", temperature=1.3)
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    on_disk = probabilities(logits, "classes", temperature=1.3)
    assert isinstance(on_disk, np.memmap)
    assert np.array_equal(on_disk, in_memory)
