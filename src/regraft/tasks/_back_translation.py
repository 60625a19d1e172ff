"""Back-translation: a text through another language and back is another wording of it (Sennrich et al. 2016,
https://arxiv.org/abs/1511.06709; for few examples Xie et al. 2020, UDA, https://arxiv.org/abs/1904.12848).

Each text is translated by itself and greedily, so that what comes back depends on nothing else. It is kept in the
cache folder, for the models are slow and runs come again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from regraft import pretrained
from regraft.device import choose_device
from regraft.errors import ResourceError
from regraft.fingerprint import digest, file_sha256
from regraft.pretrained import model_folder
from regraft.recipe import ModelOptions
from regraft.run import cache_root, read_json, write_json
from regraft.tasks._writing import tidy


def spelled_out(name: str) -> str:
    """The name of a model; of a folder its whole path."""
    path = os.path.expanduser(name)
    return os.path.abspath(path) if os.path.isdir(path) else name


def require_translators(models: tuple[str, str]) -> None:
    """See that both models are here and write.

    Raises:
        RecipeError, ResourceError: one is not.
    """
    for name in models:
        _translator(name)


def back_translated(texts: Sequence[str], models: tuple[str, str]) -> dict[str, str]:
    """What comes back of texts; of those that are too long for a model, or of which nothing comes back, nothing.

    Args:
        models: what translates there, and what translates back: folders or names.
    """
    file = _kept(models)
    known = _known(file)
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    there, back = models
    if missing:
        known |= {text: _translated(_translated(text, there), back) for text in missing}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    return {text: known[text] for text in texts if known[text]}


def _kept(models: tuple[str, str]) -> Path:
    """Where what comes back is kept: under what the weights of both models say."""
    folders = [model_folder(ModelOptions(name=name)) for name in models]
    weights = [[file_sha256(file) for file in sorted(folder.glob("*.safetensors"))] for folder in folders]
    return cache_root() / "back-translations" / f"{digest(weights)[:32]}.json"


def _known(file: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = read_json(file)
    except ResourceError:  # nothing is there yet, or it is damaged: it can be made again
        return {}
    return found


def _translated(text: str, name: str) -> str:
    """A text in the other language; nothing of one that fills what the model reads, for it was cut."""
    if not text:
        return ""
    task, opened = _translator(name)
    encoded = task.inputs.encode([{"source": text}], opened.processor, opened.config)
    if task.inputs.length(encoded[0]) >= task.inputs.limit(opened.processor, opened.config):
        return ""
    (tokens,) = task.write(opened.model, encoded, opened.processor).tolist()
    return tidy(opened.processor, [token for token in tokens if token >= 0])


@lru_cache(maxsize=2)
def _translator(name: str) -> tuple[Any, Any]:
    """A task of translation, and its model, ready to write."""
    from regraft.tasks.translation import Translation

    options, task = ModelOptions(name=name), Translation()
    opened = pretrained.load(options, task.auto_class, {}, seed=0)
    opened.model.to(choose_device("fp32").device)
    return task, opened
