"""The real MiniLM on real sentences, from the command line, with every connection forbidden."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from materials import missing
from regraft.run import cache_root

_LACKING = [reason for name in ("minilm", "vader") if (reason := missing(name))]
pytestmark = pytest.mark.skipif(bool(_LACKING), reason="; ".join(_LACKING))

# A process in which any attempt to open a connection is noted and fails.
_OFFLINE = """
import sys

def forbid(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}:
        print("CONNECTION", arguments[-1], file=sys.stderr)
        raise OSError("connections are forbidden here")

sys.addaudithook(forbid)
from regraft.cli import main
main()
"""


def offline(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _OFFLINE, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="module")
def some_sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = tmp_path_factory.mktemp("movie") / "movie.csv"
    with (cache_root() / "materials" / "vader" / "movie.csv").open(encoding="utf-8", newline="") as whole:
        rows = list(csv.reader(whole))[:301]
    with table.open("w", encoding="utf-8", newline="") as part:
        csv.writer(part).writerows(rows)
    return table


@pytest.fixture(scope="module")
def run(some_sentences: Path) -> Path:
    told = offline(
        "tune", "--data", some_sentences, "--task", "text-classification", "--name", "run",
        f"output={some_sentences.parent}", "strategy.name=top-layers", "strategy.n=1", "training.epochs=1",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "CONNECTION" not in told.stderr
    return some_sentences.parent / "run"


def test_a_first_run_needs_no_hub_and_no_recipe(run):
    assert json.loads((run / "scores.json").read_text())["rows"] >= 20


def test_the_bottom_of_minilm_is_bit_for_bit_what_it_was(run):
    from safetensors.torch import load_file

    before = load_file(cache_root() / "materials" / "minilm" / "model.safetensors")
    after = load_file(run / "model" / "model.safetensors")
    below = ("embeddings.", *(f"encoder.layer.{block}." for block in range(5)))
    frozen = [name for name in before if name.startswith(below) and f"bert.{name}" in after]
    assert len(frozen) == 85  # 5 of the embeddings and 16 of each block
    assert all(bool((before[name] == after[f"bert.{name}"]).all()) for name in frozen)
    assert not bool((before["pooler.dense.weight"] == after["bert.pooler.dense.weight"]).all())


def test_evaluate_predict_and_report_open_no_connection(run, some_sentences):
    for words in (["evaluate", run], ["predict", run, "a moving film"], ["report", run]):
        told = offline(*words)
        assert told.returncode == 0, told.stderr
        assert "CONNECTION" not in told.stderr


def test_the_guard_against_connections_is_not_blind():
    told = offline("plan", "--data", "x.csv", "--task", "text-classification")
    assert told.returncode == 3
    connecting = "import socket\nsocket.create_connection(('127.0.0.1', 9))"
    blind = _OFFLINE.replace("from regraft.cli import main\nmain()", connecting)
    seen = subprocess.run([sys.executable, "-c", blind], capture_output=True, text=True, timeout=60, check=False)
    assert "CONNECTION" in seen.stderr
