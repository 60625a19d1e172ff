"""The learning rate range test: what is read off a curve, and what a run of it gives and leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regraft import find_rate, make_recipe
from regraft.errors import RecipeError
from regraft.fingerprint import digest
from regraft.range_test import read_off
from regraft.testing import WORDS, tiny_model, toy_table

RATES = np.geomspace(1e-6, 1.0, 100)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a table."""
    folder = tmp_path_factory.mktemp("rates")
    tiny_model(folder / "model", words=WORDS)
    toy_table(folder / "reviews.csv")
    return folder


def recipe(place: Path, strategy: Any, *overrides: str, model: str = "model") -> Any:
    return make_recipe(
        {
            "task": "text-classification",
            "data": str(place / "reviews.csv"),
            "model": {"name": str(place / model), "head": "mean"},
            "strategy": strategy,
            "training": {"precision": "fp32"},
            "output": str(place / "runs"),
        },
        overrides,
    )


def curve(*, falls: float, climbs: float, noise: float = 0.0) -> list[float]:
    """A loss of 0.7 that falls to 0.1 around one rate, and climbs from another one on."""
    logs, rng = np.log10(RATES), np.random.default_rng(0)
    fallen = 0.6 / (1 + np.exp(-6 * (logs - np.log10(falls))))
    climbed = np.exp(np.clip(4 * (logs - np.log10(climbs)), -20, 5))
    return [float(value) for value in 0.7 - fallen + climbed + rng.normal(0, noise, len(logs))]


# The curve


def test_the_rate_lies_where_the_loss_falls() -> None:
    found = read_off(RATES, curve(falls=1e-3, climbs=0.1, noise=0.02))
    assert found.steepest is not None
    assert found.tenth is not None
    assert 3e-4 < found.steepest < 1e-2
    assert 3e-4 < found.tenth < 1e-2
    assert found.diverged


def test_a_curve_that_lies_lower_gives_a_lower_rate() -> None:
    high, low = (read_off(RATES, curve(falls=at, climbs=100 * at)) for at in (1e-3, 1e-5))
    assert high.tenth is not None
    assert low.tenth is not None
    assert high.tenth / low.tenth == pytest.approx(100, rel=0.6)


def test_noise_alone_gives_no_rate() -> None:
    noise = [float(value) for value in 0.7 + np.random.default_rng(1).normal(0, 0.05, 100)]
    assert (read_off(RATES, noise).steepest, read_off(RATES, noise).tenth) == (None, None)


def test_what_the_loss_does_beyond_its_climb_does_not_count() -> None:
    losses = curve(falls=1e-3, climbs=1.0)
    lucky = [*losses[:70], *[0.6] * 10, *[0.0] * 20]
    assert read_off(RATES, lucky).tenth == read_off(RATES, [*losses[:70], *[0.6] * 30]).tenth


# The test itself


def test_a_probe_gets_a_plausible_rate(place: Path) -> None:
    found = find_rate(recipe(place, "linear-probe"))
    assert found.suggested is not None
    assert 1e-3 <= found.suggested <= 0.5
    assert [option.name for option in found.options] == ["learning_rate"]
    assert found.options[0].default == found.options[0].asked == 1e-3
    assert "AdamW" in found.options[0].source


def test_a_model_that_answers_more_loudly_gets_a_lower_rate(place: Path) -> None:
    loud = tiny_model(place / "loud", words=WORDS)
    weights = load_file(loud / "model.safetensors")
    last = max(name for name in weights if "LayerNorm.weight" in name and "layer." in name)
    save_file(weights | {last: weights[last] * 30}, loud / "model.safetensors", metadata={"format": "pt"})
    plain, louder = (find_rate(recipe(place, "linear-probe", model=model)) for model in ("model", "loud"))
    assert plain.suggested is not None
    assert louder.suggested is not None
    assert louder.suggested < plain.suggested / 5


def test_twice_and_without_a_store_the_finding_is_the_same(place: Path) -> None:
    asked = [recipe(place, {"name": "top-layers", "n": 1}, f"cache.store={store}") for store in ("always", "never")]
    stored, computed = (find_rate(each, steps=40) for each in asked)
    assert (stored.stored, computed.stored) == (True, False)
    assert stored == computed == find_rate(asked[0], steps=40)
    assert find_rate(recipe(place, {"name": "top-layers", "n": 1}, "seed=1"), steps=40) != stored


def test_nothing_stays_and_nothing_is_changed(place: Path) -> None:
    def contents() -> dict[str, str]:
        return {str(path): digest(path.read_bytes().hex()) for path in sorted(place.rglob("*")) if path.is_file()}

    before = contents()
    find_rate(recipe(place, "full"), steps=30)
    assert contents() == before
    assert not (place / "runs").exists()


def test_all_rates_of_a_phase_keep_their_proportion(place: Path) -> None:
    asked = {"name": "full", "learning_rate": 1e-3, "head_learning_rate": 4e-3}
    found = find_rate(recipe(place, asked))
    body, head = found.options
    assert (body.name, head.name) == ("learning_rate", "head_learning_rate")
    assert (body.default, head.default) == (5e-5, None)
    assert body.suggested is not None
    assert head.suggested == pytest.approx(4 * body.suggested, rel=0.05)


def test_of_several_phases_the_first_is_tried_and_its_option_named(place: Path) -> None:
    found = find_rate(recipe(place, {"name": "probe-then-tune", "probe_learning_rate": 5e-5}), steps=30)
    assert ([option.name for option in found.options], found.phase, found.phases) == (["probe_learning_rate"], 1, 2)
    assert found.untried == ("learning_rate",)


@pytest.mark.parametrize("strategy", ["contrastive", {"name": "probe-then-tune", "probe": "fitted"}])
def test_nothing_is_untried_where_the_other_phase_is_a_fit(strategy: Any, place: Path) -> None:
    assert find_rate(recipe(place, strategy), steps=30).untried == ()


def test_a_strategy_that_takes_no_steps_is_refused(place: Path) -> None:
    with pytest.raises(RecipeError, match="logistic takes no steps"):
        find_rate(recipe(place, "logistic"))


def test_random_numbers_do_not_matter(place: Path) -> None:
    torch.manual_seed(1)
    first = find_rate(recipe(place, "linear-probe"), steps=30)
    torch.manual_seed(2)
    assert find_rate(recipe(place, "linear-probe"), steps=30) == first
