"""All that is looked for, in its order: what the rows alone tell, and what an untouched model tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from regraft.data import Splits
from regraft.device import require_memory
from regraft.errors import QualityError
from regraft.frozen import UNFIT, Subject, depth_taps, features, store_root
from regraft.probing import output_features
from regraft.quality import duplicates, inputs
from regraft.quality.balance import unbalanced
from regraft.quality.findings import Finding, Quality, Row, rows_of
from regraft.quality.groups import straddling
from regraft.quality.labels import Array, wrong_labels
from regraft.quality.shortcuts import shortcuts
from regraft.recipe import Recipe
from regraft.sources import make_rows, open_model
from regraft.tasks import Answers, Encoded, Task
from regraft.training import Poll, choose_device

_OF_ROWS = ("unreadable", "duplicates", "near-duplicates", "groups", "imbalance", "empty-inputs", "shortcuts")
_OF_A_MODEL = ("truncated", "wrong-labels")
_GRAVITY = ("error", "warning", "note")


def look(
    recipe: Recipe, task: Task, splits: Splits, answers: Answers, *, model: bool, poll: Poll = lambda: None
) -> Quality:
    """Look at the rows of all sides.

    Args:
        model: whether the recipe's model is opened, untouched, to see which labels do not fit, and what is cut.

    Raises:
        RecipeError, ResourceError: the model cannot be opened or read the rows.
    """
    rows = rows_of(splits)
    found = [*inputs.unreadable(splits.bad_rows), *_of_rows(rows, answers, poll)]
    if model:
        found += _of_a_model(recipe, task, [row for row in rows if row.side == "train"], answers, poll)
    found.sort(key=lambda finding: _GRAVITY.index(finding.level))
    looked_for = (*_OF_ROWS, *(_OF_A_MODEL if model else ()))
    return Quality(Counter(row.side for row in rows), looked_for, tuple(found))


def require_sound(quality: Quality) -> None:
    """See that nothing was found that makes scores untrue.

    Raises:
        QualityError: there was.
    """
    grave = quality.of("error")
    if grave:
        more = "" if len(grave) == 1 else f" ({len(grave) - 1} more: `regraft check` lists all)"
        raise QualityError(f"{grave[0].told}{more}", fix=f"{grave[0].fix}; or let the run go on with quality=warn")


def _of_rows(rows: Sequence[Row], answers: Answers, poll: Poll) -> Iterator[Finding]:
    yield from straddling(rows)
    yield from duplicates.nearly_equal(rows, duplicates.near_pairs(rows, poll))
    yield from duplicates.equal(rows)
    yield from inputs.empty(rows, poll)
    yield from shortcuts(rows, answers.kind, poll)
    yield from unbalanced(rows, answers.kind)


def _of_a_model(recipe: Recipe, task: Task, rows: Sequence[Row], answers: Answers, poll: Poll) -> Iterator[Finding]:
    opened = open_model(recipe, task, answers)
    device = choose_device(recipe.training.precision, model=opened.model)
    opened.model.to(device.device)
    made = make_rows([row.example for row in rows], task, answers, opened)
    yield from inputs.cut(rows, made.lengths, task.inputs.limit(opened.processor, opened.config))
    if answers.kind in {"classes", "numbers"}:
        subject = Subject(opened.model, opened.anatomy, task.inputs, opened.processor, device)
        heights = _heights(subject, made.encoded, recipe, poll)
        yield from wrong_labels(rows, heights, made.values, answers, seed=recipe.seed)


def _heights(subject: Subject, encoded: Sequence[Encoded], recipe: Recipe, poll: Poll) -> list[Array]:
    """Features of the upper half of the model, [n, f] of each height; from the store where they are there."""
    taps = depth_taps(subject)
    upper = taps[len(taps) // 2 :]
    if subject.blocks and len({tap.height for tap in upper}) > 1:
        try:
            return [*features(subject, encoded, upper, recipe.cache, root=store_root(), poll=poll)]
        except UNFIT as error:  # what does not run block by block is run whole
            require_memory(error)
    return [output_features(subject, encoded, recipe, poll)]
