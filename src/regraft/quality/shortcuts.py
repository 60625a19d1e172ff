"""Shortcuts: what alone predicts the label though it says nothing of it, such as a length, a source, a word, a border.

A model that finds one is right on these rows and wrong on others. What is found is named, with the rows that have it;
whether it is a shortcut or what the task is about, people decide.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from regraft import evaluation
from regraft.evaluation.intervals import wilson
from regraft.quality.findings import Finding, Item, Row, place_of, strongest
from regraft.quality.pictures import Glance
from regraft.quality.texts import words_of

_FEWEST = 40  # training rows, to say anything
_TELLS = 0.5  # of what there is to be told beyond chance, from which something alone predicts the label
_BITS = 0.04  # of the bits of the labels that a word tells, from which it does
_PURE = 0.9  # of the rows with the word, at the lower end of the interval, that have the same label
_FOLDS, _LEAVES, _RESAMPLES = 5, 8, 400
_IN_A_FOLD = 5  # rows of a class
_NAMED = 5  # words
_SHOWN = 20  # rows with what was found


def shortcuts(rows: Sequence[Row], seen: Sequence[Glance] | None, kind: str) -> Iterator[Finding]:
    """What alone predicts the classes of the training rows.

    Args:
        seen: of images what was seen of each.
    """
    places = [place for place, row in enumerate(rows) if row.side == "train" and isinstance(row.example.target, str)]
    train = [rows[place] for place in places]
    if kind != "classes" or len(train) < _FEWEST:
        return
    labels = np.array([row.example.target for row in train])
    for name, values, told in _aspects(train, None if seen is None else [seen[place] for place in places]):
        yield from _predictive(name, values, told, train, labels)
    if isinstance(next(iter(train[0].example.inputs.values())), str):
        yield from _telling_words(train)


def _aspects(train: Sequence[Row], seen: Sequence[Glance] | None) -> Iterator[tuple[str, NDArray[Any], str]]:
    """What may predict a label: its name, values [n, width], and what it is in words."""
    first = next(iter(train[0].example.inputs.values()))
    inputs = [next(iter(row.example.inputs.values())) for row in train]
    sources = [row.example.group or "" for row in train]
    if 1 < len(set(sources)) <= len(train) / _IN_A_FOLD:
        yield "group", _one_hot(sources), "the group of a row"
    if isinstance(first, str):
        yield (
            "length",
            np.array([[len(words_of(row)), len(str(text))] for row, text in zip(train, inputs, strict=True)]),
            "the length of the text",
        )
    elif seen is not None:
        yield "size", np.array([[each.width, each.height] for each in inputs]), "the size of the image"
        yield "format", _one_hot([os.path.splitext(each.path)[1].lower() for each in inputs]), "the format of the file"
        yield "border", np.stack([glance.border for glance in seen]), "the border of the image"
    elif hasattr(first, "seconds"):
        yield "length", np.array([[each.seconds] for each in inputs]), "the length of the sound"


def _one_hot(names: Sequence[str]) -> NDArray[np.float32]:
    """Whether each row is of each name, [n, names]."""
    known = sorted(set(names))
    return np.array([[name == other for other in known] for name in names], dtype=np.float32)


def _predictive(
    name: str, values: NDArray[Any], told: str, train: Sequence[Row], labels: NDArray[Any]
) -> Iterator[Finding]:
    """A small tree on these values alone, judged on rows that it has not seen, by balanced accuracy."""
    frequent = {label for label, count in Counter(labels).items() if count >= _IN_A_FOLD}
    kept = np.array([label in frequent for label in labels])
    if len(frequent) < 2 or np.ptp(values[kept], axis=0).max() == 0:
        return
    truth = np.searchsorted(np.array(sorted(frequent)), labels[kept])
    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(_LEAVES, 2 * len(frequent)), class_weight="balanced", random_state=0
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    chances = cross_val_predict(tree, values[kept], truth, cv=folds, method="predict_proba")
    metric = "balanced_accuracy"
    found = evaluation.bootstrap([metric], truth, chances, resamples=_RESAMPLES, confidence=0.95, seed=0)[metric]
    chance = 1 / len(frequent)
    if (found.low - chance) / (1 - chance) < _TELLS:
        return
    right = np.flatnonzero(kept)[chances.argmax(axis=1) == truth]
    surest = sorted(right, key=lambda place: -chances[np.searchsorted(np.flatnonzero(kept), place)].max())[:_SHOWN]
    yield Finding(
        f"shortcut-{name}",
        "warning",
        f"{told[0].upper()}{told[1:]} alone predicts the label: balanced accuracy {found.value:.3f} "
        f"[{found.low:.3f}, {found.high:.3f}] on rows that were held out, {chance:.3f} by chance.",
        "see whether it would be there in use; if not, gather rows of each label from like sources",
        len(right),
        strongest([Item((place_of(train[place]),), 1.0) for place in surest]),
    )


def _telling_words(train: Sequence[Row]) -> Iterator[Finding]:
    """Words, or signs of a writing without spaces, that tell more of the label than words do, and nearly always.

    By the mutual information of word and label, as a share of the entropy of the labels.
    """
    labels = Counter(row.example.target for row in train)
    having: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        for word in _tokens(row):
            having[word][row.example.target] += 1
    entropy = _entropy(labels)
    found = []
    for word, counts in having.items():
        label, most = counts.most_common(1)[0]
        low, _ = wilson(most / counts.total(), counts.total(), 0.95)
        if low >= _PURE and (share := _told(counts, labels) / entropy) >= _BITS:
            found.append((share, word, label, most, counts.total()))
    for share, word, label, most, total in sorted(found, reverse=True)[:_NAMED]:
        with_it = [row for row in train if word in _tokens(row)][:_SHOWN]
        yield Finding(
            "shortcut-word",
            "warning",
            f"The word {word!r} alone predicts the label {label!r}: {most:,} of the {total:,} training rows with it "
            f"have that label, and it tells {share:.1%} of what there is to be told of all labels.",
            "see whether it is what is asked; if not, take it out of the texts, or add rows of other labels with it",
            total,
            strongest([Item((place_of(row),), 1.0, word) for row in with_it]),
        )


def _tokens(row: Row) -> set[str]:
    """Words; of those with Chinese or Japanese signs, pairs of signs."""
    found: set[str] = set()
    for word in words_of(row):
        if any("\u3040" <= sign <= "\u9fff" for sign in word):
            found.update(word[start : start + 2] for start in range(max(1, len(word) - 1)))
        else:
            found.add(word)
    return found


def _entropy(counts: Counter[str]) -> float:
    """In bits."""
    shares = np.array([count for count in counts.values() if count]) / max(1, counts.total())
    return float(-(shares * np.log2(shares)).sum())


def _told(having: Counter[str], labels: Counter[str]) -> float:
    """Bits that it tells of a label whether a row has the word."""
    without = labels - having
    share = having.total() / labels.total()
    return _entropy(labels) - share * _entropy(having) - (1 - share) * _entropy(without)
