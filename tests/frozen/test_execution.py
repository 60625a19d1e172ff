"""An execution where there is no room, where a row was damaged, and where rows cannot be what is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from regraft.errors import RecipeError
from regraft.frozen import Decision, Execution, Subject, Tap, depth_taps, features, list_stores
from regraft.pretrained import anatomy_of
from regraft.recipe import CacheOptions
from regraft.training.freeze import freeze_all_but
from tests.frozen.families import Case, case
from tests.frozen.test_exact import LOSS, batch_of, options_of, trainable


def _entered(given: Case, root: Path, options: CacheOptions) -> tuple[Execution, Decision]:
    freeze_all_but(given.subject.model, trainable(given, "top-1"))
    execution = Execution(given.subject, given.encoded, options, root=root)
    entering = execution.enter(batch_of(given, range(8)), range(8), LOSS, reads=2, poll=lambda: None)
    decision = list(entering)[-1]
    assert isinstance(decision, Decision)
    return execution, decision


def _held(root: Path) -> int:
    return sum(store["bytes"] for store in list_stores(root))


def test_rows_of_other_examples_take_no_more_room_than_is_allowed(tmp_path: Path) -> None:
    given = case("bert", tmp_path / "m")
    execution, _ = _entered(given, tmp_path / "s", options_of("always"))
    execution.close()
    most = _held(tmp_path / "s") + 100
    others = [{**row, "input_ids": row["input_ids"][::-1]} for row in given.encoded]
    execution, decision = _entered(given, tmp_path / "s", CacheOptions(store="always", max_gb=most / 1e9))
    assert decision.stored
    places = list(range(4))
    batch = given.subject.batch([others[place] for place in places])
    execution.of(others, lambda: None)(batch, places)
    execution.close()
    assert _held(tmp_path / "s") <= most


def test_what_was_filled_before_a_stop_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.frozen.rows._TOGETHER", 4)
    given = case("bert", tmp_path / "m")
    freeze_all_but(given.subject.model, trainable(given, "top-1"))
    execution = Execution(given.subject, given.encoded, options_of("always"), root=tmp_path / "s")
    entering = execution.enter(batch_of(given, range(8)), range(8), LOSS, reads=2, poll=lambda: None)
    assert (6, 12) in entering
    entering.close()  # type: ignore[attr-defined]
    execution.close()
    [store] = list_stores(tmp_path / "s")
    assert store["segments"] == 1
    execution, decision = _entered(given, tmp_path / "s", options_of("always"))
    execution.close()
    assert decision.stored
    [store] = list_stores(tmp_path / "s")
    assert store["segments"] == 3


def test_damage_is_mended_and_told(tmp_path: Path) -> None:
    given = case("bert", tmp_path / "m")
    execution, before = _entered(given, tmp_path / "s", options_of("always"))
    execution.close()
    [rows] = (tmp_path / "s").glob("*/segment-*/rows.bin")
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 1
    rows.write_bytes(content)
    execution, after = _entered(given, tmp_path / "s", options_of("always"))
    execution.close()
    assert before.reason == "proved"
    assert after.reason == "proved; 1 damaged part of the store was computed again"


def test_rows_that_fp16_cannot_hold_are_refused(tmp_path: Path) -> None:
    given = case("bert", tmp_path / "m")
    with torch.no_grad():
        given.subject.model.bert.encoder.layer[1].output.LayerNorm.weight.mul_(1e6)
    with pytest.raises(RecipeError, match="65504"):
        _entered(given, tmp_path / "s", options_of("always", "fp16"))


def _sequence_first(given: Case) -> Subject:
    """XLNet: its blocks hand on states of shape [length, batch, width]."""
    config = transformers.XLNetConfig(vocab_size=60, d_model=32, n_layer=3, n_head=2, d_inner=64, num_labels=2)
    model: Any = transformers.XLNetForSequenceClassification(config).eval()
    return replace(given.subject, model=model, anatomy=anatomy_of(model))


def test_states_that_mix_examples_are_not_taken_for_rows(tmp_path: Path) -> None:
    given = case("bert", tmp_path / "m")
    given = replace(given, subject=_sequence_first(given))
    with pytest.raises(ValueError, match="rows of an example"):
        features(
            given.subject, given.encoded, depth_taps(given.subject)[:1], CacheOptions(store="never"), root=tmp_path
        )
    execution, decision = _entered(given, tmp_path / "s", options_of("always"))
    execution.close()
    assert not decision.from_rows
    assert decision.tap == Tap(0)
