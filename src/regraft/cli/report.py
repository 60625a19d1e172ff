"""regraft report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(run: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Write a run's report again, from what is in its folder; prints where it is."""
    from regraft.report import write_report
    from regraft.run import find_run

    print(write_report(find_run(run)))
