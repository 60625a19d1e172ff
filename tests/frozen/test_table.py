"""What the README says of each family is what the code decides."""

from __future__ import annotations

from pathlib import Path

import pytest

import regraft.frozen
from regraft.frozen import Decision, Execution
from regraft.pretrained import fast_attention
from regraft.training.freeze import freeze_all_but
from tests.frozen.families import KINDS, Case, case
from tests.frozen.test_exact import LOSS, batch_of, options_of, trainable

STRATEGIES = ("full", "top-1", "linear-probe")


def _told(decision: Decision) -> str:
    """A decision in the words of the table."""
    taken = decision.shortcuts
    words = {
        "pooled": decision.tap.reading == "pooled",
        "rows": decision.from_rows and not taken.one_row and decision.tap.reading != "pooled",
        "one row" if decision.tap.reading != "mean" else "the mean": taken.one_row,
        "no stem": taken.bypass_stem,
        "read": taken.read_rows or decision.tap.alone,
    }
    return ", ".join(word for word, holds in words.items() if holds) or "whole"


def _line(given: Case, family: str, root: Path) -> str:
    model, anatomy = given.subject.model, given.subject.anatomy
    everything = {*anatomy.parameters} - anatomy.unused
    told = []
    with fast_attention(model) as fast:
        for strategy in STRATEGIES:
            freeze_all_but(model, everything if strategy == "full" else trainable(given, strategy))
            execution = Execution(given.subject, given.encoded, options_of("never"), root=root)
            entering = execution.enter(batch_of(given, range(8)), range(8), LOSS, reads=2, poll=lambda: None)
            decision = list(entering)[-1]
            assert isinstance(decision, Decision)
            told.append(_told(decision))
            execution.close()
    return " | ".join([family, "ours" if fast else "its own", *told])


@pytest.mark.parametrize("family", KINDS)
def test_the_readme_says_which_short_cuts_a_family_takes(family: str, tmp_path: Path) -> None:
    readme = Path(regraft.frozen.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert f"| {_line(case(family, tmp_path / 'm'), family, tmp_path / 's')} |" in readme.splitlines()
