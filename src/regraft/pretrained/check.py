"""What a model folder may hold: nothing that runs code, or reaches outside the folder, when it is opened.

Only names, first and last bytes, and JSON are read; nothing of the folder is executed to find out.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError, RefusedError

_PICKLED = {
    ".bin",
    ".ckpt",
    ".dill",
    ".joblib",
    ".mar",
    ".npy",
    ".npz",
    ".pickle",
    ".pkl",
    ".pt",
    ".pt2",
    ".pth",
}
_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_PICKLE_READ = 1 << 20  # bytes that are looked through for a pickle of protocol 0 or 1, which has no magic number
_CALLS = {"REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
_ARCHIVES = (
    re.compile(rb"PK\x03\x04|7z\xbc\xaf|\x1f\x8b|BZh[1-9]1AY|\xfd7zXZ|\x28\xb5\x2f\xfd|Rar!\x1a\x07"),
    re.compile(rb"(?s).{257}ustar"),
)
_CODE_KEYS = {
    "auto_map",
    "trust_remote_code",
    "custom_pipelines",
    "custom_generate",
    "kernels",
    "kernel_config",
    "use_kernels",
    "allow_all_kernels",
}
_IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation")
_IMPLEMENTATIONS = {
    None,
    "eager",
    "sdpa",
    "flash_attention_2",
    "flash_attention_3",
    "flex_attention",
    "batched_mm",
    "grouped_mm",
}
_VOCABULARIES = {"tokenizer.json", "vocab.json", "added_tokens.json"}  # their keys are tokens, whatever they spell
_LABELS = "label2id"  # its keys are a user's labels, likewise


def check_folder(folder: Path, *, adapter: bool = False) -> None:
    """Refuse what could run code when opened. Executes nothing.

    Args:
        adapter: whether it is opened as an adapter for a model that lies elsewhere.

    Raises:
        RefusedError: naming the file and the reason.
        RecipeError: ``config.json`` is not valid JSON.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _check_file(path)
            if path.suffix == ".json" and path.name not in _VOCABULARIES:
                _check_json(path)
            if path.name == "adapter_config.json" and not adapter:
                raise RefusedError(
                    f"{path} makes transformers open another model than this folder's",
                    fix="merge the adapter into its model: `regraft merge`, for one that regraft tuned",
                )
        elif path.exists() and not path.is_dir():
            raise RefusedError(f"{path} is not a file but a device, pipe or socket", fix="remove it")


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(_PICKLE_READ)
    if path.suffix.lower() in _PICKLED or start.startswith(_PICKLE_STARTS) or _runs_code(start):
        raise RefusedError(
            f"{path} may hold pickled objects, which run code when they are opened",
            fix="remove it; keep the weights as model.safetensors (save_pretrained writes that)",
        )
    # A zip may begin with anything: it is found from its end. Weights of any bytes are not taken for one by chance.
    if any(known.match(start) for known in _ARCHIVES) or (path.suffix != ".safetensors" and zipfile.is_zipfile(path)):
        raise RefusedError(f"{path} is an archive; a model folder holds none", fix="remove it")


def _runs_code(start: bytes) -> bool:
    """Whether these bytes are a pickle that calls something, by its opcodes; also one that is broken off later.

    A name and a call must both be there: plain text may well begin like a pickle, but does not go on like one.
    """
    named = marked = False
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(start)):
            if opcode.name == "INST" and marked and _is_name(argument):
                return True
            if opcode.name in _CALLS and named:
                return True
            marked = marked or opcode.name == "MARK"
            named = named or opcode.name == "STACK_GLOBAL" or (opcode.name == "GLOBAL" and _is_name(argument))
    except Exception:  # not a pickle from here on; genops raises many kinds
        return False
    return False


def _is_name(argument: Any) -> bool:
    return isinstance(argument, str) and re.fullmatch(r"[\w.]+ [\w.]+", argument) is not None


def _check_json(path: Path) -> None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        if path.name == "config.json":
            raise RecipeError(f"{path} is not valid JSON", fix="fetch the model again") from None
        return
    for key, item in _items(value):
        _check_setting(path, key, item)
    if path.name.endswith(".index.json"):
        _check_index(path, value)


def _check_setting(path: Path, key: str, item: Any) -> None:
    if key in _CODE_KEYS and item not in (None, False):
        raise RefusedError(
            f"{path} asks for code to be run: {key!r}", fix=f"remove {key!r} if you trust the rest of the folder"
        )
    foreign = key.endswith("_implementation_internal") and item is not None
    if foreign or (_IMPLEMENTATION.fullmatch(key) and not _plain_implementation(item)):
        raise RefusedError(f"{path} asks for a foreign implementation: {key!r} = {item!r}", fix=f"remove {key!r}")


def _plain_implementation(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain_implementation(item) for item in value.values())
    return isinstance(value, str | None) and value in _IMPLEMENTATIONS


def _check_index(path: Path, value: Any) -> None:
    """The files that an index of shards names are opened as they are written there, wherever they lead."""
    shards = value.get("weight_map", {}) if isinstance(value, dict) else {}
    for shard in shards.values() if isinstance(shards, dict) else [shards]:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise RefusedError(
                f"{path} names the weight file {str(shard)[:80]!r}; only safetensors beside it are opened",
                fix="fetch the model again",
            )


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield from here.items()
            waiting.extend(item for key, item in here.items() if key != _LABELS)
        elif isinstance(here, list):
            waiting.extend(here)
