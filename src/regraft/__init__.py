"""regraft: graft a pretrained model onto a new task.

import regraft

recipe = regraft.make_recipe({"task": "text-classification", "data": "reviews.csv"})
outcome = regraft.tune(recipe)
print(outcome.scores["test"]["accuracy"])
print(outcome.tuned.predict("A film to remember."))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from regraft.version import __version__

if TYPE_CHECKING:
    from regraft.assessment import evaluate
    from regraft.errors import RegraftError
    from regraft.merging import merge
    from regraft.preparation import prepare
    from regraft.range_test import find_rate
    from regraft.recipe import Recipe, make_recipe, read_recipe
    from regraft.report import write_report
    from regraft.run import Run, find_run
    from regraft.souping import soup
    from regraft.tuned import Tuned
    from regraft.tuning import Outcome, resume, resume_events, tune, tune_events

# Where each public name lives. A name is imported when it is first used: `import regraft` imports nothing heavy.
_HOMES = {
    "Outcome": "tuning",
    "Recipe": "recipe",
    "RegraftError": "errors",
    "Run": "run",
    "Tuned": "tuned",
    "evaluate": "assessment",
    "find_rate": "range_test",
    "find_run": "run",
    "make_recipe": "recipe",
    "merge": "merging",
    "prepare": "preparation",
    "read_recipe": "recipe",
    "resume": "tuning",
    "resume_events": "tuning",
    "soup": "souping",
    "tune": "tuning",
    "tune_events": "tuning",
    "write_report": "report",
}

__all__ = [
    "Outcome",
    "Recipe",
    "RegraftError",
    "Run",
    "Tuned",
    "__version__",
    "evaluate",
    "find_rate",
    "find_run",
    "make_recipe",
    "merge",
    "prepare",
    "read_recipe",
    "resume",
    "resume_events",
    "soup",
    "tune",
    "tune_events",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regraft' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regraft.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
