"""Baselines: what is reached without tuning. A score means little until these two stand beside it.

``majority`` looks at no input. ``linear_probe`` sees what the untouched model makes of the inputs: the
difference between it and the tuned model is what tuning was worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.linear_model import RidgeCV

from regraft.evaluation.metrics import Kind, row_log_loss
from regraft.evaluation.weighted import Array, Floats
from regraft.fingerprint import draw

PROBED = ("classes", "labels", "numbers")  # kinds of answers that a linear probe can give

_PENALTIES = (
    10.0,
    1.0,
    1e-1,
    1e-2,
    1e-3,
    1e-4,
    1e-5,
)  # on squared weights, beside the mean loss; strongest first
_FOLDS = 5
_BESIDE = 100  # rows
_MOST_WORK = 2_000_000_000  # multiplications of a pass over the training rows; above, fewer folds are scored
_ITERATIONS = 200


def majority(kind: Kind, train_target: Array, n: int, classes: int) -> Floats:
    """The same scores for all ``n`` rows: the frequency of each class or label in training, or the mean.

    Frequencies instead of a bare decision, so that log-loss and calibration are defined; the decision is the
    same. ``classes`` is c, or d for numbers.

    For boxes: in each image the mean box of each class, scored by the share of the objects that are of it
    ``[n, c, 6]``. For masks see ``majority_masks``.
    """
    assert kind != "masks", "majority_masks"
    if kind == "boxes":
        return np.tile(_mean_boxes(train_target, classes), (n, 1, 1))
    if len(train_target) == 0:
        constant = np.full(classes, {"classes": 1 / classes, "labels": 0.5, "numbers": 0.0}[kind])
    elif kind == "classes":
        constant = np.bincount(train_target, minlength=classes) / len(train_target)
    else:
        constant = train_target.mean(axis=0, dtype=np.float64)
    return np.tile(constant, (n, 1))


def majority_masks(train_target: Array, test_target: Array) -> Array:
    """The pixels ``[n, c, c]`` of answering everywhere with the class of most pixels in training.

    Both targets are pixels of each true class, ``[n, c]``.
    """
    images, classes = test_target.shape
    decided = np.zeros((images, classes, classes), dtype=np.int64)
    if classes:
        decided[:, :, train_target.sum(axis=0).argmax() if len(train_target) else 0] = test_target
    return decided


def _mean_boxes(train_target: Array, classes: int) -> Floats:
    """A detection for each class ``[c, 6]``; of a class without objects, none. Crowds do not count."""
    objects = np.concatenate([np.empty((0, 6)), *(np.asarray(each).reshape(-1, 6) for each in train_target)])
    objects = objects[objects[:, 5] == 0]
    found = np.column_stack([np.zeros((classes, 4)), np.full(classes, -1.0), np.arange(classes)])
    for label in np.unique(objects[:, 4]).astype(np.int64):
        mine = objects[objects[:, 4] == label]
        found[label, :5] = [*mine[:, :4].mean(axis=0), len(mine) / len(objects)]
    return found


def linear_probe(
    kind: Kind, train_features: Array, train_target: Array, test_features: Array, *, seed: int, classes: int
) -> Floats:
    """Scores ``[n, c]`` of a linear model on frozen features (Alain and Bengio, 2016), brought to like spreads.

    Logistic regression for classes, one for each label for labels, ridge regression for numbers. How strongly
    the weights are held back is chosen on the training rows alone: by 5-fold stratified cross-validated
    log-loss, or by the exact leave-one-out error of ridge regression.

    Raises:
        ValueError: of boxes and masks, of which there are many in an example.
    """
    if kind in {"boxes", "masks"}:
        raise ValueError(f"a linear probe answers once for an example; it is not defined for {kind}")
    if len(train_features) < 3 or (kind == "classes" and len(np.unique(train_target)) < 2):
        return majority(kind, train_target, len(test_features), classes)
    weight, bias, _ = linear_readout(kind, train_features, train_target, seed=seed, classes=classes)
    return _told(kind, test_features @ weight.T + bias)


def probe_unseen(kind: Kind, features: Array, target: Array, fold: Array, *, seed: int, classes: int) -> Floats:
    """What a linear probe says of each row, ``[n, c]``, fitted to the rows of the other folds ``[n]``."""
    scores = np.zeros((len(target), classes))
    for number in np.unique(fold):
        rest, held = fold != number, fold == number
        scores[held] = linear_probe(kind, features[rest], target[rest], features[held], seed=seed, classes=classes)
    return scores


def linear_readout(
    kind: Kind, features: Array, target: Array, *, seed: int, classes: int, learned_from: int | None = None
) -> tuple[Floats, Floats, float]:
    """The linear model of ``linear_probe`` as a layer.

    Args:
        features: ``[n, f]``, as they are.
        target: of ``n`` rows; of classes also the share of each, ``[n, c]``.
        learned_from: how many examples the features were learned from, where these are the very rows; None for
            features that know nothing of them. They then tell the rows apart whatever the weights are, so that
            cross-validation would hardly hold these back, and every answer would be far too sure. They are held as by a
            normal prior under which a logit has a variance of 1.

    Returns:
        Weights ``[c, f]`` and biases ``[c]``, which give logits or numbers of features, and the penalty.
    """
    mean, spread = features.mean(axis=0, dtype=np.float64), _spread(features)
    plain = (features - mean) / spread
    prior = features.shape[1] / learned_from if learned_from else None
    if kind == "numbers":
        ridge = RidgeCV(alphas=len(plain) * np.array([prior] if prior else _PENALTIES)).fit(plain, target)
        fitted = np.vstack([ridge.coef_.reshape(classes, -1).T, np.reshape(ridge.intercept_, (1, classes))])
        penalty = float(ridge.alpha_ / len(plain))
    else:
        truth = np.eye(classes, dtype=np.float32)[target] if kind == "classes" and target.ndim == 1 else target
        target = truth.argmax(axis=1) if kind == "classes" else target
        problem = _Problem(kind, plain.astype(np.float32), truth.astype(np.float32))
        penalty = prior or _chosen_penalty(problem, target, seed)
        fitted = _path(problem, penalty)
    weight = (fitted[:-1] / spread[:, None]).T
    return weight, fitted[-1] - weight @ mean, penalty


def _spread(features: Array) -> Floats:
    """The standard deviation of each feature, as if ``_BESIDE`` more rows had the mean variance of all features.

    Of few rows a feature's own deviation is mostly chance. One that never varies counts for nothing.
    """
    count, variance = len(features), features.var(axis=0, dtype=np.float64)
    held = (count * variance + _BESIDE * variance.mean()) / (count + _BESIDE)
    return np.where(variance > 1e-16, np.sqrt(held), np.inf)


@dataclass(frozen=True)
class _Problem:
    """A logistic regression: features ``[n, f]`` and the truth as zeros and ones ``[n, c]``."""

    kind: Kind
    features: Array
    truth: Array

    def rows(self, chosen: Array) -> _Problem:
        return _Problem(self.kind, self.features[chosen], self.truth[chosen])

    def start(self) -> Floats:
        """No weights, and intercepts that give each class its frequency ``[f + 1, c]``."""
        count = len(self.truth)
        frequency = np.clip(self.truth.mean(axis=0, dtype=np.float64), 0.5 / count, 1 - 0.5 / count)
        intercept = np.log(frequency) if self.kind == "classes" else np.log(frequency / (1 - frequency))
        return np.vstack([np.zeros((self.features.shape[1], self.truth.shape[1])), intercept])


def _fit(problem: _Problem, start: Floats, penalty: float) -> Floats:
    """Weights and intercepts ``[f + 1, c]`` by L-BFGS; the intercepts are not held back."""

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(start.shape)
        logits = problem.features @ weights[:-1].astype(np.float32) + weights[-1].astype(np.float32)
        loss, slope = _loss_and_slope(problem, logits)
        gradient = np.vstack([problem.features.T @ slope, slope.sum(axis=0)]).astype(np.float64)
        gradient[:-1] += penalty * weights[:-1]
        return loss + penalty / 2 * float(np.square(weights[:-1]).sum()), gradient.ravel()

    options = {"maxiter": _ITERATIONS, "ftol": 1e-7, "gtol": 1e-5}
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x).reshape(start.shape)


def _loss_and_slope(problem: _Problem, logits: Array) -> tuple[float, Array]:
    """The mean loss of a row, summed over its labels, and its derivative by the logits ``[n, c]``."""
    count, truth = len(logits), problem.truth
    if problem.kind == "classes":
        log_probability = log_softmax(logits, axis=1)
        loss = -np.einsum("nc,nc->", truth, log_probability, dtype=np.float64) / count
        return float(loss), (np.exp(log_probability) - truth) / np.float32(count)
    loss = -log_expit(np.where(truth > 0, logits, -logits)).sum(dtype=np.float64) / count
    return float(loss), (expit(logits) - truth) / np.float32(count)


def _chosen_penalty(problem: _Problem, target: Array, seed: int) -> float:
    """The penalty of the smallest held-out log-loss; weaker ones are not tried once the loss rises."""
    splits = list(_splits(problem, target, seed))
    starts = [problem.rows(train).start() for train, _ in splits]
    best, smallest = _PENALTIES[0], float("inf")
    for penalty in _PENALTIES if splits else ():
        losses = []
        for k, (train, held) in enumerate(splits):
            starts[k] = _fit(problem.rows(train), starts[k], penalty)
            scores = _predict(problem.kind, starts[k], problem.features[held])
            losses.append(row_log_loss(target[held], scores))
        loss = float(np.concatenate(losses).mean())
        if loss >= smallest:
            break
        best, smallest = penalty, loss
    return best


def _path(problem: _Problem, penalty: float) -> Floats:
    """The fit at ``penalty``, reached from the strongest one on: each fit starts where the last one ended."""
    weights = problem.start()
    for stronger in (*(each for each in _PENALTIES if each > penalty), penalty):
        weights = _fit(problem, weights, stronger)
    return weights


def _splits(problem: _Problem, target: Array, seed: int) -> Iterator[tuple[Array, Array]]:
    """Rows to train on and rows held out; every class is dealt out over the folds.

    A class with a single row always trains, since a model that never saw it would be judged on it. For very
    many rows and classes only the first folds are used.
    """
    order = np.random.default_rng(draw("linear probe folds", seed)).permutation(len(target))
    groups = target if target.ndim == 1 else np.unique(target, axis=0, return_inverse=True)[1].ravel()
    order = order[np.argsort(groups[order], kind="stable")]
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = np.arange(len(order)) % _FOLDS
    if target.ndim == 1:
        fold[np.bincount(target)[target] == 1] = -1
    work = problem.features.size * problem.truth.shape[1]
    for k in range(int(np.clip(_MOST_WORK // work, 1, _FOLDS))):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(train) and len(held):
            yield train, held


def _predict(kind: Kind, weights: Floats, features: Array) -> Floats:
    return _told(kind, features @ weights[:-1] + weights[-1])


def _told(kind: Kind, logits: Array) -> Floats:
    """Scores of what a linear model gives: probabilities, or numbers as they are."""
    if kind == "numbers":
        return np.asarray(logits, dtype=np.float64)
    return np.asarray(softmax(logits, axis=1) if kind == "classes" else expit(logits), dtype=np.float64)
