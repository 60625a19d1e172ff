"""Labels that are likely wrong: what linear probes that have not seen a row say of it, against what it is labelled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft import evaluation
from regraft.errors import DataError
from regraft.probing import folds
from regraft.quality.findings import Finding, Item, Row, place_of, strongest
from regraft.quality.texts import words_of
from regraft.tasks import Answers

LABELLED = ("classes", "numbers")  # kinds of answers whose labels are looked at

_FEWEST = 20  # rows, to say anything
_SURE = 2.0  # standard errors
_SHARE = 0.1  # of the rows are listed at most
_LOOSE, _ITERATIONS = 3.0, 300  # of the fits to words
_FAR = 5.0  # times the usual distance, from which a number is doubtful

Array = NDArray[Any]


def wrong_labels(
    rows: Sequence[Row], heights: Sequence[Array], values: Sequence[Any], answers: Answers, *, seed: int
) -> Iterator[Finding]:
    """The training rows whose labels fit worst, the worst first.

    Classes by confident learning (Northcutt et al., Confident Learning: Estimating Uncertainty in Dataset Labels, 2021)
    on what probes say of rows in folds that they have not seen; numbers by how far they lie from what is said.

    Args:
        rows: the training rows.
        heights: their features, [n, f], at some heights of the untouched model.
        values: their targets.
    """
    if len(rows) < _FEWEST or answers.kind not in LABELLED:
        return
    target = np.asarray(values)
    try:
        said = unseen(rows, heights, target, answers, seed=seed)
    except DataError:
        return
    yield from (
        _of_classes(rows, said, target, answers)
        if answers.kind == "classes"
        else _of_numbers(rows, said, target, answers)
    )


def unseen(rows: Sequence[Row], heights: Sequence[Array], target: Array, answers: Answers, *, seed: int) -> Array:
    """What a probe of all heights says of each row, [n, c], fitted to rows of other folds; of texts in the mean with
    what one of their words says. Together they know more of a row than either (LOG.md).

    Raises:
        DataError: no two rows may be parted.
    """
    fold = folds([row.example for row in rows], target, seed)
    joined = np.concatenate(heights, axis=1)
    if answers.kind == "numbers":
        return evaluation.probe_unseen("numbers", joined, target, fold, seed=seed, classes=answers.width)
    alike = (joined - joined.mean(axis=0)) / np.maximum(joined.std(axis=0), 1e-6)
    said = _said(alike, target, fold, answers.width, 1 / alike.shape[1])
    if all(isinstance(each, str) for each in rows[0].example.inputs.values()):
        words = _weighted_words(rows)
        said = said if words is None else (said + _said(words, target, fold, answers.width, _LOOSE)) / 2
    return said


def _said(features: Any, target: Array, fold: Array, classes: int, inverse: float) -> Array:
    """What logistic regressions say of the rows of the folds that they have not seen, [n, c].

    Args:
        inverse: of the penalty. Of features of like spread one over their number: a logit has variance 1 then.
    """
    from sklearn.linear_model import LogisticRegression

    said = np.full((len(target), classes), 1 / classes)
    for number in np.unique(fold):
        rest, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(np.unique(target[rest])) > 1:
            fitted = LogisticRegression(C=inverse, max_iter=_ITERATIONS, tol=1e-3).fit(features[rest], target[rest])
            said[held] = 0.0
            said[np.ix_(held, fitted.classes_)] = fitted.predict_proba(features[held])
    return said


def _weighted_words(rows: Sequence[Row]) -> Any:
    """Words and pairs of words, weighted by their rarity, [n, words]; None where none is there twice."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        return TfidfVectorizer(analyzer=_words_and_pairs, min_df=2, sublinear_tf=True).fit_transform(rows)
    except ValueError:
        return None


def _words_and_pairs(row: Row) -> list[str]:
    """Words and pairs of words; of a writing without spaces, signs and pairs of signs."""
    words = [part for word in words_of(row) for part in (word if _is_ideographic(word) else [word])]
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def _is_ideographic(word: str) -> bool:
    return any("\u3040" <= sign <= "\u9fff" for sign in word)


def _of_classes(rows: Sequence[Row], said: Array, target: Array, answers: Answers) -> Iterator[Finding]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(target, said, method="self_confidence")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of a class with hardly a row little can be told
        doubtful = int(find_label_issues(target, said, filter_by="both", n_jobs=1).sum())
    if not doubtful or not _knows(said, target):
        return
    worst = np.argsort(quality, kind="stable")[: max(doubtful, int(_SHARE * len(rows)))]
    items = []
    for place in worst:
        other = int(said[place].argmax())
        told = f"{answers.names[other]}? ({said[place, other]:.0%})" if other != target[place] else ""
        items.append(Item((place_of(rows[place]),), 1 - float(quality[place]), told))
    yield Finding(
        "wrong-labels",
        "note" if doubtful < 0.01 * len(rows) else "warning",
        f"About {doubtful:,} of {len(rows):,} training labels may be wrong: probes that had not seen these rows say "
        "another label.",
        "look at the list from its top, and correct what is wrong; --export-clean leaves the doubtful ones out",
        doubtful,
        strongest(items),
    )


def _knows(said: Array, target: Array) -> bool:
    """Whether the probes know more of labels than how frequent they are, beyond chance: else they may doubt none."""
    share = np.bincount(target, minlength=said.shape[1]) / len(target)
    places = np.arange(len(target))
    gain = np.log(np.maximum(said[places, target], 1e-12)) - np.log(share[target])
    return bool(gain.mean() > _SURE * gain.std() / np.sqrt(len(gain)))


def _of_numbers(rows: Sequence[Row], said: Array, target: Array, answers: Answers) -> Iterator[Finding]:
    off = (said - target.reshape(said.shape)) / np.maximum(1e-12, _usual(said - target.reshape(said.shape)))
    far = np.abs(off).max(axis=1)
    doubtful = np.flatnonzero(far > _FAR)
    if not len(doubtful):
        return
    items = []
    for place in doubtful[np.argsort(-far[doubtful])]:
        guess = ", ".join(f"{value:.4g}" for value in answers.in_units(said[place : place + 1].astype(np.float32))[0])
        items.append(Item((place_of(rows[place]),), float(1 - 1 / far[place]), f"{guess}?"))
    yield Finding(
        "wrong-labels",
        "warning",
        f"{len(doubtful):,} of {len(rows):,} training values are more than {_FAR:g} times as far as is usual from what "
        "probes say that had not seen these rows.",
        "look at the list from its top, and correct what is wrong",
        len(doubtful),
        strongest(items),
    )


def _usual(off: Array) -> Array:
    """The usual distance, of each column, as a standard deviation that outliers do not move."""
    return np.asarray(1.4826 * np.median(np.abs(off - np.median(off, axis=0)), axis=0))
