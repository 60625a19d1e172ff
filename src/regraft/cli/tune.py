"""regraft tune"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from regraft.cli._options import Data, Model, Quiet, Task, Words


def command(
    words: Words = None,
    data: Data = None,
    task: Task = None,
    model: Model = None,
    name: Annotated[str | None, typer.Option(help="The run folder's name.")] = None,
    forecast: Annotated[
        bool | None,
        typer.Option(help="Forecast seconds and memory, or not; else where a run looks long enough to be worth it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Tune a pretrained model as a recipe asks; leaves a run folder with the model, its scores and a report."""
    from regraft.cli._asked import recipe_of
    from regraft.cli._outcome import conclude
    from regraft.cli._progress import follow
    from regraft.forecasting import foresee
    from regraft.tuning import tune_events

    recipe = recipe_of(words or [], data=data, task=task, model=model, name=name)
    seen = None if forecast is False else partial(foresee, always=bool(forecast))
    outcome = follow(tune_events(recipe, foresee=seen), quiet=quiet)
    conclude(outcome.run, outcome.scores, as_json=as_json)
