"""Metrics of texts: what was written against what was to be written. All are sums over rows, so resampling is cheap.

BLEU (Papineni et al., 2002) and chrF (Popović, 2015) are counted by sacrebleu (Post, 2018,
https://arxiv.org/abs/1804.08771), errors of transcripts by jiwer; signatures say how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regraft.data.spoken import DESCRIPTION, spoken_form
from regraft.errors import ResourceError
from regraft.evaluation.weighted import Array, Floats, Statistic, ratio, totals

_ORDER = 4  # of BLEU's longest n-grams
_EAST_ASIAN = 0.3  # the share of such letters above which words are not told apart by spaces


def bleu(target: Array, scores: Array) -> Statistic:
    """BLEU of the whole, 0 to 100; orders of n-grams without a match are smoothed as sacrebleu does."""
    counts = _counts(_bleu(target), target, scores)

    def statistic(weights: Floats) -> Floats:
        sums = totals(weights, counts)
        written, wanted = sums[:, 0], sums[:, 1]
        right, total = sums[:, 2 : 2 + _ORDER], sums[:, 2 + _ORDER : 2 + 2 * _ORDER]
        none = (right == 0) & (total > 0)
        right = np.where(none, 0.5 ** np.cumsum(none, axis=1), right)
        precision = np.log(np.maximum(right, 1e-300) / np.maximum(total, 1)).mean(axis=1)
        brevity = np.where(written < wanted, 1 - wanted / np.maximum(written, 1e-9), 0.0)
        possible = (total > 0).all(axis=1) & ~none.all(axis=1)
        return np.where(wanted > 0, 100 * np.exp(precision + brevity) * possible, np.nan)

    return statistic


def chrf(target: Array, scores: Array) -> Statistic:
    """chrF2 of the whole, 0 to 100: n-grams of up to 6 letters, recall counting twice."""
    metric = _sacrebleu().CHRF()
    counts, beta = _counts(metric, target, scores), float(metric.beta) ** 2

    def statistic(weights: Floats) -> Floats:
        sums = totals(weights, counts).reshape(len(weights), -1, 3)
        written, wanted, right = sums[:, :, 0], sums[:, :, 1], sums[:, :, 2]
        present = (written > 0) & (wanted > 0)
        precision, recall = (right / np.maximum(each, 1) for each in (written, wanted))
        means = [
            np.where(present, each, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
            for each in (precision, recall)
        ]
        value = 100 * ratio((1 + beta) * means[0] * means[1], beta * means[0] + means[1])
        return np.where(wanted.sum(axis=1) > 0, np.nan_to_num(value), np.nan)

    return statistic


def perplexity(target: Array, scores: Array) -> Statistic:  # noqa: ARG001  (the truth is in its likelihood)
    """The exponential of the mean loss of a token of the truth, in nats. Undefined where no model was asked."""
    nats, tokens = (scores[:, column].astype(np.float64) for column in (1, 2))
    nats = np.where(tokens > 0, nats, 0.0)
    return lambda weights: np.exp(np.minimum(ratio(totals(weights, nats), totals(weights, tokens)), 700.0))


def same(target: Array, scores: Array) -> Floats:
    """1 for each row where exactly the truth was written, but for spaces around it and runs of them; 0 elsewhere."""
    written = [" ".join((text or "").split()) for text in scores[:, 0]]
    return np.array([wrote == " ".join(str(true).split()) for wrote, true in zip(written, target, strict=True)], float)


def signatures(names: Sequence[str], target: Array) -> dict[str, str]:
    """How metrics count, where that is to be told: as sacrebleu writes it."""
    made: dict[str, Callable[[], str]] = {
        "bleu": lambda: _signature(_bleu(target)),
        "chrf": lambda: _signature(_sacrebleu().CHRF()),
        **dict.fromkeys(("wer", "cer"), lambda: DESCRIPTION),
        "mcd": lambda: "dB, 13 cepstra of 80 mel bands at 16 kHz every 10 ms, dynamic time warping",
    }
    return {name: made[name]() for name in names if name in made and len(target)}


def _signature(metric: Any) -> str:
    metric.corpus_score(["a"], [["a"]])  # until it has seen references it does not know how many there are
    return str(metric.get_signature())


def _counts(metric: Any, target: Array, scores: Array) -> Floats:
    """What a metric counts in each row, [n, k]."""
    written = [text or "" for text in scores[:, 0]]
    found = metric._extract_corpus_statistics(written, [[str(true) for true in target]])
    return np.asarray(found, dtype=np.float64)


def _bleu(target: Array) -> Any:
    return _sacrebleu().BLEU(tokenize="zh" if _east_asian(target) else "13a")


def _east_asian(target: Array) -> bool:
    letters = [letter for text in target[:200] for letter in str(text) if not letter.isspace()]
    return sum("一" <= letter <= "鿿" or "぀" <= letter <= "ヿ" for letter in letters) > _EAST_ASIAN * len(letters)


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise ResourceError(
            "BLEU and chrF are counted by sacrebleu, which is not installed", fix='pip install "regraft[translation]"'
        ) from None
    return metrics


def word_errors(target: Array, scores: Array) -> Statistic:
    """Word error rate: words put in, left out and taken for others, as a share of the words that were said."""
    return _errors(target, scores, characters=False)


def character_errors(target: Array, scores: Array) -> Statistic:
    """Character error rate: the same of characters; for languages that put no spaces between words."""
    return _errors(target, scores, characters=True)


def _errors(target: Array, scores: Array, *, characters: bool) -> Statistic:
    if all(text is None for text in scores[:, 0]):  # nobody was asked
        return lambda weights: np.full(len(weights), np.nan)
    counted = _errors_of(target, scores, characters=characters)

    def statistic(weights: Floats) -> Floats:
        sums = totals(weights, counted)
        return ratio(sums[:, 0], sums[:, 1])

    return statistic


def understood(target: Array, scores: Array) -> Floats:
    """The share of each row's words that were understood, from 0 to 1; 1 where nobody listened."""
    if all(text is None for text in scores[:, 0]):
        return np.ones(len(target))
    wrong, words = _errors_of(target, scores, characters=False).T
    return np.asarray(1 - np.minimum(1, wrong / np.maximum(1, words)))


def _errors_of(target: Array, scores: Array, *, characters: bool) -> Floats:
    """Errors, and how many words or characters there are, of each row [n, 2]."""
    pairs = zip(target, scores[:, 0], strict=True)
    counted = [_counted(spoken_form(str(true)), spoken_form(text or ""), characters=characters) for true, text in pairs]
    return np.array(counted, dtype=np.float64).reshape(-1, 2)


def _counted(true: str, wrote: str, *, characters: bool) -> tuple[int, int]:
    """Errors, and how many words or characters there are. Where nothing was said, all that was written is wrong."""
    if not true:
        return len(wrote if characters else wrote.split()), 0
    found = (_jiwer().process_characters if characters else _jiwer().process_words)(true, wrote)
    wrong = found.substitutions + found.deletions + found.insertions
    return wrong, found.hits + found.substitutions + found.deletions


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError:
        raise ResourceError(
            "errors of transcripts are counted by jiwer, which is not installed", fix='pip install "regraft[audio]"'
        ) from None
    return jiwer
