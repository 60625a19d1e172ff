"""regraft: graft a pretrained model onto a new task."""

__version__ = "0.1.0"
