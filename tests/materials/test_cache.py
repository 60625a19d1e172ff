"""A material stands in the cache whole, or not at all."""

import os
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from materials.cache import build, folder, is_whole
from regraft.run import cache_root

ORIGIN = {"name": "toy", "revision": 1}


def fill(target: Path, scratch: Path) -> None:
    (scratch / "download.bin").write_bytes(b"raw")
    (target / "sub").mkdir()
    (target / "sub" / "data.txt").write_text("content")


def slow_fill(target: Path, scratch: Path) -> None:
    fill(target, scratch)
    time.sleep(0.1)


def build_and_check(force: bool) -> bool:
    build(folder("toy"), ORIGIN, slow_fill, force=force)
    return is_whole(folder("toy"), ORIGIN)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", "/a")
    assert cache_root() == Path("/a")
    monkeypatch.delenv("REGRAFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_root() == Path("/b/regraft")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert folder("toy") == Path("/c/.cache/regraft/materials/toy")


def test_a_build_leaves_the_material_and_nothing_else(cache: Path) -> None:
    build(folder("toy"), ORIGIN, fill)
    assert is_whole(folder("toy"), ORIGIN)
    assert (folder("toy") / "sub" / "data.txt").read_text() == "content"
    assert os.listdir(folder("toy").parent) == ["toy"]


def test_a_failure_leaves_nothing(cache: Path) -> None:
    def fail(target: Path, scratch: Path) -> None:
        fill(target, scratch)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        build(folder("toy"), ORIGIN, fail)
    assert os.listdir(folder("toy").parent) == []


def test_a_failure_keeps_what_was_there(cache: Path) -> None:
    def fail(target: Path, scratch: Path) -> None:
        raise RuntimeError("at once")

    build(folder("toy"), ORIGIN, fill)
    with pytest.raises(RuntimeError):
        build(folder("toy"), ORIGIN, fail, force=True)
    assert is_whole(folder("toy"), ORIGIN)


@pytest.mark.parametrize("harm", ["cut", "missing", "manifest", "garbage", "revision"])
def test_a_folder_that_is_not_whole_is_seen_and_made_again(cache: Path, harm: str) -> None:
    place, origin = folder("toy"), dict(ORIGIN)
    build(place, origin, fill)
    match harm:
        case "cut":
            (place / "sub" / "data.txt").write_text("cont")
        case "missing":
            (place / "sub" / "data.txt").unlink()
        case "manifest":
            (place / "materials.json").unlink()
        case "garbage":
            (place / "materials.json").write_text("[1")
        case "revision":
            origin["revision"] = 2
    assert not is_whole(place, origin)
    build(place, origin, fill)
    assert is_whole(place, origin)
    assert os.listdir(place.parent) == ["toy"]


def test_what_a_killed_process_left_is_removed_after_a_day(cache: Path) -> None:
    old, young = (folder("toy").parent / name for name in (".toy-old", ".toy-young"))
    for left in (old, young):
        left.mkdir(parents=True)
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    build(folder("toy"), ORIGIN, fill)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("force", [False, True])
def test_processes_that_build_the_same_do_not_disturb_each_other(cache: Path, force: bool) -> None:
    with get_context("spawn").Pool(4) as pool:
        outcomes = pool.map(build_and_check, [force] * 8, chunksize=1)
    if not force:  # with force, a look may fall between another process's two renames
        assert all(outcomes)
    assert is_whole(folder("toy"), ORIGIN)
    assert os.listdir(folder("toy").parent) == ["toy"]
