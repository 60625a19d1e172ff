"""What the model knows: find it, open it safely, name its parts, graft a head on it."""

from regraft.pretrained.adapters import Adapter, graft, kept_beside, last_layers, layers_for, merged, require_linear
from regraft.pretrained.anatomy import Anatomy, anatomy_of, idle
from regraft.pretrained.attention import fast_attention, only_rows
from regraft.pretrained.beginning import begun_again
from regraft.pretrained.check import check_folder
from regraft.pretrained.choice import HEADS
from regraft.pretrained.few_bits import require_few_bits
from regraft.pretrained.folder import model_folder
from regraft.pretrained.glimpse import Glimpse
from regraft.pretrained.heads import (
    GraftedBoxes,
    GraftedDense,
    MeanPooled,
    NearestNeighbours,
    encoder_of,
    mean_pool,
    pooled_features,
)
from regraft.pretrained.load import Asked, Pretrained, base_of, load, remembering, reopen, save

__all__ = [
    "HEADS",
    "Adapter",
    "Anatomy",
    "Asked",
    "Glimpse",
    "GraftedBoxes",
    "GraftedDense",
    "MeanPooled",
    "NearestNeighbours",
    "Pretrained",
    "anatomy_of",
    "base_of",
    "begun_again",
    "check_folder",
    "encoder_of",
    "fast_attention",
    "graft",
    "idle",
    "kept_beside",
    "last_layers",
    "layers_for",
    "load",
    "mean_pool",
    "merged",
    "model_folder",
    "only_rows",
    "pooled_features",
    "remembering",
    "reopen",
    "require_few_bits",
    "require_linear",
    "save",
]
