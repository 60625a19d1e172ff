"""The comparison with transformers' Trainer, on a few rows."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import peer_trainer
from materials import missing

_LACKING = [reason for name in ("minilm", "vader") if (reason := missing(name))]
_LACKING += [] if find_spec("peft") else ["peft is not installed"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_LACKING), reason="; ".join(_LACKING))]

_KEYS = {
    *("workload", "strategy", "peer", "epochs", "wall_ratio", "cpu_ratio", "memory_ratio", "floor_ratio"),
    *("rows", "wall_least", "wall_most", "score", "peer_score"),
}


def test_the_quick_form_gives_a_ratio_for_each_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer_trainer.main(["--quick", "--json", str(tmp_path / "ratios.json")])
    ratios = json.loads((tmp_path / "ratios.json").read_text(encoding="utf-8"))
    assert [ratio["peer"] for ratio in ratios] == ["documented", "best"]
    assert all(set(ratio) == _KEYS for ratio in ratios)
    assert all(0 < ratio[key] < float("inf") for ratio in ratios for key in _KEYS if key.endswith("ratio"))
    assert "lora-top-half" in capsys.readouterr().out
