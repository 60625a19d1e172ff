"""What all tests share: stores of their own, so that no test reads what other tests have left; patience."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long examples take to make says how busy a machine is, not whether a test is sound.
settings.register_profile(
    "house", suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None
)
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_STORE", str(tmp_path_factory.mktemp("store")))
        yield
