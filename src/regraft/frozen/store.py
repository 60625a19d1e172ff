"""Rows of hidden states on disk: whole or not there, appended to, shared between processes, never more than allowed.

    CACHE/store/KEY/
      store.json                  what decides the bytes: written first, for people and for `regraft cache`
      segment-000001/             rows that were added together; renamed to this name when all of it is on disk
        rows.bin                  the rows of one example after the other, unpadded
        index.safetensors         whose they are, where they begin, how many, and a hash of each
        manifest.json             sizes and hashes of the two

The key of a store is the hash of what decides its bytes; the key of a row is the hash of what the model was given.
Labels are in neither. Every row is compared with its hash before it is used for the first time in a process.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft.errors import ResourceError
from regraft.fingerprint import digest, file_sha256
from regraft.run import cache_root, read_json, storage, sync_folder, write_durably, write_json

_FORMAT = 2  # of the files, and of the bits: to be raised whenever rows are computed otherwise
_PATIENCE = 0.1  # seconds between looks at a lock that another process holds
_ID = 16  # bytes of a row's key
_NAME = re.compile(r"[0-9a-f]{32}")  # what a store's folder is called; everything else belongs to somebody else
_SEGMENT = "segment-" + "[0-9]" * 6  # what a segment is called; nothing else in a store is looked at
_DOOMED = ".removed-"
_SPARE = 0.05  # share of a disk that is left free


@dataclass(frozen=True)
class _Place:
    segment: int
    start: int  # in bytes
    shape: tuple[int, ...]
    check: bytes


class Store:
    """The rows of one key. Use it in a ``with`` block: for as long nobody else removes it.

    Args:
        root: the folder of all stores.
        key: whatever decides the bytes of a row, as JSON values.
        dtype: of the stored numbers.
    """

    def __init__(self, root: Path, key: Mapping[str, Any], dtype: torch.dtype) -> None:
        self.key, self.dtype = dict(key), dtype
        self.folder = root / digest([_FORMAT, self.key, str(dtype)])[:32]
        self._places: dict[bytes, _Place] = {}
        self._segments: list[NDArray[np.uint8]] = []
        self._names: set[str] = set()
        self._sound: set[bytes] = set()
        self._use: IO[bytes] | None = None
        self.damaged = 0  # rows and segments that were not as they were written

    def __enter__(self) -> Store:
        self._use = _used(self.folder)
        try:
            if not (self.folder / "store.json").is_file():
                write_json(self.folder / "store.json", {"format": _FORMAT, "dtype": str(self.dtype), "key": self.key})
            os.utime(self.folder / "store.json")  # used last now
            self.refresh()
        except BaseException:
            self._use.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._places.clear()
        self._segments.clear()
        self._names.clear()
        if self._use is not None:
            self._use.close()

    def refresh(self) -> None:
        """See what other processes have added; a segment that is damaged is removed, and its rows are missing."""
        for folder in sorted(self.folder.glob(_SEGMENT)):
            if folder.name in self._names:
                continue
            try:
                self._open(folder)
            except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
                self.damaged += 1
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:  # it may pass, and others may be reading it
                continue

    def missing(self, ids: Sequence[bytes]) -> list[int]:
        """The positions of those that are not here, or whose bytes are not what they were; each key once."""
        seen: set[bytes] = set()
        lacking = []
        for position, name in enumerate(ids):
            if name not in seen and not self._is_sound(name):
                lacking.append(position)
            seen.add(name)
        return lacking

    def __getitem__(self, name: bytes) -> Tensor:
        """The rows of an example, a view of the file."""
        place = self._places[name]
        count = math.prod(place.shape) * self.dtype.itemsize
        raw = self._segments[place.segment][place.start : place.start + count]
        return torch.from_numpy(raw).view(self.dtype).view(place.shape)

    @contextmanager
    def filling(self, poll: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Be the only one who adds rows; waits for another process that does, and sees what it added.

        Args:
            poll: called while waiting; may raise to stop.
        """
        with _waited_for(self.folder / ".fill", poll):
            for left in self.folder.glob(".tmp-*"):
                shutil.rmtree(left, ignore_errors=True)
            self.refresh()
            yield

    @contextmanager
    def adding(self) -> Iterator[Callable[[bytes, Tensor], None]]:
        """Take rows, one after the other; all of them are here when this ends well, none if it does not.

        Raises:
            OSError: the disk is full or fails; nothing was added.
        """
        temporary = self.folder / f".tmp-{uuid.uuid4().hex[:8]}"
        index = _Index([], [], [], [])
        try:
            temporary.mkdir()
            with (temporary / "rows.bin").open("wb") as file:
                yield lambda name, rows: _write_rows(file, index, name, rows.detach().to("cpu", self.dtype))
                file.flush()
                os.fsync(file.fileno())
            if index.ids:
                self._publish(temporary, index)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, index: _Index) -> None:
        number = 1 + max((int(path.name[8:]) for path in self.folder.glob(_SEGMENT)), default=0)
        final = self.folder / f"segment-{number:06d}"
        _write_index(temporary / "index.safetensors", index)
        _write_manifest(temporary)
        os.rename(temporary, final)
        sync_folder(self.folder)
        self._open(final, sound=True)

    def _open(self, folder: Path, *, sound: bool = False) -> None:
        from safetensors.numpy import load_file

        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if file_sha256(folder / "index.safetensors") != manifest["index.safetensors"]["sha256"]:
            raise ValueError("index.safetensors has changed")
        if (folder / "rows.bin").stat().st_size != manifest["rows.bin"]["size"]:
            raise ValueError("rows.bin has another size than it was written with")
        index = load_file(folder / "index.safetensors")
        number = len(self._segments)
        self._segments.append(np.memmap(folder / "rows.bin", dtype=np.uint8, mode="c"))
        self._names.add(folder.name)
        columns = (index["ids"], index["starts"].tolist(), index["shapes"].tolist(), index["checks"])
        for name, start, shape, check in zip(*columns, strict=True):
            self._places[name.tobytes()] = _Place(number, start, tuple(shape), check.tobytes())
            (self._sound.add if sound else self._sound.discard)(name.tobytes())

    def _is_sound(self, name: bytes) -> bool:
        if name in self._sound:
            return True
        if name not in self._places:
            return False
        if _check(self[name]) != self._places[name].check:
            del self._places[name]
            self.damaged += 1
            return False
        self._sound.add(name)
        return True


# All stores together


def store_root() -> Path:
    """The folder of all stores: ``$REGRAFT_STORE``, else in the cache."""
    given = os.environ.get("REGRAFT_STORE")
    return Path(given).expanduser() if given else cache_root() / "store"


def list_stores(root: Path) -> list[dict[str, Any]]:
    """Every store with its size in bytes and what it is of, the one used last first."""
    folders = [path for path in root.glob("*") if path.is_dir() and _NAME.fullmatch(path.name)]
    found = []
    for folder in folders:
        with suppress(FileNotFoundError):  # another process has just removed it
            found.append(_told(folder))
    return sorted(found, key=lambda store: store["used"], reverse=True)


def _told(folder: Path) -> dict[str, Any]:
    """A store as a line of the list; one whose description is damaged has its size all the same."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    try:
        content = read_json(folder / "store.json")
        key = {**content["key"], "dtype": content["dtype"]}
        used = (folder / "store.json").stat().st_mtime
    except (ResourceError, KeyError, TypeError):
        key, used = {"model": "damaged", "height": 0, "reading": "?", "dtype": "?"}, 0.0
    segments = len(list(folder.glob(_SEGMENT)))
    return {**key, "store": folder.name, "bytes": sum(sizes), "segments": segments, "used": used}


def remove_store(folder: Path) -> bool:
    """Remove a store unless a process uses it. Returns whether it is gone.

    Raises:
        ResourceError: it may not be removed.
    """
    with storage(folder):
        try:
            use = _held(folder / ".use", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        with use:
            if not _is_lock_of(use, folder):  # it was removed and made anew in between
                return False
            doomed = folder.with_name(f"{_DOOMED}{folder.name}-{uuid.uuid4().hex[:8]}")
            os.rename(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
    return True


def make_room(root: Path, wanted: int, *, most: int, keep: Collection[Path]) -> str | None:
    """Remove stores, the one used longest ago first, until ``wanted`` bytes fit. Returns why they do not, if so.

    Nothing is removed where that would not be enough.

    Args:
        most: bytes that all stores together may take.
        keep: stores that are not removed; nor is one that a process uses.
    """
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{_DOOMED}*"):
        shutil.rmtree(left, ignore_errors=True)
    if wanted <= 0:
        return None
    stores = list_stores(root)
    held = sum(store["bytes"] for store in stores)
    disk = shutil.disk_usage(root)
    free = disk.free - int(_SPARE * disk.total)
    kept = {path.name for path in keep}
    others = [store for store in stores if store["store"] not in kept and not _in_use(root / store["store"])]
    gain = sum(store["bytes"] for store in others)
    hopeless = held - gain + wanted > most or wanted > free + gain
    for store in [] if hopeless else reversed(others):
        if held + wanted <= most and wanted <= free:
            break
        if remove_store(root / store["store"]):
            held, free = held - store["bytes"], free + store["bytes"]
    if held + wanted > most:
        return f"it needs {wanted / 1e9:.3g} GB more and cache.max_gb allows {most / 1e9:g} GB in all"
    if wanted > free:
        return f"it needs {wanted / 1e9:.3g} GB and the disk has room for {max(0, free) / 1e9:.3g} GB"
    return None


def _in_use(folder: Path) -> bool:
    """Whether a process uses a store, or it cannot be told."""
    try:
        _held(folder / ".use", fcntl.LOCK_EX | fcntl.LOCK_NB).close()
    except OSError:
        return True
    return False


# Files


@dataclass
class _Index:
    ids: list[bytes]
    starts: list[int]
    shapes: list[tuple[int, ...]]
    checks: list[bytes]


def _write_rows(file: IO[bytes], index: _Index, name: bytes, rows: Tensor) -> None:
    kept = rows.contiguous()
    index.ids.append(name)
    index.starts.append(file.tell())
    index.shapes.append(tuple(kept.shape))
    index.checks.append(_check(kept))
    file.write(_bytes(kept))


def _write_index(path: Path, index: _Index) -> None:
    from safetensors.numpy import save

    content = save(
        {
            "ids": np.frombuffer(b"".join(index.ids), dtype=np.uint8).reshape(-1, _ID).copy(),
            "starts": np.asarray(index.starts, dtype=np.int64),
            "shapes": np.asarray(index.shapes, dtype=np.int64),
            "checks": np.frombuffer(b"".join(index.checks), dtype=np.uint8).reshape(-1, _ID).copy(),
        }
    )
    write_durably(path, content)


def _write_manifest(folder: Path) -> None:
    named = ("rows.bin", "index.safetensors")
    index = file_sha256(folder / "index.safetensors")
    content = {name: {"size": (folder / name).stat().st_size} for name in named}
    content["index.safetensors"]["sha256"] = index  # type: ignore[assignment]
    write_durably(folder / "manifest.json", json.dumps(content).encode())
    sync_folder(folder)


def _held(path: Path, how: int) -> IO[bytes]:
    """A lock, held until the file is closed. It belongs to the open file: two stores in one process do not mix."""
    file = path.open("ab")
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def _used(folder: Path) -> IO[bytes]:
    """The lock of whoever uses a store, on the folder that is there now and not on one just being removed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = _held(folder / ".use", fcntl.LOCK_SH)
        if _is_lock_of(file, folder):
            return file
        file.close()


def _is_lock_of(file: IO[bytes], folder: Path) -> bool:
    """Whether a lock is that of the folder that is there now."""
    with suppress(FileNotFoundError):
        return os.fstat(file.fileno()).st_ino == os.stat(folder / ".use").st_ino
    return False


@contextmanager
def _waited_for(path: Path, poll: Callable[[], None]) -> Iterator[None]:
    """A lock that one process holds at a time."""
    while True:
        try:
            file = _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            poll()
            time.sleep(_PATIENCE)
    with file:
        yield


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _check(tensor: Tensor) -> bytes:
    return blake2b(_bytes(tensor), digest_size=_ID).digest()
