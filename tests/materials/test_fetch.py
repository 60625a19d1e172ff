"""A file is the pinned one, or there is one clear message and nothing is left behind."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from materials.catalog import MATERIALS
from materials.errors import DamagedMaterial, MissingMaterial
from materials.fetch import Package, download
from regraft.fingerprint import file_sha256

ROOT = Path(__file__).parents[2]


def materials(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m materials`` in a process of its own."""
    command = [sys.executable, "-m", "materials", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def make_wheel(folder: Path, name: str) -> Package:
    """Put a wheel without code into ``folder``."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return Package(name=name, version="1.0", file=path.name, sha256=file_sha256(path))


def test_a_pinned_file_is_fetched(shelf: Path, tmp_path: Path) -> None:
    package = make_wheel(shelf, "toy")
    path = download(package, tmp_path)
    assert path.name == package.file
    assert file_sha256(path) == package.sha256


def test_another_hash_is_refused(shelf: Path, tmp_path: Path) -> None:
    package = replace(make_wheel(shelf, "toy"), sha256="0" * 64)
    with pytest.raises(DamagedMaterial, match="toy-1.0-py3-none-any.whl is not the file that was pinned"):
        download(package, tmp_path)


def test_a_file_that_cannot_be_had_is_named(shelf: Path, tmp_path: Path) -> None:
    package = Package(name="toy", version="1.0", file="toy-1.0.tar.gz", sha256="0" * 64)
    with pytest.raises(MissingMaterial, match=r"toy-1\.0\.tar\.gz is missing") as caught:
        download(package, tmp_path)
    assert "PIP_FIND_LINKS" in str(caught.value)


@pytest.mark.parametrize(("registry", "tool"), [("npm", "npm"), ("debian", "apt-get")])
def test_where_a_registrys_tool_is_missing_the_message_names_both(
    registry: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = Package(name="toy", version="1.0", file="toy-1.0.bin", sha256="0" * 64, registry=registry)
    with pytest.raises(MissingMaterial, match=r"toy-1\.0\.bin is missing") as caught:
        download(package, tmp_path)
    assert f"{tool} is not installed here" in str(caught.value)
    assert "REGRAFT_SHELF" in str(caught.value)


@pytest.mark.parametrize("registry", ["pypi", "npm", "debian"])
def test_any_file_is_taken_from_the_shelf_and_checked(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "toy-1.0.bin").write_bytes(b"toy")
    monkeypatch.setenv("REGRAFT_SHELF", str(tmp_path / "shelf"))
    pinned = file_sha256(tmp_path / "shelf" / "toy-1.0.bin")
    package = Package(name="toy", version="1.0", file="toy-1.0.bin", sha256=pinned, registry=registry)
    assert download(package, tmp_path).read_bytes() == b"toy"
    with pytest.raises(DamagedMaterial):
        download(replace(package, sha256="0" * 64), tmp_path)


@pytest.mark.parametrize(
    "tags", ["cp39-cp39-manylinux_2_17_x86_64.manylinux2014_x86_64", "py3-none-macosx_11_0_arm64", "py3-none-win_amd64"]
)
def test_a_wheel_for_another_python_or_system_is_fetched_all_the_same(shelf: Path, tmp_path: Path, tags: str) -> None:
    pure = make_wheel(shelf, "toy")
    name = f"toy-1.0-{tags}.whl"
    (shelf / pure.file).rename(shelf / name)
    assert download(replace(pure, file=name), tmp_path).name == name


def test_offline_is_exit_5_and_names_the_file(cache: Path, shelf: Path) -> None:
    outcome = materials("vader")
    assert outcome.returncode == 5
    assert outcome.stdout == ""
    assert "vaderSentiment-3.3.2.tar.gz is missing" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert os.listdir(cache / "materials") == []


def test_an_altered_package_is_exit_3_and_leaves_nothing(cache: Path, shelf: Path) -> None:
    (shelf / "vaderSentiment-3.3.2.tar.gz").write_bytes(b"not the pinned archive")
    outcome = materials("vader")
    assert outcome.returncode == 3
    assert "vaderSentiment-3.3.2.tar.gz is not the file that was pinned" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert os.listdir(cache / "materials") == []


def test_a_cache_that_cannot_be_written_is_exit_5(shelf: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    outcome = materials("vader")
    assert outcome.returncode == 5
    assert "cannot be written" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_an_unknown_name_is_exit_2_and_suggests_the_nearest(cache: Path, shelf: Path) -> None:
    outcome = materials("minilm", "vadr")
    assert outcome.returncode == 2
    assert "Did you mean vader?" in outcome.stderr
    assert not cache.exists()


def test_the_list_says_what_is_here(cache: Path) -> None:
    outcome = materials("--list")
    assert outcome.returncode == 0
    assert [line.split()[:2] for line in outcome.stdout.splitlines()] == [[name, "not"] for name in MATERIALS]
