"""What a kind of adapter is: how it is put in, what of it is saved under which names, and whether it can be merged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained


class Kind(ABC):
    """One kind of what is put into a model.

    ``fields`` names what of its settings decides what is computed; ``paths`` those settings that name modules.
    ``wrapped`` is what names of the model begin with in the file; ``linear`` says that it goes into the weights.
    """

    fields: ClassVar[tuple[str, ...]]
    paths: ClassVar[tuple[str, ...]] = ("target_modules",)
    wrapped: ClassVar[str] = "base_model.model."
    linear: ClassVar[bool] = False

    @abstractmethod
    def put(self, model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str]) -> None:
        """Change the module. What is drawn comes from torch's generator, which the caller has seeded.

        Raises:
            RecipeError: it does not fit the model.
        """

    def own(self, model: nn.Module, parameters: Collection[str]) -> dict[str, Tensor]:
        """What of it is saved, by names that are its own.

        Args:
            parameters: the names of its parameters in the model.
        """
        return {name: value for name, value in model.named_parameters() if name in parameters}

    def fill(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put back what ``own`` gave."""
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name in state:
                    value.copy_(state[name])

    def in_file(self, name: str, published: str) -> str:
        """What one of ``own`` is called in the file.

        Args:
            published: what names begin with that the file leaves out.
        """
        return self.wrapped + name.removeprefix(published)

    def config(self, model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """What ``adapter_config.json`` says of it."""
        return dict(settings)

    def takes(self, settings: Mapping[str, Any]) -> int:  # noqa: ARG002  (most take none)
        """How many positions of a text it takes for itself."""
        return 0

    def merge(self, model: nn.Module) -> None:
        """Put it into the weights; the module is then as it was, and computes the same."""
        raise AssertionError(f"{type(self).__name__} is not linear in {type(model).__name__}")
