"""regraft resume"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli._options import Quiet


def command(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Finish a run that was stopped; it ends with the same weights as if it had not been."""
    from regraft.cli._outcome import conclude
    from regraft.cli._progress import follow
    from regraft.run import find_run, read_json
    from regraft.tuning import resume_events

    found = find_run(run)
    if found.ended:
        print(f"{found.folder} has ended already; nothing is done again", file=sys.stderr)
        conclude(found, read_json(found.scores), as_json=as_json)
        return
    outcome = follow(resume_events(found), quiet=quiet)
    conclude(outcome.run, outcome.scores, as_json=as_json)
