"""Frozen means frozen: no gradient, no dropout, no batch statistics; hashed before and after."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor, nn

from regraft.errors import TrainingError
from regraft.fingerprint import tensors_sha256
from regraft.frozen import forget_biases


def freeze_all_but(model: nn.Module, trainable: Collection[str]) -> None:
    """Let exactly the named parameters train; put everything else to rest, its dropout and its batch statistics too."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    set_modes(model)


def set_modes(model: nn.Module, resting: Collection[nn.Module] = ()) -> None:
    """``train()`` for modules with something that trains in them, ``eval()`` for all others.

    A module without parameters, such as dropout, goes with the module that it is in.

    Args:
        resting: modules that hold the frozen bottom. They and their own dropout rest, for it acts on what is frozen.
    """
    model.eval()
    _wake(model, set(resting))
    forget_biases(model)


def frozen_tensors(model: nn.Module, trainable: Collection[str]) -> dict[str, Tensor]:
    """Every parameter that is not to train, and every buffer of a module at rest."""
    parameters = {name: value for name, value in model.named_parameters() if name not in trainable}
    return parameters | dict(_resting_buffers(model))


def frozen_sha256(model: nn.Module, trainable: Collection[str]) -> str:
    """The hash of all that must not change."""
    return tensors_sha256(frozen_tensors(model, trainable))


def prove_frozen(model: nn.Module, trainable: Collection[str], before: str) -> int:
    """Compare with the hash from before training. Returns how many tensors were compared.

    Raises:
        TrainingError: a frozen tensor has changed.
    """
    if frozen_sha256(model, trainable) != before:
        raise TrainingError(
            "a frozen weight or buffer changed during training",
            fix="this is a bug of regraft: report it with the recipe",
        )
    return len(frozen_tensors(model, trainable))


def _wake(module: nn.Module, resting: Collection[nn.Module]) -> None:
    if not any(parameter.requires_grad for parameter in module.parameters()):
        return
    module.training = module not in resting
    for child in module.children():
        if next(child.parameters(), None) is not None:
            _wake(child, resting)
        elif module.training and child not in resting:
            child.train()


def _resting_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules():
        if not module.training:
            for name, buffer in module.named_buffers(recurse=False):
                yield (f"{path}.{name}" if path else name), buffer
