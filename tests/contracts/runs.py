"""Real runs of tiny models, one for each cell of what can be combined; found by name, so a new file is picked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regraft import Outcome, Recipe, Tuned, make_recipe, prepare, tune
from regraft.preparation import Prepared
from regraft.recipe import TaskOptions
from regraft.strategies import strategy_names
from regraft.tasks import make_task, task_names
from regraft.testing import FAMILIES, WORDS, tiny_model, toy_table

# Which made-up tables hold a target of that name. A task that reads another one needs a table in regraft.testing.
_TABLES = {"label": ("classes", "labels", "pairs"), "score": ("numbers",)}


@dataclass(frozen=True)
class Cell:
    """One combination."""

    task: str
    table: str
    strategy: str = "full"
    family: str = "bert"
    head: str = "own"

    def __str__(self) -> str:
        return f"{self.task}-{self.table}-{self.strategy}-{self.family}-{self.head}"


def tables_of(task: str) -> tuple[str, ...]:
    """The tables that a task can learn from."""
    target = next(column.name for column in make_task(TaskOptions(name=task)).columns() if column.role == "target")
    assert target in _TABLES, f"{task} reads a target {target!r}: add a table for it to regraft.testing and here"
    return _TABLES[target]


TABLES = [(task, table) for task in task_names() for table in tables_of(task)]
BY_TASK = [Cell(task, table, strategy) for task, table in TABLES for strategy in strategy_names()]
BY_FAMILY = [
    Cell("text-classification", "classes", strategy, family) for family in FAMILIES for strategy in strategy_names()
]
BY_HEAD = [
    *(Cell(task, table, head="mean") for task, table in TABLES),
    *(Cell("text-classification", "classes", "top-layers", family, "mean") for family in FAMILIES),
]
CELLS = list(dict.fromkeys([*BY_TASK, *BY_FAMILY, *BY_HEAD]))


class Runs:
    """Makes a run when it is first asked for, and keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[Cell, Outcome] = {}
        self._prepared: dict[Cell, Prepared] = {}
        self._loaded: dict[Cell, Tuned] = {}

    def __getitem__(self, cell: Cell) -> Outcome:
        if cell not in self._done:
            self._done[cell] = tune(self.recipe(cell))
        return self._done[cell]

    def prepared(self, cell: Cell) -> Prepared:
        """What a run began with."""
        if cell not in self._prepared:
            self._prepared[cell] = prepare(self.recipe(cell))
        return self._prepared[cell]

    def loaded(self, cell: Cell) -> Tuned:
        """The saved model of a run."""
        if cell not in self._loaded:
            self._loaded[cell] = Tuned.load(self[cell].run.folder)
        return self._loaded[cell]

    def recipe(self, cell: Cell) -> Recipe:
        """A recipe that takes a fraction of a second."""
        options = {"n": 1} if cell.strategy == "top-layers" else {}
        return make_recipe(
            {
                "task": cell.task,
                "data": str(self.table(cell)),
                "model": {"name": str(self.model(cell.family)), "head": cell.head},
                "strategy": {"name": cell.strategy, **options},
                "training": {"epochs": 1, "batch_size": 8, "precision": "fp32"},
                "evaluation": {"baselines": False, "resamples": 100},
                "output": str(self.folder / "runs"),
                "name": str(cell),
            }
        )

    def table(self, cell: Cell) -> Path:
        """The table that a cell learns from."""
        file = self.folder / f"{cell.table}.jsonl"
        return file if file.exists() else toy_table(file, kind=cell.table)

    def model(self, family: str) -> Path:
        """A pretrained model of a family."""
        folder = self.folder / "models" / family
        return folder if folder.exists() else tiny_model(folder, family=family, words=WORDS)
