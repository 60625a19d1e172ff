"""Questions to a process that knows transformers and not regraft."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.contracts.runs import Cell


def ask(
    script: str, cells: Sequence[Cell], question: Callable[[Cell], dict[str, Any]], folder: Path
) -> dict[Cell, Any]:
    """What a script answers, which reads lines of JSON, one for each cell, and answers each with a line."""
    questions = [question(cell) for cell in cells]
    threads = str(torch.get_num_threads())
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, threads],
        input="\n".join(json.dumps(asked) for asked in questions),
        cwd=folder,
        env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return dict(zip(cells, map(json.loads, said.stdout.splitlines()), strict=True))
