"""A tuned run to ask things of, and the command line as a function."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from regraft.cli import main
from regraft.testing import WORDS, tiny_model, toy_table


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``regraft`` with these words, in this process."""

    def run(*words: object, stdin: str = "") -> Answer:
        monkeypatch.setattr(sys, "argv", ["regraft", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        told = capsys.readouterr()
        return Answer(code, told.out, told.err)

    return run


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, ``model``, and tables to learn from."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_model(folder / "model", words=WORDS)
    toy_table(folder / "reviews.csv", rows=120)
    toy_table(folder / "scores.csv", rows=120, kind="numbers")
    return folder


@pytest.fixture(scope="session")
def tuned_run(place: Path) -> Path:
    """The folder of a finished run on reviews.csv."""
    from regraft import make_recipe, tune, write_report

    recipe = make_recipe(
        {
            "task": "text-classification",
            "model": str(place / "model"),
            "data": str(place / "reviews.csv"),
            "strategy": {"name": "full", "learning_rate": 3e-3},
            "output": str(place / "runs"),
            "name": "tuned",
        }
    )
    outcome = tune(recipe)
    write_report(outcome.run)
    return outcome.run.folder
