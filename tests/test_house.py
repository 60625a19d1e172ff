"""The rules of the house: fixed public names, docstrings, a command line that answers at once."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import regraft
from regraft.strategies import strategy_names
from regraft.tasks import task_names

ROOT = Path(__file__).parents[1]
SOURCE = Path(regraft.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = {"torch", "transformers", "numpy", "pydantic", "yaml", "rich", "sklearn", "scipy", "pyarrow", "matplotlib"}
# Files of one-line functions, or of one function that is the file: what the file says stands for them.
SPOKEN_FOR = {"sections", "report/words.py", "report/blocks.py"}

PUBLIC = [
    *("Outcome", "Recipe", "RegraftError", "Run", "Tuned", "__version__", "evaluate", "find_rate", "find_run"),
    *("make_recipe", "merge", "prepare", "read_recipe", "resume", "resume_events", "soup"),
    *("tune", "tune_events", "write_report"),
]


def test_the_public_names_are_fixed() -> None:
    assert regraft.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(regraft, name)
    assert name == "__version__" or (found.__doc__ or "").strip()


def test_what_is_not_public_is_not_there() -> None:
    assert not hasattr(regraft, "no_such_name")
    assert dir(regraft) == PUBLIC


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_everything_public_says_what_it_does(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.name == "__init__.py" or ast.get_docstring(tree), "the file"
    if path.parent.name in SPOKEN_FOR or path.relative_to(SOURCE).as_posix() in SPOKEN_FOR:
        return
    silent = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) if _silent(node)]
    assert silent == []


def _silent(node: ast.FunctionDef | ast.ClassDef) -> bool:
    section = isinstance(node, ast.ClassDef) and node.name.endswith("Options")  # its fields say it one by one
    return not node.name.startswith("_") and not section and not ast.get_docstring(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_imported_name_is_written_out(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not any(
        name.name == "*" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
    )


@pytest.mark.parametrize("module", ["regraft", "regraft.cli", "regraft.errors", "regraft.version"])
def test_nothing_heavy_is_imported_with(module: str) -> None:
    said = _python(f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))")
    assert HEAVY & set(said.split()) == set()


def test_help_answers_at_once() -> None:
    """In processor time, beside the help of a command line with nothing in it: the best of 5 of each."""
    ours = "import sys; sys.argv = ['regraft', '--help']; from regraft.cli import main; main()"
    bare = "import typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'])"
    assert min(_seconds(ours, "tune") for _ in range(5)) < 3 * min(_seconds(bare, "Usage") for _ in range(5))


def _seconds(code: str, expected: str) -> float:
    child = subprocess.Popen([sys.executable, "-c", code], env=_environment(), stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        said = child.stdout.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    assert expected in said
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_every_command_is_documented(readme: str) -> None:
    from regraft.cli import COMMANDS

    path = ROOT / readme
    if not path.exists():
        pytest.skip(f"there is no {readme}")
    text = path.read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"regraft {command}" not in text] == []


def test_every_command_is_a_file() -> None:
    from regraft.cli import COMMANDS

    assert sorted(COMMANDS) == sorted(path.stem for path in (SOURCE / "cli").glob("[!_]*.py"))


@pytest.mark.parametrize("room", ["tasks", "strategies"])
def test_the_name_of_a_file_is_its_name_in_a_recipe(room: str) -> None:
    names = task_names() if room == "tasks" else strategy_names()
    assert [name.replace("-", "_") for name in names] == sorted(p.stem for p in (SOURCE / room).glob("[!_]*.py"))


@pytest.mark.parametrize("room", ["tasks", "strategies"])
def test_a_file_says_its_name_first(room: str) -> None:
    for path in (SOURCE / room).glob("[!_]*.py"):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert said.startswith(f"{path.stem.replace('_', '-')}:"), path.name


def _python(code: str) -> str:
    said = subprocess.run(
        [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    return said.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
