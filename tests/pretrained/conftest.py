"""What the tests of pretrained models share: a tiny model's folder to copy, and one of each family."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.testing import WORDS, tiny_model


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of a family; only to be read."""
    root = tmp_path_factory.mktemp("families")

    def folder(family: str) -> Path:
        path = root / family
        return path if path.exists() else tiny_model(path, family=family, words=WORDS)

    return folder


@pytest.fixture
def model(tmp_path: Path, families: Callable[[str], Path]) -> Path:
    """The folder of a tiny BERT of this test's own, to be spoiled."""
    return Path(shutil.copytree(families("bert"), tmp_path / "model"))
