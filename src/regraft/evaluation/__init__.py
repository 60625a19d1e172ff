"""Evaluation: how good, how sure, better than what, and when it is sure, is it right?

    metrics        every metric as a statistic of weighted rows
    intervals      bootstrap intervals
    comparisons    against a baseline: paired interval, randomisation test, a verdict in words
    calibration    reliability curve and temperature
    baselines      the majority class, and a linear probe on the untouched model
    detection      boxes matched to objects, and average precision
    segmentation   overlap of true and decided pixels
    texts          BLEU, chrF and perplexity
    by_label       each class on its own, with intervals
    curves         precision against recall
    scores         all of it as the content of scores.json

Answers are of one of several kinds (see ``metrics``); nothing here knows what gave them.
"""

from regraft.evaluation.baselines import (
    PROBED,
    linear_probe,
    linear_readout,
    majority,
    majority_masks,
    probe_unseen,
)
from regraft.evaluation.calibration import Bin, fit_temperature, probabilities, reliability_curve
from regraft.evaluation.comparisons import Comparison, compare, verdict
from regraft.evaluation.intervals import Estimate, Sampling, bootstrap
from regraft.evaluation.metrics import (
    METRICS,
    TEXTS,
    Kind,
    Metric,
    find_metric,
    kind_of,
    measure,
    metrics_for,
    says_nothing,
    signed,
    tie_of,
)
from regraft.evaluation.scores import Outputs, Scores, compose, score, to_json

__all__ = [
    "METRICS",
    "PROBED",
    "TEXTS",
    "Bin",
    "Comparison",
    "Estimate",
    "Kind",
    "Metric",
    "Outputs",
    "Sampling",
    "Scores",
    "bootstrap",
    "compare",
    "compose",
    "find_metric",
    "fit_temperature",
    "kind_of",
    "linear_probe",
    "linear_readout",
    "majority",
    "majority_masks",
    "measure",
    "metrics_for",
    "probabilities",
    "probe_unseen",
    "reliability_curve",
    "says_nothing",
    "score",
    "signed",
    "tie_of",
    "to_json",
    "verdict",
]
