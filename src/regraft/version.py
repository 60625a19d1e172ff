"""The version of regraft."""

__version__ = "0.1.0"
