"""Heads that fit any backbone: where transformers has no head of its own for the task, or another one is wanted."""

from regraft.pretrained.heads.boxes import BoxesHead, GraftedBoxes
from regraft.pretrained.heads.dense import DenseHead, GraftedDense, Neck
from regraft.pretrained.heads.frames import GraftedFrames
from regraft.pretrained.heads.nearest import NearestNeighbours
from regraft.pretrained.heads.pooled import MeanPooled, encoder_of, mean_pool, pooled_features
from regraft.pretrained.heads.pyramid import Level, Pyramid, find_levels

__all__ = [
    "BoxesHead",
    "DenseHead",
    "GraftedBoxes",
    "GraftedDense",
    "GraftedFrames",
    "Level",
    "MeanPooled",
    "NearestNeighbours",
    "Neck",
    "Pyramid",
    "encoder_of",
    "find_levels",
    "mean_pool",
    "pooled_features",
]
