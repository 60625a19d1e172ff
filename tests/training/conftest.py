"""What the tests of training share: one stage for all, and the result of one run that nothing disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from regraft import tune
from regraft.run import Run
from tests.training.stage import Stage, make_stage, result_of


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A tiny model and a toy table; nobody changes them."""
    return make_stage(tmp_path_factory.mktemp("stage"))


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing disturbed, and its result."""

    run: Run
    result: dict[str, Any]


@pytest.fixture(scope="session")
def unbroken(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The usual recipe from start to end. Only to be read, or copied."""
    run = tune(stage.recipe(tmp_path_factory.mktemp("unbroken"))).run
    return Unbroken(run, result_of(run))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder that this test's runs are made in."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder
