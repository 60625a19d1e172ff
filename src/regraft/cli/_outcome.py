"""What tune and resume print at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regraft.tuning import Outcome


def conclude(outcome: Outcome, *, as_json: bool) -> None:
    """Write the report and print the scores."""
    from regraft.cli._show import scores_lines
    from regraft.report import write_card, write_report

    write_card(outcome.run)
    report = write_report(outcome.run)
    if as_json:
        print(json.dumps({"run": str(outcome.run.folder), "report": str(report), **outcome.scores}, ensure_ascii=False))
        return
    print("\n".join(scores_lines(outcome.scores)))
    print(f"\nmodel   {outcome.run.model}\nreport  {report}\nagain   regraft tune {outcome.run.recipe}")
