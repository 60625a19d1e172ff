"""What the tests of the materials share: an empty cache, and a pip that reaches nothing."""

from pathlib import Path

import pytest

import materials


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test's own."""
    root = tmp_path / "cache"
    monkeypatch.setenv("REGRAFT_CACHE", str(root))
    return root


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages: an empty folder, no network."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Path:
    """The folder of the material that a file of tests is about, its MATERIAL; without it they are skipped."""
    if reason := materials.missing(request.module.MATERIAL):
        pytest.skip(reason)
    return materials.folder(request.module.MATERIAL)
