"""R2 with augmented texts: stops, worker processes and stores change no bit of what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from regraft import make_recipe
from regraft.preparation import Prepared, prepare
from regraft.testing import WORDS, tiny_model, toy_table
from tests.tasks.test_text_views import with_head
from tests.training.stage import bits, loop_of
from tests.training.test_exact import Countdown, _broken, _whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a masked-LM head, and pairs of texts."""
    place = tmp_path_factory.mktemp("texts")
    with_head(tiny_model(place / "plain", words=WORDS), place / "model")
    toy_table(place / "pairs.jsonl", kind="pairs", rows=72)
    return place


def _prepared(folder: Path, **sections: Any) -> Prepared:
    base: dict[str, Any] = {
        "task": "text-classification",
        "model": str(folder / "model"),
        "data": {"train": str(folder / "pairs.jsonl"), "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "strategy": {"name": "full", "learning_rate": 1e-3},
        "augmentation": {"policy": "strong", "masked_words": 0.1},
        "training": {"epochs": 2, "precision": "fp32", "checkpoint": {"every": 1000}},
        "seed": 3,
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return prepare(make_recipe(base))


def test_a_stop_with_two_workers_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    expected = _whole(_prepared(folder), tmp_path / "whole", Countdown())
    for at in (2, 6):
        again = _prepared(folder, training={"workers": 2})
        assert _broken(again, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


def test_a_stop_among_views_that_take_turns_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "augmentation": {"views": 2},
        "strategy": {"name": "top-layers", "n": 1},
        "training": {"epochs": 4},
    }
    expected = _whole(_prepared(folder, **asked), tmp_path / "whole", Countdown())
    assert _broken(_prepared(folder, **asked), tmp_path / "stopped", 9) == expected


@pytest.mark.parametrize("strategy", [{"name": "linear-probe"}, {"name": "top-layers", "n": 1}])
def test_stored_views_and_computed_views_give_the_same_bits(
    folder: Path, tmp_path: Path, strategy: dict[str, Any]
) -> None:
    found = {}
    for store in ("always", "never"):
        prepared = _prepared(
            folder,
            augmentation={"views": 2},
            strategy=strategy,
            training={"epochs": 4},
            cache={"store": store},
        )
        loop, model = loop_of(prepared, tmp_path / store)
        events = [event.values for event in loop.events() if event.name == "execution"]
        assert [each["from_rows"] for each in events] == [True]
        assert [each["stored"] for each in events] == [store == "always"]
        found[store] = bits(model, tmp_path / store)
    assert found["always"] == found["never"]


def test_an_augmented_run_learns_other_weights_than_a_plain_one(folder: Path, tmp_path: Path) -> None:
    varied = _whole(_prepared(folder), tmp_path / "varied", Countdown())
    off = {"policy": "none", "masked_words": 0.0}
    assert _whole(_prepared(folder, augmentation=off), tmp_path / "plain", Countdown()) != varied
