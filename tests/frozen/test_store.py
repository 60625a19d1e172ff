"""The store: whole rows or none, never a wrong one, never more than allowed, and nobody pulls it from under another."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from regraft.fingerprint import encoded_id
from regraft.frozen import Store, list_stores, make_room, remove_store

KEY = {"model": "bert", "weights": "0" * 64, "height": 2, "reading": "all"}


def _rows(count: int, *, seed: int = 0) -> dict[bytes, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        encoded_id({"input_ids": [seed, number]}): torch.randn(number + 1, 8, generator=generator)
        for number in range(count)
    }


def _add(store: Store, rows: Mapping[bytes, Tensor]) -> None:
    with store.filling(), store.adding() as add:
        for name, tensor in rows.items():
            add(name, tensor)


def _made(root: Path, rows: Mapping[bytes, Tensor], dtype: torch.dtype = torch.float32, **key: object) -> Path:
    with Store(root, {**KEY, **key}, dtype) as store:
        _add(store, rows)
    return store.folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_come_back_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    rows = _rows(9)
    _made(tmp_path, rows, dtype)
    with Store(tmp_path, KEY, dtype) as store:
        assert store.missing(list(rows)) == []
        assert all(torch.equal(store[name], tensor.to(dtype)) for name, tensor in rows.items())


def test_another_key_or_type_is_another_store(tmp_path: Path) -> None:
    rows = _rows(3)
    _made(tmp_path, rows)
    for key, dtype in (({**KEY, "height": 3}, torch.float32), (KEY, torch.bfloat16)):
        with Store(tmp_path, key, dtype) as store:
            assert store.missing(list(rows)) == [0, 1, 2]


def test_only_what_is_new_is_missing(tmp_path: Path) -> None:
    old, new = _rows(3), _rows(5, seed=1)
    folder = _made(tmp_path, old)
    with Store(tmp_path, KEY, torch.float32) as store:
        wanted = [*old, *new, *new]
        assert store.missing(wanted) == [3, 4, 5, 6, 7]
        _add(store, new)
        assert store.missing(wanted) == []
    assert len(list(folder.glob("segment-*"))) == 2


def test_rows_that_were_not_published_do_not_exist(tmp_path: Path) -> None:
    rows = _rows(3)
    with Store(tmp_path, KEY, torch.float32) as store:
        with pytest.raises(ZeroDivisionError):
            _fail_half_way(store, rows)
        assert store.missing(list(rows)) == [0, 1, 2]
        assert not list(store.folder.glob(".tmp-*"))


def _fail_half_way(store: Store, rows: Mapping[bytes, Tensor]) -> None:
    with store.filling(), store.adding() as add:
        add(*next(iter(rows.items())))
        raise ZeroDivisionError


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    folder = _made(tmp_path, _rows(2))
    (folder / ".tmp-12345678").mkdir()
    (folder / ".tmp-12345678" / "rows.bin").write_bytes(b"half")
    with Store(tmp_path, KEY, torch.float32) as store:
        _add(store, _rows(1, seed=1))
    assert not list(folder.glob(".tmp-*"))


@pytest.mark.parametrize("file", ["rows.bin", "index.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", ["bit", "truncated", "empty", "gone"])
def test_no_wrong_row_is_ever_read(tmp_path: Path, file: str, harm: str) -> None:
    rows = _rows(12)
    folder = _made(tmp_path, rows)
    for position in range(8 if harm == "bit" else 1):
        _harm(folder / "segment-000001" / file, harm, position)
        with Store(tmp_path, KEY, torch.float32) as store:
            lacking = set(store.missing(list(rows)))
            assert lacking, f"{harm} of {file} was not noticed"
            for number, (name, tensor) in enumerate(rows.items()):
                if number not in lacking:
                    assert torch.equal(store[name], tensor)
            _add(store, {name: tensor for number, (name, tensor) in enumerate(rows.items()) if number in lacking})
            assert store.missing(list(rows)) == []
            assert all(torch.equal(store[name], tensor) for name, tensor in rows.items())
        remove_store(folder)
        _made(tmp_path, rows)


def _harm(path: Path, harm: str, position: int) -> None:
    content = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
        return
    if harm == "bit":
        content[(position * 7919 + 3) % len(content)] ^= 1 << (position % 8)
    path.write_bytes(bytes(content) if harm == "bit" else bytes(content[: len(content) // 2 if harm != "empty" else 0]))


def test_who_comes_second_waits_and_finds_the_rows(tmp_path: Path) -> None:
    rows = _rows(4)
    lacking: list[list[int]] = []
    with Store(tmp_path, KEY, torch.float32) as first, Store(tmp_path, KEY, torch.float32) as second:

        def fill_second() -> None:
            with second.filling():
                lacking.append(second.missing(list(rows)))

        with first.filling():
            other = threading.Thread(target=fill_second)
            other.start()
            with first.adding() as add:
                for name, tensor in rows.items():
                    add(name, tensor)
            assert not lacking
        other.join(10)
    assert lacking == [[]]


def test_a_store_in_use_is_not_removed(tmp_path: Path) -> None:
    folder = _made(tmp_path, _rows(2))
    with Store(tmp_path, KEY, torch.float32):
        assert not remove_store(folder)
    assert remove_store(folder)
    assert not folder.exists()


def test_room_is_made_by_what_was_used_longest_ago(tmp_path: Path) -> None:
    folders = [_made(tmp_path, _rows(20), height=height) for height in range(3)]
    for age, folder in zip((300, 100, 200), folders, strict=True):
        moment = (folder / "store.json").stat().st_mtime - age
        os.utime(folder / "store.json", (moment, moment))
    size = list_stores(tmp_path)[0]["bytes"]
    assert make_room(tmp_path, size, most=3 * size, keep=[tmp_path / "new"]) is None
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_without_room_the_reason_is_said(tmp_path: Path) -> None:
    folder = _made(tmp_path, _rows(20))
    with Store(tmp_path, KEY, torch.float32):
        reason = make_room(tmp_path, 10**6, most=10**6, keep=[tmp_path / "new"])
    assert reason is not None
    assert "cache.max_gb" in reason
    assert folder.exists()
    assert "the disk has room" in str(make_room(tmp_path, 10**18, most=10**19, keep=[folder]))


def test_the_list_says_what_is_there(tmp_path: Path) -> None:
    _made(tmp_path, _rows(5))
    (store,) = list_stores(tmp_path)
    assert store["model"] == "bert"
    assert store["bytes"] > 5 * 8 * 4
    assert store["dtype"] == "torch.float32"


def test_nothing_is_removed_for_what_can_never_fit(tmp_path: Path) -> None:
    folders = [_made(tmp_path, _rows(4), height=height) for height in range(3)]
    assert make_room(tmp_path, 10**9, most=10**6, keep=[tmp_path / "new"]) is not None
    assert all(folder.exists() for folder in folders)


def test_nothing_is_removed_where_nothing_is_wanted(tmp_path: Path) -> None:
    folder = _made(tmp_path, _rows(4))
    assert make_room(tmp_path, 0, most=1, keep=[tmp_path / "new"]) is None
    assert folder.exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", ""])
def test_a_damaged_description_is_listed_and_can_be_removed(tmp_path: Path, content: str) -> None:
    folder = _made(tmp_path, _rows(4))
    (folder / "store.json").write_text(content)
    (told,) = list_stores(tmp_path)
    assert told["model"] == "damaged"
    assert told["bytes"] > 0
    assert remove_store(folder)


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    with Store(tmp_path, KEY, torch.float32) as first, Store(tmp_path, KEY, torch.float32) as second:
        with first.filling(), pytest.raises(InterruptedError), second.filling(stop):
            pass
        with second.filling(stop):
            pass


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    """The folder of all stores may be anywhere, and hold other things."""
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "a.txt").write_text("dear", encoding="utf-8")
    (tmp_path / ".tmp-mine").mkdir()
    folder = _made(tmp_path, _rows(3))
    [listed] = list_stores(tmp_path)
    assert listed["store"] == folder.name
    assert make_room(tmp_path, 10, most=10, keep=[]) is None
    assert not folder.exists()
    assert (letters / "a.txt").exists()
    assert (tmp_path / ".tmp-mine").exists()


def test_what_is_no_segment_is_left_alone(tmp_path: Path) -> None:
    folder = _made(tmp_path, _rows(2))
    (folder / "segment-foo").write_text("a note", encoding="utf-8")
    (folder / "segment-backup").mkdir()
    with Store(tmp_path, KEY, torch.float32) as store:
        _add(store, _rows(1, seed=1))
        assert store.damaged == 0
    assert {path.name for path in folder.glob("segment-*")} == {
        "segment-000001", "segment-000002", "segment-backup", "segment-foo"
    }  # fmt: skip


def test_nothing_is_removed_where_what_is_in_use_would_have_to_go(tmp_path: Path) -> None:
    old = _made(tmp_path, _rows(3), height=1)
    with Store(tmp_path, KEY, torch.float32) as store:
        _add(store, _rows(9))
        assert make_room(tmp_path, 10, most=10, keep=[]) is not None
    assert old.exists()


def test_what_a_killed_process_left_counts(tmp_path: Path) -> None:
    folder = _made(tmp_path, _rows(3))
    [before] = list_stores(tmp_path)
    (folder / ".tmp-dead").mkdir()
    (folder / ".tmp-dead" / "rows.bin").write_bytes(bytes(1000))
    [after] = list_stores(tmp_path)
    assert after["bytes"] == before["bytes"] + 1000
