"""Each metric gives what scikit-learn or scipy gives, and the same for weights as for repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from regraft.errors import RecipeError
from regraft.evaluation import METRICS, measure, metrics_for, tie_of
from regraft.evaluation.metrics import kind_of

Answers = tuple[np.ndarray, np.ndarray]


def classes(n: int = 300, c: int = 4, *, seed: int = 0, ties: bool = False) -> Answers:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, c, n)
    logits = rng.normal(size=(n, c)) + 1.5 * np.eye(c)[target]
    if ties:
        logits = np.round(logits)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return target, scores


def labels(n: int = 300, c: int = 5, *, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    target = rng.random((n, c)) < 0.3
    return target, 1 / (1 + np.exp(-(rng.normal(size=(n, c)) + 2 * target - 1)))


def numbers(n: int = 300, d: int = 1, *, seed: int = 0, ties: bool = False) -> Answers:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, d)) + 3
    scores = target + rng.normal(size=(n, d))
    return (np.round(target), np.round(scores)) if ties else (target, scores)


def each(function, target: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([function(target[:, k], scores[:, k]) for k in range(target.shape[1])]))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("c", [2, 4])
def test_classes_as_in_scikit_learn(c: int, ties: bool) -> None:
    target, scores = classes(c=c, ties=ties)
    decided = scores.argmax(axis=1)
    auc = (
        reference.roc_auc_score(target, scores[:, 1])
        if c == 2
        else reference.roc_auc_score(target, scores, multi_class="ovr", average="macro")
    )
    assert measure(metrics_for("classes"), target, scores) == pytest.approx(
        {
            "accuracy": reference.accuracy_score(target, decided),
            "balanced_accuracy": reference.balanced_accuracy_score(target, decided),
            "macro_f1": reference.f1_score(target, decided, average="macro"),
            "micro_f1": reference.f1_score(target, decided, average="micro"),
            "auc": auc,
            "log_loss": reference.log_loss(target, scores),
            "ece": ece_by_hand(scores.max(axis=1), decided == target),
        }
    )


def test_labels_as_in_scikit_learn() -> None:
    target, scores = labels()
    decided = scores >= 0.5
    assert measure(metrics_for("labels"), target, scores) == pytest.approx(
        {
            "accuracy": reference.accuracy_score(target, decided),
            "macro_f1": reference.f1_score(target, decided, average="macro"),
            "micro_f1": reference.f1_score(target, decided, average="micro"),
            "auc": reference.roc_auc_score(target, scores, average="macro"),
            "log_loss": each(reference.log_loss, target, scores),
            "ece": ece_by_hand(np.maximum(scores, 1 - scores).ravel(), (decided == target).ravel()),
        }
    )


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_numbers_as_in_scipy(d: int, ties: bool) -> None:
    target, scores = numbers(d=d, ties=ties)
    assert measure(metrics_for("numbers"), target, scores) == pytest.approx(
        {
            "mse": reference.mean_squared_error(target, scores),
            "mae": reference.mean_absolute_error(target, scores),
            "r2": reference.r2_score(target, scores),
            "spearman": each(lambda x, y: stats.spearmanr(x, y).statistic, target, scores),
            "pearson": each(lambda x, y: stats.pearsonr(x, y).statistic, target, scores),
        }
    )


def ece_by_hand(confidence: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("answers", [classes(), classes(c=2, ties=True), labels(), numbers(ties=True), numbers(d=2)])
def test_weights_are_repeated_rows(answers: Answers) -> None:
    target, scores = answers
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, size=(3, len(target))).astype(float)
    for name in metrics_for(kind_of(target)):
        weighted = METRICS[name].function(target, scores)(weights)
        for row, value in zip(weights.astype(int), weighted, strict=True):
            repeated = np.repeat(np.arange(len(target)), row)
            assert value == pytest.approx(measure([name], target[repeated], scores[repeated])[name]), name


def test_classes_that_do_not_occur_are_left_out() -> None:
    target, scores = classes(c=4)
    kept = target < 3
    target, scores = target[kept], scores[kept]
    values = measure(["auc", "balanced_accuracy"], target, scores)
    aucs = [reference.roc_auc_score(target == k, scores[:, k]) for k in range(3)]
    assert values["auc"] == pytest.approx(np.mean(aucs))
    recalls = [(scores[target == k].argmax(axis=1) == k).mean() for k in range(3)]
    assert values["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_undefined_is_nan_without_a_warning() -> None:
    one_class = measure(metrics_for("classes"), np.zeros(5, dtype=int), np.tile([0.8, 0.2], (5, 1)))
    assert np.isnan(one_class["auc"])
    assert one_class["accuracy"] == 1
    constant = measure(metrics_for("numbers"), np.full((5, 1), 0.1), np.full((5, 1), 0.3))
    assert np.isnan([constant["r2"], constant["pearson"], constant["spearman"]]).all()
    assert constant["mae"] == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_without_rows_everything_is_nan(kind: str) -> None:
    target, scores = {"classes": classes, "labels": labels, "numbers": numbers}[kind](n=10)
    assert np.isnan(list(measure(metrics_for(kind), target[:0], scores[:0]).values())).all()


def test_the_kind_is_told_by_the_target() -> None:
    targets = {
        "classes": np.zeros(3, dtype=int),
        "labels": np.zeros((3, 2), dtype=bool),
        "numbers": np.zeros((3, 2)),
        "boxes": np.array([None, None, None], dtype=object),
        "masks": np.zeros((3, 2), dtype=int),
    }
    assert {kind: kind_of(target) for kind, target in targets.items()} == {kind: kind for kind in targets}


@pytest.mark.parametrize(
    ("kind", "values", "tie"),
    [
        ("classes", {"log_loss": 0.3}, -0.3),
        ("labels", {"log_loss": 0.3}, -0.3),
        ("numbers", {"mse": 2.0}, -2.0),
        ("boxes", {"map": 0.4}, 0.4),
        ("masks", {"pixel_accuracy": 0.9}, 0.9),
    ],
)
def test_a_tie_is_decided_by_what_is_finer(kind: str, values: dict[str, float], tie: float) -> None:
    assert tie_of(kind, values) == tie


def test_certain_and_wrong_has_a_finite_log_loss() -> None:
    value = measure(["log_loss"], np.array([1]), np.array([[1.0, 0.0]], dtype=np.float32))["log_loss"]
    assert 10 < value < 40


@pytest.mark.parametrize(("name", "words"), [("acuracy", "'accuracy'"), ("mse", "does not fit"), ("x", "macro_f1")])
def test_an_unknown_metric_names_what_there_is(name: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        measure([name], *classes(n=5))
