"""Detection: boxes matched to objects as COCO does, and average precision of weighted images.

The rules are those of the COCO evaluation (Lin et al., ECCV 2014). In each image and class, the detections, best score
first and 100 at most, take the object not yet taken with which they overlap most, if the overlap reaches the
threshold; what finds a crowd is neither right nor wrong. Average precision is the mean precision at 101 recalls.
Detections of equal score stand in the order of their images.

All of this is done once. A weighting of the images then only counts: the hits, and what is ranked above each hit, for
between two hits precision can only fall.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from regraft.evaluation.weighted import Array, Floats, Statistic, mean_defined, ratio

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100  # detections that count, of an image and class


@dataclass(frozen=True)
class Ranking:
    """The detections of one class in all images, best first.

    ``images`` [d] is where each comes from. ``hits`` and ``crowds`` are, for each threshold, the places in the ranking
    that found an object, or a crowd. ``objects`` [n] counts the objects in each image, crowds left out.
    """

    label: int
    images: NDArray[np.int64]
    hits: tuple[NDArray[np.int64], ...]
    crowds: tuple[NDArray[np.int64], ...]
    objects: Floats


@dataclass(frozen=True)
class _Found:
    """Boxes in a row: the image of each, its corners [m, 4], its label, and its score (of objects, whether a crowd)."""

    image: NDArray[np.int64]
    box: Floats
    label: NDArray[np.int64]
    last: Floats

    def taken(self, places: Array) -> _Found:
        return _Found(self.image[places], self.box[places], self.label[places], self.last[places])


def rankings(target: Array, scores: Array) -> list[Ranking]:
    """One ranking for each class that has objects.

    Args:
        target: objects ``[n]`` of ``[m, 6]``: corners, label, crowd.
        scores: detections ``[n, K, 6]``: corners, score (below 0: there is none), label.
    """
    truth, said = _objects(target), _detections(scores)
    labels = np.unique(truth.label[truth.last == 0])
    hit, crowd = _match(truth, said)
    return [_ranking(int(label), truth, said, hit, crowd, len(target)) for label in labels]


def _objects(target: Array) -> _Found:
    """Sorted by image and class, crowds last: they are only found where nothing else is."""
    rows = [np.asarray(each, dtype=np.float64).reshape(-1, 6) for each in target]
    flat = np.concatenate([np.empty((0, 6)), *rows])
    image = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    found = _Found(image, flat[:, :4], flat[:, 4].astype(np.int64), (flat[:, 5] > 0).astype(np.float64))
    return found.taken(np.lexsort((found.last, found.label, found.image)))


def _detections(scores: Array) -> _Found:
    """Sorted by image, class and score, the best first, and no more than count."""
    image, place = np.nonzero(scores[:, :, 4] >= 0)
    flat = scores[image, place].astype(np.float64)
    found = _Found(image, flat[:, :4], flat[:, 5].astype(np.int64), flat[:, 4])
    found = found.taken(np.lexsort((-found.last, found.label, found.image)))
    _, starts, counts = _runs(found.image, found.label)
    return found.taken(np.arange(len(found.image)) - np.repeat(starts, counts) < MOST)


def _runs(image: Array, label: Array) -> tuple[Array, Array, Array]:
    """Of sorted boxes, the run each is in, where the runs of one image and class start, and how long they are."""
    fresh = np.ones(len(image), dtype=bool)
    fresh[1:] = (np.diff(image) != 0) | (np.diff(label) != 0)
    starts = np.flatnonzero(fresh)
    return np.cumsum(fresh) - 1, starts, np.diff(np.append(starts, len(image)))


def _match(truth: _Found, said: _Found) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections find an object, and which only a crowd: two times [d, thresholds].

    Detections take turns in the order of their scores, those of all images and classes at once.
    """
    of_said, of_truth = _pairs(truth, said)
    overlap = _overlap(said.box[of_said], truth.box[of_truth], truth.last[of_truth])
    near = overlap >= THRESHOLDS[0]
    of_said, of_truth, overlap = of_said[near], of_truth[near], overlap[near]
    hit, crowd = (np.zeros((len(said.image), len(THRESHOLDS)), dtype=bool) for _ in range(2))
    taken = np.zeros((len(truth.image), len(THRESHOLDS)), dtype=bool)
    for turn in _turns(said, of_said):
        mine, theirs = of_said[turn], of_truth[turn]
        winner, threshold = _winners(mine, overlap[turn], truth.last[theirs] > 0, taken[theirs])
        only_crowd = truth.last[theirs[winner]] > 0
        hit[mine[winner], threshold] = ~only_crowd
        crowd[mine[winner], threshold] = only_crowd
        taken[theirs[winner], threshold] = True
    return hit, crowd


def _pairs(truth: _Found, said: _Found) -> tuple[Array, Array]:
    """Each detection with each object of its image and class, as places in both."""
    width = 1 + max(truth.label.max(initial=0), said.label.max(initial=0))
    keys = truth.image * width + truth.label
    wanted = said.image * width + said.label
    first, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    counts = end - first
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.arange(len(wanted)), counts), np.repeat(first, counts) + offset


def _overlap(said: Floats, truth: Floats, crowd: Floats) -> Floats:
    """Intersection over union of boxes [p, 4]; over the detection's own area where the object is a crowd."""
    sides = np.minimum(said[:, 2:], truth[:, 2:]) - np.maximum(said[:, :2], truth[:, :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    own, theirs = (np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (said, truth))
    return np.nan_to_num(ratio(shared, np.where(crowd > 0, own, own + theirs - shared)))


def _turns(said: _Found, of_said: Array) -> Iterator[NDArray[np.int64]]:
    """The pairs of the first detection of every image and class, then those of the second, and so on."""
    if len(of_said) == 0:
        return
    candidates, of_candidate = np.unique(of_said, return_inverse=True)
    run, starts, _ = _runs(said.image[candidates], said.label[candidates])
    turn = (np.arange(len(candidates)) - starts[run])[of_candidate]
    order = np.argsort(turn, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(turn[order])) + 1)


def _winners(said: Array, overlap: Floats, crowd: Array, taken: Array) -> tuple[Array, Array]:
    """The pair that each detection ends in, for each threshold that it reaches: places of pairs, and thresholds.

    Of equal overlaps the last object wins, as with COCO.
    """
    fits = (overlap[:, None] >= THRESHOLDS) & (crowd[:, None] | ~taken)
    worth = np.where(fits, np.where(crowd, 0.0, overlap)[:, None], -1.0)
    starts = np.flatnonzero(np.diff(said, prepend=-1))
    best = np.maximum.reduceat(worth, starts, axis=0)
    lengths = np.diff(np.append(starts, len(said)))
    last = np.where(fits & (worth == np.repeat(best, lengths, axis=0)), np.arange(len(said))[:, None], -1)
    chosen = np.maximum.reduceat(last, starts, axis=0)
    detection, threshold = np.nonzero(chosen >= 0)
    return chosen[detection, threshold], threshold


def _ranking(label: int, truth: _Found, said: _Found, hit: Array, crowd: Array, images: int) -> Ranking:
    mine = np.flatnonzero(said.label == label)
    mine = mine[np.argsort(-said.last[mine], kind="stable")]
    counted = truth.image[(truth.label == label) & (truth.last == 0)]
    return Ranking(
        label=label,
        images=said.image[mine],
        hits=tuple(np.flatnonzero(column) for column in hit[mine].T),
        crowds=tuple(np.flatnonzero(column) for column in crowd[mine].T),
        objects=np.bincount(counted, minlength=images).astype(np.float64),
    )


def average_precisions(ranked: Sequence[Ranking], thresholds: Sequence[int]) -> Statistic:
    """For weights ``[b, n]`` the average precision of each ranking, mean over thresholds: ``[b, rankings]``.

    ``thresholds`` are places in ``THRESHOLDS``. A class without objects in a weighting is nan.
    """
    prepared = [_average_precision(each, thresholds) for each in ranked]
    return lambda weights: np.stack([statistic(weights) for statistic in prepared], axis=1)


def _average_precision(ranking: Ranking, thresholds: Sequence[int]) -> Statistic:
    """Weightings lie side by side ``[hits, b]``: what is added up down a ranking is then added for all of them."""
    places = np.unique(np.concatenate([ranking.hits[threshold] for threshold in thresholds]))
    upto = _upto(places, ranking)
    steps = [_Step(np.searchsorted(places, ranking.hits[each]), ranking, each) for each in thresholds]

    def statistic(weights: Floats) -> Floats:
        images = np.ascontiguousarray(weights.T)
        given, objects = np.cumsum(upto @ images, axis=0), ranking.objects @ images
        values = np.zeros(len(weights))
        for step in steps:
            precision, recalls = _envelope(*step.counts(images, given), objects)
            values += np.einsum("hb,hb->b", precision, recalls)
        return np.where(objects > 0, values / len(RECALLS) / len(steps), np.nan)

    return statistic


def _upto(places: Array, ranking: Ranking) -> sparse.csr_array:
    """How many detections of each image stand between each of these places in a ranking and the one before it."""
    step = np.searchsorted(places, np.arange(len(ranking.images)))
    counted = step < len(places)
    entries = (np.ones(counted.sum()), (step[counted], ranking.images[counted]))
    return sparse.csr_array(entries, shape=(len(places), len(ranking.objects)))


@dataclass(frozen=True)
class _Step:
    """The hits of a ranking at one threshold, and where they stand among the hits of all thresholds."""

    places: NDArray[np.int64]
    ranking: Ranking
    threshold: int

    def counts(self, images: Floats, given: Floats) -> tuple[Floats, Floats]:
        """Down to each hit, what is right, and what was given, crowds left out: two times ``[hits, b]``."""
        hits, crowds = self.ranking.hits[self.threshold], self.ranking.crowds[self.threshold]
        found, given = np.cumsum(images[self.ranking.images[hits]], axis=0), given[self.places]
        if len(crowds):
            before = np.pad(np.cumsum(images[self.ranking.images[crowds]], axis=0), ((1, 0), (0, 0)))
            given -= before[np.searchsorted(crowds, hits)]
        return found, given


def _envelope(found: Array, given: Array, objects: Floats) -> tuple[Floats, Floats]:
    """At each hit ``[h, b]``, the best precision from there on, and how many of the 101 recalls it reaches first.

    ``found`` of ``objects`` [b] are right of the ``given`` that are ranked so high.
    """
    precision = np.divide(found, given, out=np.zeros(found.shape), where=given > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = np.divide(found, objects, out=np.zeros(found.shape), where=objects > 0)
    return best, np.diff(_reached(recall), axis=0, prepend=0).astype(np.float64)


def _reached(recall: Floats) -> NDArray[np.int64]:
    """How many of the 101 recalls are not above these; as ``searchsorted``, but quicker."""
    guess = (recall * (len(RECALLS) - 1)).astype(np.int64)
    too_few, too_many = recall >= np.append(RECALLS, np.inf)[guess + 1], recall < RECALLS[guess]
    return guess + 1 + too_few - too_many


def precision_at_recalls(found: Array, given: Array, objects: float) -> Floats:
    """Precision at 101 recalls, 0 where a recall is not reached, from running counts ``[h]`` down a ranking."""
    best, recalls = _envelope(found[:, None], given[:, None], np.array([objects]))
    curve = np.repeat(best[:, 0], recalls[:, 0].astype(np.int64))
    return np.pad(curve, (0, len(RECALLS) - len(curve)))


def precision_curve(ranking: Ranking, threshold: int) -> Floats:
    """Precision of a class at 101 recalls, every image counted once."""
    hits, crowds = ranking.hits[threshold], ranking.crowds[threshold]
    found, given = np.arange(len(hits)) + 1, hits + 1 - np.searchsorted(crowds, hits)
    return precision_at_recalls(found, given, float(ranking.objects.sum()))


def mean_average_precision(*thresholds: int) -> Callable[[Array, Array], Statistic]:
    """The metric that is the mean of the average precision over classes and these places in ``THRESHOLDS``."""

    def prepare(target: Array, scores: Array) -> Statistic:
        ranked = rankings(target, scores)
        return _mean_over_classes(average_precisions(ranked, thresholds), len(ranked))

    return prepare


def recall_100(target: Array, scores: Array) -> Statistic:
    """The share of objects that is found by 100 detections of an image and class, mean over classes and thresholds."""
    ranked = rankings(target, scores)
    found = [_found_in_images(each, len(target)) for each in ranked]
    return _mean_over_classes(
        lambda weights: np.stack(
            [ratio(weights @ of_class, weights @ each.objects) for of_class, each in zip(found, ranked, strict=True)],
            axis=1,
        ),
        len(ranked),
    )


def _found_in_images(ranking: Ranking, images: int) -> Floats:
    """How many objects are found in each image, mean over thresholds."""
    places = ranking.images[np.concatenate(ranking.hits)]
    return np.bincount(places, minlength=images) / len(THRESHOLDS)


def _mean_over_classes(statistic: Statistic, classes: int) -> Statistic:
    if classes == 0:
        return lambda weights: np.full(len(weights), np.nan)
    return lambda weights: mean_defined(statistic(weights))
