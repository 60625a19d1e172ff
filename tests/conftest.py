"""What all tests share: stores of their own, so that no test reads what another session has left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_STORE", str(tmp_path_factory.mktemp("store")))
        yield
