"""``python -m benchmarks``: every benchmark, one after the other; ``python -m benchmarks NAME``: one of them."""

from __future__ import annotations

import sys

from benchmarks import depths, forecast, images, lora, movie, peer_trainer, speech, sweep

_ALL = {
    "movie": movie.main,
    "depths": depths.main,
    "forecast": forecast.main,
    "images": images.main,
    "speech": speech.main,
    "sweep": sweep.main,
    "lora": lora.main,
    "peer_trainer": peer_trainer.main,
}

for name in sys.argv[1:] or _ALL:
    if name not in _ALL:
        sys.exit(f"no benchmark {name!r}; there are: {', '.join(_ALL)}")
    _ALL[name]()
