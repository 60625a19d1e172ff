"""What is put into a model to be trained in its stead: layers of its own, or tokens that nobody wrote.

A strategy says which kind, with which options, and which modules; ``kinds.py`` lists the kinds, one file each.
"""

from regraft.pretrained.adapters.grafting import Adapter, graft, kept_beside, merged, require_linear
from regraft.pretrained.adapters.layers import last_layers, layers_for
from regraft.pretrained.adapters.saved import base_sha256, published_config, reopen_adapter, save_adapter

__all__ = [
    "Adapter",
    "base_sha256",
    "graft",
    "kept_beside",
    "last_layers",
    "layers_for",
    "merged",
    "published_config",
    "reopen_adapter",
    "require_linear",
    "save_adapter",
]
