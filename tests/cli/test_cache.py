"""regraft cache: what is stored is listed, and removed where nobody uses it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch

from regraft.frozen import Store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two stores, the second used ten days ago."""
    monkeypatch.setenv("REGRAFT_STORE", str(tmp_path / "store"))
    for height in (1, 2):
        key = {"model": "bert", "height": height, "reading": "all"}
        with Store(tmp_path / "store", key, torch.float32) as store:
            with store.filling(), store.adding() as add:
                add(b"a row of 16 byte", torch.ones(height, 8))
            folder = store.folder
    long_ago = time.time() - 10 * 86_400
    os.utime(folder / "store.json", (long_ago, long_ago))
    return tmp_path / "store"


def names(root: Path) -> list[str]:
    return [path.parent.name for path in root.glob("*/store.json")]


def test_stores_are_listed_with_their_size_and_what_they_are_of(command, root):
    answer = command("cache")
    lines = answer.out.splitlines()
    assert lines[0].split() == ["store", "size", "model", "blocks", "rows", "type", "used"]
    told = [line.split()[3:7] for line in lines[1:3]]
    assert told == [["bert", "1", "all", "float32"], ["bert", "2", "all", "float32"]]
    assert lines[3].startswith("2 stores")


def test_json_gives_bytes_and_the_whole_key(command, root):
    found = json.loads(command("cache", "--json").out)
    assert [store["height"] for store in found["stores"]] == [1, 2]
    assert found["bytes"] == sum(store["bytes"] for store in found["stores"]) > 0


def test_nothing_stored_is_said(command, tmp_path, monkeypatch):
    monkeypatch.setenv("REGRAFT_STORE", str(tmp_path / "none"))
    assert command("cache").out.startswith("nothing is stored")
    assert command("cache", "clear", "--all").out.startswith("removed 0")


def test_a_store_is_removed_by_the_beginning_of_its_name(command, root):
    doomed, other = names(root)
    assert "removed 1" in command("cache", "clear", doomed[:12]).out
    assert names(root) == [other]


def test_stores_not_used_for_some_days_are_removed(command, root):
    assert "removed 1" in command("cache", "clear", "--older-than", "7").out
    assert len(names(root)) == 1


def test_a_store_in_use_is_told_of_and_stays(command, root):
    with Store(root, {"model": "bert", "height": 1, "reading": "all"}, torch.float32) as store:
        answer = command("cache", "clear", "--all")
        assert names(root) == [store.folder.name]
    assert f"{store.folder.name[:12]} is in use" in answer.out
    assert "removed 1" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clear"], "clear which stores?"),
        (["clear", "--all", "--older-than", "3"], "clear which stores?"),
        (["clear", "nonsense"], "no store begins with 'nonsense'"),
        (["remove"], "not understood"),
        (["--all"], "not understood"),
    ],
)
def test_what_is_not_clear_is_asked_back(command, root, words, said):
    answer = command("cache", *words)
    assert answer.code == 2
    assert said in answer.err
    assert len(names(root)) == 2
