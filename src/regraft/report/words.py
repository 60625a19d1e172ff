"""Numbers and metrics in words, and text from data made harmless to look at."""

from __future__ import annotations

import math
import re
from typing import Any

METRICS = {
    "accuracy": ("Accuracy", "the share of test rows that are answered fully right"),
    "balanced_accuracy": (
        "Balanced accuracy",
        "the share answered right, averaged so that every class counts the same",
    ),
    "macro_f1": ("Macro F1", "the balance of precision and recall, averaged so that every label counts the same"),
    "micro_f1": ("Micro F1", "the balance of precision and recall over all answers together"),
    "auc": ("AUC", "how often a row that has the label is ranked above one that has not"),
    "log_loss": ("Log-loss", "how surprised the model is by the truth; 0 is perfect, lower is better"),
    "ece": ("Calibration error", "how far stated confidence is from what comes true; lower is better"),
    "mse": ("Mean squared error", "the mean of the squared error; lower is better"),
    "mae": ("Mean absolute error", "how far off an answer is on average; lower is better"),
    "r2": ("R²", "the share of the variation that is explained; 1 is perfect, 0 is the mean"),
    "spearman": ("Spearman correlation", "how well the order of the rows is reproduced; 1 is perfect, 0 is chance"),
    "pearson": ("Pearson correlation", "how well answers follow the truth along a line; 1 is perfect, 0 is chance"),
}
SYSTEMS = {"tuned": "Tuned model", "linear_probe": "Linear probe", "majority": "Majority"}

_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def title_of(metric: str) -> str:
    return METRICS[metric][0] if metric in METRICS else metric.replace("_", " ")


def meaning_of(metric: str) -> str:
    return METRICS[metric][1] if metric in METRICS else ""


def system_of(name: str, kind: str | None) -> str:
    """What a table calls a system; for numbers, the majority is the mean."""
    if name == "majority" and kind == "numbers":
        return "Mean of training"
    return SYSTEMS.get(name, name.replace("_", " "))


def number(value: Any) -> str:
    """A score with three digits that count; a dash where there is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if value != 0 and (abs(value) < 0.01 or abs(value) >= 1000):
        return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Any) -> str:
    if not isinstance(estimate, dict) or estimate.get("low") is None:
        return ""
    return f"{number(estimate['low'])} to {number(estimate['high'])}"


def rate(value: Any) -> str:
    """A learning rate, as it is written in a recipe."""
    if not isinstance(value, int | float):
        return "–"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def percent(part: float) -> str:
    text = f"{100 * part:.1f}".removesuffix(".0")
    if part < 1 and text == "100":
        text = "over 99.9"
    return f"{text}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def told(answer: Any) -> str:
    """A target or prediction: a label, several, or numbers."""
    if isinstance(answer, list | tuple):
        return ", ".join(told(each) for each in answer) or "none"
    return number(answer) if isinstance(answer, float) else str(answer)


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def visible(text: str) -> str:
    """Characters that act instead of showing (terminal escapes, text direction, half characters) as visible signs."""
    return _ACTS.sub(lambda found: _sign(ord(found.group())), text)


def _sign(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else f"⟨U+{code:04X}⟩"
