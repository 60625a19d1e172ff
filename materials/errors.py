"""The tree of errors. Each knows its exit code.

MaterialsError        1
├── UnknownMaterial   2   no material has this name
├── DamagedMaterial   3   a file is not what was pinned
└── MissingMaterial   5   a file cannot be had: no network, no disk space, or it is gone
"""


class MaterialsError(Exception):
    """The root: why a material cannot be provided, and what to do about it."""

    exit_code = 1


class UnknownMaterial(MaterialsError):
    """No material has this name; the message suggests the nearest."""

    exit_code = 2


class DamagedMaterial(MaterialsError):
    """A file is not what was pinned: another hash, a path that leaves its archive, another number of rows."""

    exit_code = 3


class MissingMaterial(MaterialsError):
    """A file cannot be had; the message names it and says how to provide it by hand."""

    exit_code = 5
