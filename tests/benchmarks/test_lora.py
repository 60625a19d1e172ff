"""LoRA from the store beside Trainer with peft, on a few rows."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import lora
from materials import missing

_LACKING = [reason for name in ("minilm", "vader") if (reason := missing(name))]
_LACKING += [] if find_spec("peft") else ["peft is not installed"]


@pytest.mark.slow
@pytest.mark.skipif(bool(_LACKING), reason="; ".join(_LACKING))
def test_the_quick_form_gives_ratios_and_the_losses_are_those_of_the_peer(tmp_path: Path) -> None:
    lora.main(["--quick", "--json", str(tmp_path / "lora.json")])
    found = json.loads((tmp_path / "lora.json").read_text(encoding="utf-8"))
    (times,), (losses,) = found["times"], found["losses"]
    assert times["precision"] == times["peer_precision"] == "fp32"
    assert all(0 < times[f"{figure}_ratio"] < float("inf") for figure in lora.FIGURES)
    assert losses["steps"] == 2 * 2
    assert losses["largest_difference"] <= 1e-4
    assert losses["largest_relative"] <= 1e-4


@pytest.mark.parametrize("asked", [["--rows", "33"], ["--epochs", "1"]])
def test_what_could_not_be_compared_is_refused(asked: list[str]) -> None:
    with pytest.raises(SystemExit):
        lora.main(asked)
