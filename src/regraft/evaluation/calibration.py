"""Calibration: when the model says 90 %, is it right in 90 of 100 cases? And a temperature that makes it so.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from regraft.evaluation.metrics import BINS, TEXTS, Kind, bin_of, confidences
from regraft.evaluation.room import CHUNK, room
from regraft.evaluation.weighted import Array, Floats

COLDEST, HOTTEST = 0.05, 20.0
_SPREAD = 0.5  # of log T before any row is seen: in two cases of three T is between 0.6 and 1.6
_PROBABLE = ("classes", "labels")  # the kinds whose scores are probabilities
_COUNTED = ("boxes", "masks", *TEXTS, "speech")  # those whose metrics take what is kept as it is


@dataclass(frozen=True)
class Bin:
    """The decisions whose confidence lies in one bin: how sure they were on average, and how often right."""

    centre: float
    confidence: float
    accuracy: float
    count: int


def probabilities(logits: Array, kind: Kind, *, temperature: float = 1.0) -> Floats:
    """Logits ``[n, c]`` as probabilities: softmax for classes, sigmoids for labels. In a file if many.

    What comes from no logits stays: numbers, boxes, the pixels of masks, and texts.
    """
    if kind not in _PROBABLE:
        return logits if kind in _COUNTED else np.asarray(logits, dtype=np.float64)
    found = room(logits.shape[0], logits.shape[1], np.float64)
    for start in range(0, len(logits), CHUNK):
        values = np.asarray(logits[start : start + CHUNK], dtype=np.float64) / temperature
        found[start : start + CHUNK] = softmax(values, axis=1) if kind == "classes" else expit(values)
    return found


def fit_temperature(logits: Array, target: Array, kind: Kind) -> float:
    """The temperature, one for all labels, that is likeliest after held-out rows were seen; 0.05 to 20.

    Without a row its logarithm is held to be normal around 0 (maximum a posteriori), since few rows say little: twelve
    alone would make a calibrated model worse. A thousand rows hardly feel it, and the temperature is the one of their
    smallest log-loss. It is 1, which changes nothing, where the rows cannot tell: without rows, without probabilities,
    and if every decision is right, since then the loss falls for ever as the temperature does.
    """
    if kind not in _PROBABLE or len(logits) == 0:
        return 1.0
    values = np.asarray(logits, dtype=np.float64)
    if _all_right(kind, values, target):
        return 1.0
    found = minimize_scalar(
        lambda power: _loss(kind, values / np.exp(power), target) + (power / _SPREAD) ** 2 / 2,
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.clip(np.exp(found.x), COLDEST, HOTTEST))


def reliability_curve(target: Array, scores: Array) -> list[Bin]:
    """Confidence against accuracy in 15 equal-width bins; bins without a row are left out."""
    confidence, right = confidences(target, scores)
    confidence, right = confidence.ravel(), right.ravel()
    number = bin_of(confidence)
    counts = np.bincount(number, minlength=BINS)
    sure = np.bincount(number, weights=confidence, minlength=BINS)
    hits = np.bincount(number, weights=right, minlength=BINS)
    return [
        Bin((k + 0.5) / BINS, float(sure[k] / counts[k]), float(hits[k] / counts[k]), int(counts[k]))
        for k in np.flatnonzero(counts)
    ]


def _all_right(kind: Kind, logits: Floats, target: Array) -> bool:
    decided = logits.argmax(axis=1) if kind == "classes" else logits >= 0
    return bool((decided == target).all())


def _loss(kind: Kind, logits: Floats, target: Array) -> float:
    """The log-loss, summed over rows and labels."""
    if kind == "classes":
        return float(-log_softmax(logits, axis=1)[np.arange(len(target)), target].sum())
    return float(-log_expit(np.where(target, logits, -logits)).sum())
