"""What is asked of a model. One file a task: its name is its name in a recipe."""

from __future__ import annotations

from regraft import extensions
from regraft.recipe import TaskOptions
from regraft.tasks._contract import Answers, Batch, Encoded, Inputs, Kind, Loss, Plain, Targets, Task
from regraft.tasks._names import FILE as NAMES
from regraft.tasks._writing import WritingTask

__all__ = [
    "NAMES",
    "Answers",
    "Batch",
    "Encoded",
    "Inputs",
    "Kind",
    "Loss",
    "Plain",
    "Targets",
    "Task",
    "WritingTask",
    "make_task",
    "task_names",
]


def task_names() -> list[str]:
    """The names of all tasks."""
    return extensions.names("tasks")


def make_task(options: TaskOptions) -> Task:
    """The task that a recipe names, with its options.

    Raises:
        RecipeError: no such task, or no such option.
    """
    return extensions.build("task", extensions.find("tasks", options.name, Task), options.own())  # type: ignore[type-abstract]
