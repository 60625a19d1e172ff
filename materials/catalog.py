"""All materials by name, and the one function that provides one."""

from __future__ import annotations

import difflib
from pathlib import Path

from materials import (
    asterisk,
    bergamot,
    centernet,
    composites,
    e5,
    efficientnet,
    fashion,
    homeassistant,
    joe,
    minilm,
    nlp_corpus,
    resemblyzer,
    roads,
    smollm2,
    smollm2_short,
    snownlp,
    vader,
    whisper,
)
from materials.cache import build, folder, is_whole
from materials.errors import UnknownMaterial
from materials.material import Material

_MODULES = (
    minilm,
    vader,
    efficientnet,
    fashion,
    centernet,
    composites,
    roads,
    homeassistant,
    asterisk,
    bergamot,
    whisper,
    resemblyzer,
    smollm2,
    smollm2_short,
    nlp_corpus,
    joe,
    e5,
    snownlp,
)

MATERIALS: dict[str, Material] = {module.MATERIAL.name: module.MATERIAL for module in _MODULES}


def provide(name: str, *, force: bool = False) -> Path:
    """The folder of a material, made first if it is not there whole. ``force`` makes it anew in any case.

    Raises ``RegraftError``: unknown name, file not to be had, or file not the pinned one.
    """
    material = find(name)
    place = folder(name)
    if force or not is_whole(place, material.origin):
        build(place, material.origin, material.fill, force=force)
    return place


def missing(name: str) -> str | None:
    """``None`` if the material is there, else the reason to skip what needs it. Fetches nothing."""
    if is_whole(folder(name), find(name).origin):
        return None
    return f"the material {name} is not in the cache: run `python -m materials {name}` with a network"


def find(name: str) -> Material:
    """The material of that name; ``UnknownMaterial`` suggests the nearest one."""
    if name in MATERIALS:
        return MATERIALS[name]
    nearest = difflib.get_close_matches(name, MATERIALS, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise UnknownMaterial(f"There is no material {name!r}.{hint}\n  → There are: {', '.join(MATERIALS)}.")
