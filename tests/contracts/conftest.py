"""What the contracts share: runs that are made once."""

from __future__ import annotations

import pytest

from tests.contracts.runs import Runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every run that a test asks for, made once in a worker."""
    return Runs(tmp_path_factory.mktemp("contracts"))
