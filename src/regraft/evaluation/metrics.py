"""Metrics, each as a statistic of weighted rows.

A metric is prepared once for the answers of a test set and can then be asked for many weightings of its rows
at once: weights ``[b, n]`` in, values ``[b]`` out. All ones is the plain score, the counts of a bootstrap
resample give the score of that resample, zeros leave rows out. Sorting, logarithms and comparisons are thus
done once and not a thousand times.

The kind of answers is told by the target's type:

    kind      target           scores
    classes   int   [n]        probabilities [n, c]
    labels    bool  [n, c]     probabilities [n, c]
    numbers   float [n, d]     values        [n, d]
    boxes     object [n]       detections    [n, K, 6]
    masks     int   [n, c]     pixels        [n, c, c]
    texts     str   [n]        objects       [n, 3]
    speech    str   [n]        objects       [n, 5]

A row of boxes is an image. Its truth is an array ``[m, 6]``: corners x1, y1, x2, y2 (their unit does not matter, as
overlap does not depend on it), label, and 1 for a crowd; its detections are corners, score, label, with a score below
0 where there is none. A row of masks is an image too: the pixels of each true class, and the pixels of true class i
that were decided as class j. A row of texts is what was to be written; its scores are what was written (None where
nothing was), how many nats the truth cost the model, and in how many tokens. Texts are of several kinds, for a
translation is measured otherwise than a completion; a target of strings does not tell which. A row of speech is what
was to be spoken; its scores are what was heard of it (None where nobody listened), the two of a text, how far it is
from the recording in dB, and how alike the voices are (nan where nobody knows).

What is undefined (AUC of a single class, the correlation with a constant) is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from regraft.errors import RecipeError
from regraft.evaluation import texts
from regraft.evaluation.detection import THRESHOLDS, mean_average_precision, recall_100
from regraft.evaluation.segmentation import mean_over_classes, pixel_accuracy
from regraft.evaluation.weighted import Array, Floats, Statistic, mean_defined, ratio, totals
from regraft.recipe import nearest

Kind = Literal["classes", "labels", "numbers", "boxes", "masks", "texts", "translations", "completions", "passages",
               "transcripts", "speech"]  # fmt: skip
TEXTS: tuple[Kind, ...] = ("texts", "translations", "completions", "passages", "transcripts")

BINS = 15

_AT_75 = 5  # of the thresholds of overlap
_TIES: dict[Kind, str] = {
    "classes": "log_loss",
    "labels": "log_loss",
    "numbers": "mse",
    "boxes": "map",
    "masks": "pixel_accuracy",
    **dict.fromkeys(TEXTS, "perplexity"),
    "speech": "mcd",
}


@dataclass(frozen=True)
class Metric:
    """One metric: ``function(target, scores)`` prepares it, the statistic it returns takes weights.

    ``per_column`` says that its time grows with the number of classes, or of detections of an image; ``of_texts`` that
    it looks at what was written.
    """

    name: str
    kinds: tuple[Kind, ...]
    higher_is_better: bool
    function: Callable[[Array, Array], Statistic]
    per_column: bool = False
    of_texts: bool = False


@dataclass(frozen=True)
class Mean:
    """The statistic that is the mean of a value per row; comparisons know a shorter way for it."""

    values: Floats

    def __call__(self, weights: Floats) -> Floats:
        return ratio(totals(weights, self.values), weights.sum(axis=1))


def kind_of(target: Array) -> Kind:
    """The kind of answers, told by the target's type."""
    if target.dtype.kind == "T":
        return "texts"
    if target.dtype == np.object_:
        return "boxes"
    if target.dtype == np.bool_:
        return "labels"
    if np.issubdtype(target.dtype, np.integer):
        return "masks" if target.ndim == 2 else "classes"
    return "numbers"


def metrics_for(kind: Kind) -> tuple[str, ...]:
    """The names of all metrics that fit a kind of answers."""
    return tuple(name for name, metric in METRICS.items() if kind in metric.kinds)


def find_metric(name: str, kind: Kind) -> Metric:
    """The metric of that name.

    Raises:
        RecipeError: there is none for this kind of answers; the message names the nearest and lists them.
    """
    known = metrics_for(kind)
    if name in known:
        return METRICS[name]
    guess = nearest(name, known)
    hint = f"did you mean {guess!r}? " if guess else ""
    reason = "does not fit this task" if name in METRICS else "is not a metric"
    raise RecipeError(f"{name!r} {reason}", fix=f"{hint}For {kind} there are: {', '.join(known)}")


def measure(names: Sequence[str], target: Array, scores: Array) -> dict[str, float]:
    """The plain value of each metric; nan where it is undefined, as everything is without rows.

    Raises:
        RecipeError: a name is not a metric for this kind of answers.
    """
    metrics = [find_metric(name, kind_of(target)) for name in names]
    if len(target) == 0:
        return {metric.name: float("nan") for metric in metrics}
    return {metric.name: plain(metric.function(target, scores), len(target)) for metric in metrics}


def says_nothing(name: str, target: Array, outputs: int) -> bool:
    """Whether a metric is undefined on classes, labels or numbers whatever is said of them, as R² of one row is.

    Args:
        outputs: how many numbers are said of a row.
    """
    said = np.random.default_rng(0).uniform(size=(len(target), outputs))
    return len(target) > 0 and bool(np.isnan(measure([name], target, said)[name]))


def plain(statistic: Statistic, rows: int) -> float:
    """The value where every row counts once."""
    return float(statistic(np.ones((1, rows)))[0])


def spoken(name: str) -> str:
    """A metric's name as it is said."""
    for ours, said in (
        ("map_", "mAP"),
        ("map", "mAP"),
        ("iou", "IoU"),
        ("bleu", "BLEU"),
        ("chrf", "chrF"),
        ("wer", "WER"),
        ("cer", "CER"),
        ("mcd", "MCD"),
    ):
        name = name.replace(ours, said)
    return name.replace("_", " ")


def tie_of(kind: Kind, values: Mapping[str, float]) -> float:
    """What decides between two models of equal primary metric, larger for better; nan where it is undefined."""
    return signed(_TIES[kind], values)


def signed(name: str, values: Mapping[str, float]) -> float:
    """The value of a metric, turned so that larger is better."""
    return values[name] if METRICS[name].higher_is_better else -values[name]


def answers(target: Array, scores: Array) -> Array:
    """What the scores decide for: a class ``[n]``, or the labels of probability 0.5 and more ``[n, c]``."""
    return scores.argmax(axis=1) if kind_of(target) == "classes" else scores >= 0.5


def confidences(target: Array, scores: Array) -> tuple[Floats, NDArray[np.bool_]]:
    """The probability of each decision and whether it was right: ``[n, 1]``, or ``[n, c]`` for labels."""
    right = answers(target, scores) == target
    if kind_of(target) == "classes":
        return scores.max(axis=1, keepdims=True).astype(np.float64), right[:, None]
    return np.maximum(scores, 1 - scores).astype(np.float64), right


def bin_of(confidence: Floats) -> NDArray[np.int64]:
    """The number of the equal-width bin ``(low, high]`` of each probability."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def row_log_loss(target: Array, scores: Array) -> Floats:
    """The negative log-probability of each row's truth ``[n]``, mean over labels, kept finite by clipping."""
    edge = float(np.finfo(scores.dtype).eps)
    if kind_of(target) == "classes":
        of_truth = scores[np.arange(len(target)), target].astype(np.float64)
        return np.asarray(-np.log(np.clip(of_truth, edge, 1 - edge)))
    safe = np.clip(scores.astype(np.float64), edge, 1 - edge)
    return np.asarray(-np.log(np.where(target, safe, 1 - safe)).mean(axis=1))


def _accuracy(target: Array, scores: Array) -> Statistic:
    right = answers(target, scores) == target
    return Mean((right if right.ndim == 1 else right.all(axis=1)).astype(np.float64))


def _balanced_accuracy(target: Array, scores: Array) -> Statistic:
    truth, decision = memberships(target, scores)
    hit = truth.multiply(decision).tocsr()
    return lambda weights: mean_defined(ratio(weights @ hit, weights @ truth))


def _macro_f1(target: Array, scores: Array) -> Statistic:
    truth, decision = memberships(target, scores)
    hit, both = truth.multiply(decision).tocsr(), (truth + decision).tocsr()
    return lambda weights: mean_defined(ratio(2 * (weights @ hit), weights @ both))


def _micro_f1(target: Array, scores: Array) -> Statistic:
    if kind_of(target) == "classes":
        return _accuracy(target, scores)
    decision = answers(target, scores)
    hit = 2.0 * (target & decision).sum(axis=1)
    both = target.sum(axis=1) + decision.sum(axis=1).astype(np.float64)
    return lambda weights: ratio(totals(weights, hit), totals(weights, both))


def memberships(target: Array, scores: Array) -> tuple[Any, Any]:
    """Truth and decision as sparse 0/1 matrices ``[n, c]``: one entry a row, however many the classes."""
    decision = answers(target, scores)
    if kind_of(target) == "labels":
        return sparse.csr_array(target.astype(np.float64)), sparse.csr_array(decision.astype(np.float64))
    rows, ones = np.arange(len(target)), np.ones(len(target))
    truth = sparse.csr_array((ones, (rows, target)), shape=scores.shape)
    return truth, sparse.csr_array((ones, (rows, decision)), shape=scores.shape)


def _auc(target: Array, scores: Array) -> Statistic:
    """Area under the ROC curve: of class 1 if there are two, else the mean of one against the rest."""
    if kind_of(target) == "labels":
        curves = [_auc_of(target[:, k], scores[:, k]) for k in range(scores.shape[1])]
    elif scores.shape[1] == 2:
        curves = [_auc_of(target == 1, scores[:, 1])]
    else:
        curves = [_auc_of(target == k, scores[:, k]) for k in range(scores.shape[1])]
    return lambda weights: mean_defined(np.stack([curve(weights) for curve in curves], axis=1))


def _auc_of(positive: Array, score: Array) -> Statistic:
    """The share of pairs (positive, negative) in the right order; ties count one half."""
    order, starts, _ = _tied(score)
    ends = np.append(starts[1:], len(order)) - 1
    positive = positive[order].astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        weights = weights[:, order]
        ones = weights * positive
        zeros = np.cumsum(weights - ones, axis=1)
        all_ones, all_zeros = ones.sum(axis=1), zeros[:, -1]
        if len(starts) < len(order):
            ones, zeros = np.add.reduceat(ones, starts, axis=1), zeros[:, ends]
            zeros[:, 1:] = (zeros[:, 1:] + zeros[:, :-1]) / 2
            zeros[:, 0] /= 2
        return ratio(np.einsum("bn,bn->b", ones, zeros), all_ones * all_zeros)

    return statistic


def _exact_match(target: Array, scores: Array) -> Statistic:
    return Mean(texts.same(target, scores))


def _log_loss(target: Array, scores: Array) -> Statistic:
    return Mean(row_log_loss(target, scores))


def _ece(target: Array, scores: Array) -> Statistic:
    """Expected calibration error: the gap of confidence and accuracy over 15 bins (Guo et al., 2017)."""
    confidence, right = confidences(target, scores)
    rows = np.repeat(np.arange(len(target)), confidence.shape[1])
    entries = ((right - confidence).ravel(), (rows, bin_of(confidence).ravel()))
    gaps = sparse.csr_array(entries, shape=(len(target), BINS))
    columns = confidence.shape[1]
    return lambda weights: ratio(np.abs(weights @ gaps).sum(axis=1), columns * weights.sum(axis=1))


def _mse(target: Array, scores: Array) -> Statistic:
    return Mean(np.square(target - scores).mean(axis=1, dtype=np.float64))


def _mae(target: Array, scores: Array) -> Statistic:
    return Mean(np.abs(target - scores).mean(axis=1, dtype=np.float64))


def _r2(target: Array, scores: Array) -> Statistic:
    """The share of the variance that is explained, mean over outputs; undefined for a constant target."""
    truth = _standard(target)
    error = (target - scores) / _spread(target)

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        variance = totals(weights, truth**2) / total - (totals(weights, truth) / total) ** 2
        return mean_defined(1 - ratio(totals(weights, error**2) / total, _positive(variance)))

    return statistic


def _pearson(target: Array, scores: Array) -> Statistic:
    truth, guess = _standard(target), _standard(scores)

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        x, y = totals(weights, truth) / total, totals(weights, guess) / total
        covariance = totals(weights, truth * guess) / total - x * y
        variances = [totals(weights, each**2) / total - mean**2 for each, mean in ((truth, x), (guess, y))]
        return mean_defined(ratio(covariance, np.sqrt(_positive(variances[0]) * _positive(variances[1]))))

    return statistic


def _spearman(target: Array, scores: Array) -> Statistic:
    columns = [_spearman_of(target[:, k], scores[:, k]) for k in range(target.shape[1])]
    return lambda weights: mean_defined(np.stack([column(weights) for column in columns], axis=1))


def _spearman_of(target: Array, score: Array) -> Statistic:
    rank_target, rank_score = _ranks(target), _ranks(score)

    def statistic(weights: Floats) -> Floats:
        x, y = rank_target(weights), rank_score(weights)
        covariance, across, down = (np.einsum("bn,bn,bn->b", weights, a, b) for a, b in ((x, y), (x, x), (y, y)))
        return ratio(covariance, np.sqrt(across * down))

    return statistic


def _ranks(values: Array) -> Statistic:
    """Mid-ranks ``[b, n]`` about their mean: where a row would stand if rows were repeated as weighted."""
    order, starts, inverse = _tied(values)

    def statistic(weights: Floats) -> Floats:
        count = weights[:, order]
        if len(starts) < len(order):
            count = np.add.reduceat(count, starts, axis=1)
        middle = np.cumsum(count, axis=1)
        middle -= count / 2 + middle[:, -1:] / 2
        return np.take(middle, inverse, axis=1)

    return statistic


def _tied(values: Array) -> tuple[Array, Array, Array]:
    """The order of the rows, where each group of equal values starts in it, and each row's group."""
    order = np.argsort(values, kind="stable")
    fresh = np.concatenate([[True], np.diff(values[order]) != 0])
    inverse = np.empty(len(values), dtype=np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    return order, np.flatnonzero(fresh), inverse


def _standard(values: Array) -> Floats:
    return np.asarray((values - values.mean(axis=0)) / _spread(values), dtype=np.float64)


def _spread(values: Array) -> Floats:
    spread = values.std(axis=0, dtype=np.float64)
    return np.where(spread > 0, spread, 1.0)


def _positive(variance: Floats) -> Floats:
    """Zero for what is only rounding error."""
    return np.where(variance > 1e-12, variance, 0.0)


def _mean_of(column: int) -> Callable[[Array, Array], Statistic]:
    """The mean of a column of the scores over the rows where it is defined."""

    def prepared(target: Array, scores: Array) -> Statistic:  # noqa: ARG001
        values = scores[:, column].astype(np.float64)
        defined = np.isfinite(values)
        known = np.where(defined, values, 0.0)
        return lambda weights: ratio(totals(weights, known), totals(weights, defined.astype(np.float64)))

    return prepared


def _likeness(target: Array, scores: Array) -> Statistic:
    """How alike each voice is, times the share of its words that were understood.

    A voice that mumbles can sound much like another, and a wrong voice be understood: neither alone is a good voice.
    """
    return Mean(scores[:, 4].astype(np.float64) * texts.understood(target, scores))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", ("classes", "labels"), True, _accuracy),
        Metric("balanced_accuracy", ("classes",), True, _balanced_accuracy),
        Metric("macro_f1", ("classes", "labels"), True, _macro_f1),
        Metric("micro_f1", ("classes", "labels"), True, _micro_f1),
        Metric("auc", ("classes", "labels"), True, _auc, per_column=True),
        Metric("log_loss", ("classes", "labels"), False, _log_loss),
        Metric("ece", ("classes", "labels"), False, _ece),
        Metric("mse", ("numbers",), False, _mse),
        Metric("mae", ("numbers",), False, _mae),
        Metric("r2", ("numbers",), True, _r2),
        Metric("spearman", ("numbers",), True, _spearman, per_column=True),
        Metric("pearson", ("numbers",), True, _pearson),
        Metric("map_50", ("boxes",), True, mean_average_precision(0), per_column=True),
        Metric("map", ("boxes",), True, mean_average_precision(*range(len(THRESHOLDS))), per_column=True),
        Metric("map_75", ("boxes",), True, mean_average_precision(_AT_75), per_column=True),
        Metric("recall_100", ("boxes",), True, recall_100),
        Metric("mean_iou", ("masks",), True, mean_over_classes(lambda pixels: pixels.iou)),
        Metric("mean_dice", ("masks",), True, mean_over_classes(lambda pixels: pixels.dice)),
        Metric("pixel_accuracy", ("masks",), True, pixel_accuracy),
        Metric("mean_accuracy", ("masks",), True, mean_over_classes(lambda pixels: pixels.recall)),
        Metric("bleu", ("texts", "translations"), True, texts.bleu, of_texts=True),
        Metric("chrf", ("texts", "translations"), True, texts.chrf, of_texts=True),
        Metric("exact_match", ("texts", "translations", "completions"), True, _exact_match, of_texts=True),
        Metric("wer", ("texts", "transcripts", "speech"), False, texts.word_errors, of_texts=True),
        Metric("cer", ("texts", "transcripts", "speech"), False, texts.character_errors, of_texts=True),
        Metric("likeness", ("texts", "speech"), True, _likeness, of_texts=True),
        Metric("similarity", ("texts", "speech"), True, _mean_of(4), of_texts=True),
        Metric("mcd", ("texts", "speech"), False, _mean_of(3), of_texts=True),
        Metric("perplexity", TEXTS, False, texts.perplexity),
    )
}
