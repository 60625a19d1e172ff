"""A model with what is needed to run it on examples, and to say what decides its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from regraft.device import Device
from regraft.fingerprint import digest, tensors_sha256
from regraft.frozen.frontier import chain_of
from regraft.frozen.prefix import Tap
from regraft.pretrained import Anatomy
from regraft.tasks import Encoded, Inputs
from regraft.version import __version__

# What a config says that no row depends on.
_BESIDE = (
    "dropout",
    "drop_",
    "label",
    "problem_type",
    "name_or_path",
    "transformers_version",
    "architectures",
    "dtype",
)

_WIDTHS = ("hidden_size", "hidden_sizes", "hidden_dim", "d_model", "neck_hidden_sizes")  # as configs call them
_PADDING = ("padding_side", "pad_token_id")
_STOCK = {"regraft": "sdpa"}  # what regraft's own attention calls where nothing needs a gradient


@dataclass(frozen=True)
class Subject:
    """A model, how examples are read for it, and where it computes."""

    model: nn.Module
    anatomy: Anatomy
    inputs: Inputs
    processor: Any
    device: Device

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def width(self) -> int:
        """Numbers in a hidden state, where the config tells; else a guess, for how much room rows will take."""
        config = getattr(self.config, "vision_config", None) or self.config
        found = [getattr(config, name, None) for name in _WIDTHS]
        widths = [width[-1] if isinstance(width, list | tuple) else width for width in found if width]
        return int(next((width for width in widths if isinstance(width, int)), 1024))

    @cached_property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The blocks that hand their output to one another, in order."""
        return tuple(self.model.get_submodule(path) for path in chain_of(self.anatomy))

    @cached_property
    def limit(self) -> int:
        """The largest length that is read of an example."""
        return self.inputs.limit(self.processor, self.config)

    def batch(self, encoded: Sequence[Encoded], *, size: int | None = None) -> dict[str, Tensor]:
        """Model inputs on the device, padded to the longest or to ``size``."""
        return self.device.move(self.inputs.collate(encoded, self.processor, size=size))

    def key(self, tap: Tap) -> dict[str, Any]:
        """Whatever decides the rows at a tap, but for the examples: weights, how they are computed, and with what."""
        attention = str(getattr(self.config, "_attn_implementation", None))
        return {
            "model": str(getattr(self.config, "model_type", type(self.model).__name__)),
            "height": tap.height,
            "reading": tap.reading,
            "alone": tap.alone,
            **({"fields": tap.fields} if tap.fields else {}),
            "weights": tensors_sha256(dict(self._below(tap))),
            "config": digest(_plain(self.config.to_dict())),
            "limit": self.limit,
            "inputs": [type(self.inputs).__qualname__, *(getattr(self.processor, name, None) for name in _PADDING)],
            "precision": self.device.precision,
            "device": self.device.device.type,
            "processor": _processor(self.device),
            "attention": _STOCK.get(attention, attention),
            "versions": {name: version(name) for name in ("torch", "transformers")} | {"regraft": __version__},
        }

    def _below(self, tap: Tap) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers that rows at a tap can depend on: all but those of what lies above."""
        above = {*self.anatomy.head}
        if tap.height <= len(self.blocks):
            above |= set(self.anatomy.tail)
        lower = self.anatomy.modules if tap.fields else chain_of(self.anatomy)[: tap.height]
        higher = tuple(f"{path}." for path in self.anatomy.modules if path not in lower)
        prefix = f"{getattr(self.model, 'base_model_prefix', '')}."
        for tensors in (self.model.named_parameters(), self.model.named_buffers()):
            for name, tensor in tensors:
                unread = ".pooler." in name and not tap.fields
                if name not in above and not name.startswith(higher) and not unread:
                    yield name.removeprefix(prefix), tensor


def _processor(device: Device) -> str:
    """What kind of processor rounds as this one does."""
    if device.device.type == "cuda":
        return torch.cuda.get_device_name(device.device)
    return str(torch.backends.cpu.get_cpu_capability())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): _plain(inner) for name, inner in value.items() if not any(word in str(name) for word in _BESIDE)
        }
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
