"""What the model knows: find it, open it safely, name its parts, graft a head on it."""

from regraft.pretrained.anatomy import Anatomy, anatomy_of, idle
from regraft.pretrained.attention import fast_attention, only_rows
from regraft.pretrained.check import check_folder
from regraft.pretrained.choice import HEADS
from regraft.pretrained.folder import model_folder
from regraft.pretrained.glimpse import Glimpse
from regraft.pretrained.heads import GraftedBoxes, GraftedDense, MeanPooled, encoder_of, mean_pool, pooled_features
from regraft.pretrained.load import Pretrained, load, reopen, save

__all__ = [
    "HEADS",
    "Anatomy",
    "Glimpse",
    "GraftedBoxes",
    "GraftedDense",
    "MeanPooled",
    "Pretrained",
    "anatomy_of",
    "check_folder",
    "encoder_of",
    "fast_attention",
    "idle",
    "load",
    "mean_pool",
    "model_folder",
    "only_rows",
    "pooled_features",
    "reopen",
    "save",
]
