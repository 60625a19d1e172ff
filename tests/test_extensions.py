"""Tasks and strategies are found by file name or entry point, and made from the options of a recipe."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

import regraft
from regraft import extensions
from regraft.errors import RecipeError
from regraft.pretrained import Anatomy
from regraft.recipe import StrategyOptions
from regraft.strategies import Group, Phase, Strategy, make_strategy, strategy_names
from regraft.tasks import Task, task_names

ROOMS = {"tasks": (task_names, Task), "strategies": (strategy_names, Strategy)}


@dataclass(frozen=True)
class Odd(Strategy):
    """Trains every second parameter."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    offset: int = 0

    def phases(self, anatomy: Anatomy, epochs: int) -> Iterator[Phase]:
        yield Phase(epochs, (Group(anatomy.parameters[self.offset :: 2], self.learning_rate),))


@pytest.mark.parametrize("room", ROOMS)
def test_a_file_is_its_name(room: str) -> None:
    files = (Path(regraft.__file__).parent / room).glob("[!_]*.py")
    assert ROOMS[room][0]() == sorted(file.stem.replace("_", "-") for file in files)


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in ROOMS for name in ROOMS[room][0]()])
def test_a_name_is_one_class_in_its_file(room: str, name: str) -> None:
    found = extensions.find(room, name, ROOMS[room][1])  # type: ignore[arg-type]
    assert found.__module__ == f"regraft.{room}.{name.replace('-', '_')}"
    assert found.__doc__


def _entry_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed beside, as its metadata says it."""
    info = folder / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[regraft.strategies]\nevery-second = {__name__}:Odd\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def test_another_package_adds_a_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _entry_point(tmp_path, monkeypatch)
    assert "every-second" in strategy_names()
    assert make_strategy(StrategyOptions(name="every-second", offset=1)) == Odd(offset=1)  # type: ignore[call-arg]


def test_its_options_are_checked_likewise() -> None:
    assert extensions.build("strategy", Odd, {"offset": 1}) == Odd(offset=1)
    with pytest.raises(RecipeError, match=r"did you mean 'strategy.offset'"):
        extensions.build("strategy", Odd, {"ofset": 1})
    with pytest.raises(RecipeError, match=r"strategy.learning_rate = -1"):
        extensions.build("strategy", Odd, {"learning_rate": -1})


def test_the_options_have_a_schema() -> None:
    assert extensions.schema(Odd)["properties"]["learning_rate"]["exclusiveMinimum"] == 0


def test_an_option_is_not_converted() -> None:
    for value in ("2", 2.0, True, None, [2]):
        with pytest.raises(RecipeError, match=r"strategy\.n"):
            make_strategy(StrategyOptions(name="top-layers", n=value))  # type: ignore[call-arg]
