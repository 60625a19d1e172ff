"""What a checkpoint knows of labels: its classifier's rows, kept for the labels that the new task has too."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library, open_folder, settings_of


def label_sized(auto_class: str, settings: Any) -> dict[str, int]:
    """The weights with a row for each label: their names, and how many rows they have beyond that.

    Found by making the model for one label more, without memory for its weights. Detectors have a row beyond the
    labels for "no object".
    """
    labels = int(settings.num_labels)
    shapes, larger = (_shapes(auto_class, settings, count) for count in (labels, labels + 1))
    return {
        name: shape[0] - labels
        for name, shape in shapes.items()
        if shape and larger.get(name) == torch.Size((shape[0] + 1, *shape[1:]))
    }


@torch.no_grad()
def keep_rows(
    model: nn.Module, new: set[str], sized: dict[str, int], folder: Path, auto_class: str
) -> tuple[tuple[str, ...], set[str]]:
    """Copy the rows of the labels that the folder's model has by the same name; let all other rows be new.

    Rows beyond the labels are always kept. Where the labels are equal, nothing is to be done.

    Args:
        model: opened with the new labels in its config.
        new: the names of its weights that the folder did not hold in this shape.
        sized: what ``label_sized`` found.

    Returns:
        The labels whose rows were kept, and ``new`` with the weights that are not as in the folder.
    """
    names = _names(model.config)
    before = _names(settings_of(folder, auto_class))
    known = {name: place for place, name in reversed(list(enumerate(_folded(before))))}
    if _folded(names) == _folded(before):
        return (() if new & set(sized) else tuple(names)), new
    shared = [(place, known[name]) for place, name in enumerate(_folded(names)) if name in known]
    _redraw(model, set(sized) - new, auto_class)
    held: dict[str, torch.Tensor] = {}
    if shared or any(sized.values()):
        old, missing = open_folder(folder, auto_class, {}, None)
        held = {name: tensor for name, tensor in old.state_dict().items() if name in sized and name not in missing}
    state = model.state_dict()
    for name, tensor in held.items():
        for place, was in shared:
            state[name][place] = tensor[was]
        if sized[name] > 0:
            state[name][len(names) :] = tensor[len(before) :]
    return tuple(names[place] for place, _ in shared if held), new | set(sized)


def first_names(model: nn.Module, names: set[str]) -> set[str]:
    """The parameters among ``names``, each by the name that it has first in the model: weights may be shared."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {id(parameter) for name, parameter in model.named_parameters(remove_duplicate=False) if name in names}
    return {first[key] for key in found}


def _redraw(model: Any, names: set[str], auto_class: str) -> None:
    """New random rows where there happen to be as many labels as before, and other ones."""
    if names:
        with quiet():
            fresh = getattr(library(), auto_class).from_config(copy.deepcopy(model.config)).state_dict()
        state = model.state_dict()
        for name in names:
            state[name].copy_(fresh[name])


def _shapes(auto_class: str, settings: Any, labels: int) -> dict[str, torch.Size]:
    settings = copy.deepcopy(settings)
    settings.num_labels = labels
    with quiet(), torch.device("meta"):
        state = getattr(library(), auto_class).from_config(settings).state_dict()
    return {name: tensor.shape for name, tensor in state.items()}


def _names(settings: Any) -> list[str]:
    return [str(name) for _, name in sorted(settings.id2label.items(), key=lambda item: int(item[0]))]


def _folded(names: Sequence[str]) -> list[str]:
    return [name.strip().casefold() for name in names]
