"""Families that write, hear and speak: a stop changes no bit, nor does the store, nor how a step is cut into passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.preparation import Prepared, prepare
from regraft.testing import LANGUAGE_MODELS, LISTENERS, TRANSLATORS, VOICES
from tests.contracts.runs import Cell, Runs
from tests.training.stage import bits, loop_of
from tests.training.test_exact import Countdown, _broken, _whole

CELLS = [
    *(Cell("text-generation", "completions", "full", family) for family in LANGUAGE_MODELS),
    *(Cell("translation", "translations", "full", family) for family in TRANSLATORS),
    *(Cell("automatic-speech-recognition", "transcripts", "full", family) for family in LISTENERS),
    *(Cell("text-to-speech", "speech", "full", family) for family in VOICES),
]
# What of each kind is frozen so that there is something to store.
FREEZES = {
    "text-generation": "strategy={name: top-layers, n: 1}",
    "translation": "strategy.freeze=encoder",
    "automatic-speech-recognition": "strategy={name: top-layers, n: 1}",
    "text-to-speech": "strategy={name: top-layers, n: 1}",
}
# Those whose rows cannot be stored, and the reason that is told.
DECLINED = {
    "wav2vec2": "of unequal length",  # norms that run over time, so that padding would change them
    "hubert": "of unequal length",
}


def _prepared(runs: Runs, cell: Cell, *overrides: str) -> Prepared:
    usual = ("training.epochs=2", "training.checkpoint.every=1000", "strategy.learning_rate=1e-3")
    return prepare(runs.recipe(cell, *usual, *overrides))


@contextmanager
def _without_chance() -> Iterator[None]:
    """While this lasts torch draws the middle of everything: what is drawn otherwise differs from pass to pass."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *size, **kind: torch.zeros(*size, **kind))
        patch.setattr(torch, "randn_like", torch.zeros_like)
        patch.setattr(torch, "rand", lambda *size, **kind: torch.zeros(*size, **kind))
        patch.setattr(torch, "bernoulli", lambda like, **_: torch.ones_like(like))
        yield


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_stop_changes_no_bit(cell: Cell, runs: Runs, tmp_path: Path) -> None:
    prepared = _prepared(runs, cell)
    expected = _whole(prepared, tmp_path / "whole", Countdown())
    for at in (2, 7):
        assert _broken(prepared, tmp_path / f"at-{at}", at) == expected, f"stopped at poll {at}"


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_stored_rows_change_no_bit_or_there_are_none(cell: Cell, runs: Runs, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for store in ("always", "never"):
        prepared = _prepared(runs, cell, FREEZES[cell.task], "augmentation={}", f"cache.store={store}")
        loop, model = loop_of(prepared, tmp_path / store)
        (decided,) = [event.values for event in loop.events() if event.name == "execution"]
        found[store] = bits(model, tmp_path / store)
        declined = DECLINED.get(cell.family)
        assert decided["from_rows"] == (declined is None), decided["reason"]
        assert decided["stored"] == (declined is None and store == "always")
        assert (declined or "") in decided["reason"]
    assert found["always"] == found["never"]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_smaller_passes_give_the_same_losses(cell: Cell, runs: Runs, tmp_path: Path) -> None:
    losses = []
    for number in (1, 3):
        passes = (f"training.accumulation={number}", "training.batch_size=9", "training.epochs=1", "augmentation={}")
        with _without_chance():
            prepared = _prepared(runs, cell, "model.dropout=0", "strategy.learning_rate=1e-4", *passes)
            loop, _ = loop_of(prepared, tmp_path / str(number))
            losses.append([event.values["loss"] for event in loop.events() if event.name == "step"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_the_families_that_the_readme_names_are_among_them() -> None:
    named = {"gpt2-lm", "llama-lm", "qwen3-lm", "t5", "mt5", "bart", "mbart", "marian", "m2m_100"}
    heard = {"whisper", "wav2vec2", "hubert", "speecht5", "vits"}
    assert named | heard <= {cell.family for cell in CELLS}
