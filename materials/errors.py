"""Why a material cannot be provided; the exit codes are those of regraft's own errors."""

from regraft.errors import DataError, RecipeError, ResourceError


class UnknownMaterial(RecipeError):
    """No material has this name; the message suggests the nearest."""


class DamagedMaterial(DataError):
    """A file is not what was pinned: another hash, a path that leaves its archive, another number of rows."""


class MissingMaterial(ResourceError):
    """A file cannot be had: no network, no disk space, or it is gone; the message says how to provide it by hand."""
