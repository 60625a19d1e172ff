"""All that is looked for, in its order: what the rows alone tell, and what an untouched model tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from regraft.data import Splits
from regraft.device import require_memory
from regraft.errors import QualityError
from regraft.frozen import UNFIT, Subject, depth_taps, features, store_root
from regraft.probing import output_features
from regraft.quality import duplicates, inputs
from regraft.quality.balance import unbalanced
from regraft.quality.findings import Finding, Quality, Row, rows_of
from regraft.quality.groups import straddling
from regraft.quality.labels import LABELLED, Array, wrong_labels
from regraft.quality.pictures import glances
from regraft.quality.shortcuts import shortcuts
from regraft.recipe import Recipe
from regraft.sources import make_rows, open_model
from regraft.tasks import Answers, Encoded, Task
from regraft.training import Poll, Rows, choose_device

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
        RecipeError, ResourceError: the model cannot be opened or cannot read the rows.
    """
    rows = rows_of(splits)
    found = Quality(Counter(row.side for row in rows), _OF_ROWS, _sorted(_of_rows(rows, splits, answers, poll)))
    if not model:
        return found
    opened = open_model(recipe, task, answers)
    device = choose_device(recipe.training.precision, model=opened.model)
    opened.model.to(device.device)
    subject = Subject(opened.model, opened.anatomy, task.inputs, opened.processor, device)
    train = [row for row in rows if row.side == "train"]
    made = make_rows([row.example for row in train], task, answers, opened)
    return look_by_model(found, subject, made, answers, recipe, poll=poll)


def look_by_model(
    found: Quality, subject: Subject, rows: Rows, answers: Answers, recipe: Recipe, *, poll: Poll = lambda: None
) -> Quality:
    """What was found, and what an untouched model tells of the training rows besides.

    Args:
        rows: those of the tables.
    """
    train = [Row("train", example) for example in rows.examples]
    more = [*inputs.cut(train, rows.lengths, rows.limit)]
    if answers.kind in LABELLED and rows.examples:
        heights = _heights(subject, rows.encoded, recipe, poll)
        more += wrong_labels(train, heights, rows.values, answers, seed=recipe.seed)
    return Quality(found.rows, (*found.looked_for, *_OF_A_MODEL), _sorted([*found.findings, *more]))


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first."""
    return tuple(sorted(findings, key=lambda finding: _GRAVITY.index(finding.level)))


def require_sound(quality: Quality) -> None:
    """See that nothing was found that makes scores untrue.

    Raises:
        QualityError: there was.
    """
    grave = quality.of("error")
    if grave:
        more = "" if len(grave) == 1 else f" ({len(grave) - 1} more: `regraft check` lists all)"
        raise QualityError(f"{grave[0].told}{more}", fix=f"{grave[0].fix}; or let the run go on with quality=warn")


def _of_rows(rows: Sequence[Row], splits: Splits, answers: Answers, poll: Poll) -> Iterator[Finding]:
    yield from inputs.unreadable(splits.bad_rows)
    yield from straddling(rows)
    seen = glances(rows, poll)
    yield from duplicates.nearly_equal(rows, duplicates.near_pairs(rows, seen, poll))
    yield from duplicates.equal(rows)
    yield from inputs.empty(rows, seen, poll)
    yield from shortcuts(rows, seen, answers.kind)
    yield from unbalanced(rows, answers.kind)


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
