"""Metrics of texts agree with sacrebleu and jiwer on the whole, and with themselves on resamples."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from regraft.evaluation import Sampling, compare, compose, find_metric, kind_of, measure, metrics_for
from regraft.evaluation.weighted import Array

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "in", "house", "red", "blue", "runs", "far", "away", "now"]


def texts(wrote: list[str | None], true: list[str], nats: list[float] | None = None) -> tuple[Array, Array]:
    scores = np.empty((len(true), 3), dtype=object)
    for place, text in enumerate(wrote):
        scores[place] = [text, (nats or [1.0] * len(true))[place], 2]
    return np.array(true, dtype=np.dtypes.StringDType()), scores


def corpus(rows: int, *, kept: float, seed: int = 0) -> tuple[list[Any], list[str]]:
    chance = random.Random(seed)
    true = [" ".join(chance.choices(WORDS, k=chance.randint(1, 14))) + "." for _ in range(rows)]
    return [" ".join(word for word in text.split() if chance.random() < kept) for text in true], true


@pytest.mark.parametrize(("rows", "kept"), [(1, 1.0), (1, 0.5), (2, 0.6), (40, 0.7), (40, 0.0), (200, 0.9)])
def test_bleu_and_chrf_are_sacrebleus(rows: int, kept: float) -> None:
    for seed in range(5):
        wrote, true = corpus(rows, kept=kept, seed=seed)
        found = measure(["bleu", "chrf"], *texts(wrote, true))
        assert found["bleu"] == pytest.approx(BLEU().corpus_score(wrote, [true]).score)
        assert found["chrf"] == pytest.approx(CHRF().corpus_score(wrote, [true]).score)


def test_a_resample_scores_as_its_rows_would() -> None:
    wrote, true = corpus(30, kept=0.7)
    target, scores = texts(wrote, true)
    weights = np.random.default_rng(0).integers(0, 3, 30)
    chosen = np.repeat(np.arange(30), weights)
    for name in ("bleu", "chrf", "perplexity", "exact_match"):
        statistic = find_metric(name, "texts").function(target, scores)
        alone = measure([name], target[chosen], scores[chosen])[name]
        assert statistic(weights[None].astype(float))[0] == pytest.approx(alone)


def test_texts_in_chinese_are_not_told_apart_by_spaces() -> None:
    target, scores = texts(["我喜欢这部电影"], ["我喜欢那部电影"])
    assert measure(["bleu"], target, scores)["bleu"] > 0
    signature = compose("translations", "chrf", labels=[], test=_outputs(target, scores), validation=None,
                        baselines={}, sampling=Sampling(100))["signatures"]["bleu"]  # fmt: skip
    assert "tok:zh" in signature


def test_perplexity_is_that_of_all_tokens_together() -> None:
    target, scores = texts([None, None], ["a", "b"], nats=[2.0, 6.0])
    assert measure(["perplexity"], target, scores)["perplexity"] == pytest.approx(math.exp(8 / 4))


def test_perplexity_is_undefined_where_no_model_was_asked() -> None:
    target, scores = texts(["a"], ["a"])
    scores[:, 1], scores[:, 2] = float("nan"), 0
    assert math.isnan(measure(["perplexity"], target, scores)["perplexity"])


def test_exact_match_overlooks_spaces_and_nothing_else() -> None:
    target, scores = texts([" a  b ", "a b", "A b", None], ["a b", "ab", "a b", "a b"])
    assert measure(["exact_match"], target, scores)["exact_match"] == 0.25


def test_what_helped_is_told_from_chance() -> None:
    worse, true = corpus(60, kept=0.5)
    better, _ = corpus(60, kept=0.95)
    target, ours = texts(better, true)
    found = compare("chrf", target, ours, texts(worse, true)[1], baseline="untouched", resamples=200, confidence=0.95,
                    seed=0)  # fmt: skip
    assert found.p < 0.01
    assert 0 < found.low < found.difference < found.high


def test_equal_texts_are_not_told_apart() -> None:
    wrote, true = corpus(30, kept=0.8)
    target, scores = texts(wrote, true)
    found = compare("bleu", target, scores, scores, baseline="untouched", resamples=200, confidence=0.95, seed=0)
    assert (found.difference, found.p) == (0.0, 1.0)


def test_the_kind_of_texts_is_told_by_their_type() -> None:
    target, _ = texts(["a"], ["a"])
    assert kind_of(target) == "texts"
    assert metrics_for("passages") == ("perplexity",)


def _outputs(target: Array, scores: Array) -> Any:
    from regraft.evaluation import Outputs

    return Outputs(target, scores)
