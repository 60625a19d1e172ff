"""From a table, or a folder of images or sounds, to examples in three parts: train, validation, test."""

from regraft.data.example import BadRow, Column, Example, Splits
from regraft.data.examples import read_examples, stream_examples
from regraft.data.load import load_splits, side_paths
from regraft.data.table import locate

__all__ = [
    "BadRow",
    "Column",
    "Example",
    "Splits",
    "load_splits",
    "locate",
    "read_examples",
    "side_paths",
    "stream_examples",
]
