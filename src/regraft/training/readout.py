"""The last layer of the head: what it is given, and what it becomes where it is fitted instead of trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.frozen import forwards
from regraft.pretrained import Anatomy, NearestNeighbours
from regraft.strategies import Phase


class Fit(Protocol):
    """How a linear layer is fitted."""

    def __call__(
        self, features: NDArray[np.float32], target: NDArray[Any], *, learned_from: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Weights ``[c, f]``, biases ``[c]`` and how strongly they were held back.

        Args:
            features: ``[n, f]``.
            target: what is right of them.
            learned_from: how many examples the features were learned from, where these are the very rows.
        """


def readout_of(model: nn.Module, anatomy: Anatomy) -> nn.Linear | NearestNeighbours:
    """The layer that the head ends with."""
    module = model.get_submodule(anatomy.readout[0].rpartition(".")[0])
    assert isinstance(module, nn.Linear | NearestNeighbours)
    return module


@contextmanager
def embedding(model: nn.Module, anatomy: Anatomy) -> Iterator[None]:
    """While this lasts the model answers with what its last layer would be given, [batch, features], for logits."""
    with forwards({readout_of(model, anatomy): lambda given: given}):
        yield


@contextmanager
def watching(model: nn.Module, anatomy: Anatomy) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """What the last layer is given and gives, [batch, features] and [batch, c], of each pass while this lasts."""
    readout, seen = readout_of(model, anatomy), list[tuple[Tensor, Tensor]]()
    own = readout.forward

    def forward(given: Tensor) -> Tensor:
        seen.append((given, own(given)))
        return seen[-1][1]

    with forwards({readout: forward}):
        yield seen


def fit_readout(
    readout: nn.Linear | NearestNeighbours,
    phase: Phase,
    fit: Fit,
    features: NDArray[np.float32],
    target: NDArray[Any],
    *,
    learned_from: int | None,
) -> dict[str, float]:
    """Make the last layer of what it is given of the training rows, as a phase asks. Returns what was chosen for it.

    Args:
        learned_from: how many examples the features were learned from, where these are the very rows.
    """
    if isinstance(readout, NearestNeighbours):
        assert phase.temperature is not None, "neighbours count by it"
        given, right = (torch.from_numpy(values).to(readout.weight.device) for values in (features, target))
        return {"k": readout.remember(given, right, temperature=phase.temperature, k=phase.k)}
    weight, bias, penalty = fit(features, target, learned_from=learned_from)
    put(readout, weight, bias)
    return {"penalty": penalty}


def put(readout: nn.Linear, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    """Let the last layer be what was fitted."""
    with torch.no_grad():
        readout.weight.copy_(torch.from_numpy(weight))
        readout.bias.copy_(torch.from_numpy(bias))


def require_plain(output: Any, given: Tensor) -> None:
    """See that a model's logits are what its last layer gave, and nothing is done to them afterwards.

    Raises:
        RecipeError: they are not.
    """
    logits = output["logits"]
    if logits.shape != given.shape or not torch.equal(logits, given):
        raise RecipeError(
            "this model's answers are not those of the last layer of its head, which therefore cannot be fitted",
            fix="take model.head=graft, or another strategy",
        )
