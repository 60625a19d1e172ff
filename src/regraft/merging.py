"""An adapter's model as one that is whole: the adapter goes into the weights, and the answers stay what they were."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regraft import pretrained
from regraft.assessment import rows_to_score
from regraft.errors import RecipeError, TrainingError
from regraft.run import written_whole
from regraft.sources import make_rows
from regraft.tuned import Tuned

TOLERANCE = 1e-5  # of an answer's numbers, or of the largest of them where that is above 1


@dataclass(frozen=True)
class Merged:
    """Where the whole model is, and how far its answers are at most from the adapter's."""

    folder: Path
    rows: int
    difference: float


def merge(
    model: str | Path, *, to: str | Path | None = None, data: str | None = None, overrides: Sequence[str] = ()
) -> Merged:
    """Write a whole model with an adapter's answers.

    Args:
        model: a run folder, or a tuned model's folder.
        to: where to write it, a folder that does not exist yet; None for ``merged`` in the run folder.
        data: a table on whose rows the answers are compared; None for the run's own test rows.
        overrides: ``data.…`` options, as on the command line.

    Raises:
        RecipeError: the model has no adapter, or one that is not linear, or there is something at ``to``.
        TrainingError: the answers would differ by more than ``TOLERANCE``; nothing is written.
    """
    tuned = Tuned.load(model)
    if tuned.pretrained.adapter is None:
        raise RecipeError(f"{model} has no adapter: it is whole already", fix="use it as it is")
    pretrained.require_linear(tuned.pretrained)
    folder = Path(model) / "merged" if to is None else Path(to)
    if os.path.lexists(folder):
        raise RecipeError(f"{folder} exists", fix="name another folder with --to, or remove it")
    _, examples = rows_to_score(Path(model), tuned, data, overrides)
    rows = make_rows(examples[: tuned.task.proof_rows], tuned.task, tuned.answers, tuned.pretrained)
    before = tuned.logits(rows.encoded, write=False)
    whole = replace(tuned, pretrained=pretrained.merged(tuned.pretrained))
    _require_equal(before, whole.logits(rows.encoded, write=False))
    with written_whole(folder) as temporary:
        whole.save(temporary)
        difference = _require_equal(before, Tuned.load(temporary).logits(rows.encoded, write=False))
    return Merged(folder, len(rows.examples), difference)


def _require_equal(before: NDArray[np.generic], after: NDArray[np.generic]) -> float:
    """How far two sets of answers are apart, of their largest number.

    Raises:
        TrainingError: too far.
    """
    one, other = before.astype(np.float64), after.astype(np.float64)
    gap = np.abs(np.nan_to_num(one - other)).max(initial=0.0)
    difference = float(gap / max(1.0, np.abs(np.nan_to_num(one)).max(initial=0.0)))
    if not difference <= TOLERANCE or (np.isnan(one) != np.isnan(other)).any():
        raise TrainingError(
            f"merged, the model's answers differ by {difference:.1e}; {TOLERANCE:g} is allowed; nothing was written",
            fix="use it with its adapter",
        )
    return difference
