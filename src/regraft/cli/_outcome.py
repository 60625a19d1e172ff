"""What tune and resume print at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.run import Run


def conclude(run: Run, scores: dict[str, Any], *, as_json: bool) -> None:
    """Write the report and print the scores."""
    from regraft.cli._show import scores_lines
    from regraft.recipe import read_recipe
    from regraft.report import write_card, write_report

    write_card(run)
    report = write_report(run)
    if as_json:
        print(json.dumps({"run": str(run.folder), "report": str(report), **scores}, ensure_ascii=False))
        return
    again = f"regraft tune {run.recipe}" + (" name=null" if read_recipe(run.recipe).name else "")
    print("\n".join(scores_lines(scores)))
    print(f"\nmodel   {run.model}\nreport  {report}\nagain   {again}")
