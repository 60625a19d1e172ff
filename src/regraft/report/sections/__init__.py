"""The sections of the report, one file each.

A section is a module with ``PLACE``, a number that orders it among the others, and ``render(material)``,
which gives a ``Section``, or None where the run folder holds nothing for it. Adding a file here adds a
section.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def sections() -> list[ModuleType]:
    """All section modules in the order of the report."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: (module.PLACE, module.__name__))
