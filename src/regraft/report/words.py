"""Numbers and metrics in words, and text from data made harmless to look at."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

METRICS = {
    "accuracy": ("Accuracy", "the share of test examples that are answered fully right"),
    "balanced_accuracy": (
        "Balanced accuracy",
        "the share answered right, averaged so that every class counts the same",
    ),
    "macro_f1": ("Macro F1", "the balance of precision and recall, averaged so that every label counts the same"),
    "micro_f1": ("Micro F1", "the balance of precision and recall over all answers together"),
    "auc": ("AUC", "how often an example that has the label is ranked above one that has not"),
    "log_loss": ("Log-loss", "how surprised the model is by the truth; 0 is perfect, lower is better"),
    "ece": ("Calibration error", "how far stated confidence is from what comes true; lower is better"),
    "mse": ("Mean squared error", "the mean of the squared error; lower is better"),
    "mae": ("Mean absolute error", "how far off an answer is on average; lower is better"),
    "r2": ("R²", "the share of the variation that is explained; 1 is perfect, 0 is the mean"),
    "spearman": ("Spearman correlation", "how well the order of the examples is reproduced; 1 is perfect, 0 is chance"),
    "pearson": ("Pearson correlation", "how well answers follow the truth along a line; 1 is perfect, 0 is chance"),
    "map_50": (
        "mAP at IoU 0.5",
        "how well objects are found and ranked (mean average precision); a box is right if it and the object share "
        "half of what they cover together",
    ),
    "map": (
        "mAP",
        "mean average precision as COCO counts it: the mean over ten overlaps that are asked for, 0.5 to 0.95",
    ),
    "map_75": ("mAP at IoU 0.75", "mean average precision where a box has to fit closely"),
    "recall_100": (
        "Recall of 100 boxes",
        "the share of objects among the 100 surest boxes of an image, mean over overlaps from 0.5 to 0.95",
    ),
    "mean_iou": (
        "Mean IoU",
        "pixels of a class rightly found, of all that have it or were given it; every class counts the same",
    ),
    "mean_dice": ("Mean Dice", "the balance of precision and recall over pixels; every class counts the same"),
    "pixel_accuracy": ("Pixel accuracy", "the share of pixels answered right; large classes count most"),
    "mean_accuracy": ("Mean class accuracy", "the share of each class's pixels that is found, mean over classes"),
    "bleu": (
        "BLEU",
        "how many runs of one to four words are those of the truth, over all texts together; from 0 to 100, and what "
        "is said well in other words counts little",
    ),
    "chrf": (
        "chrF",
        "how many runs of up to six letters are shared with the truth, over all texts together; from 0 to 100, and "
        "another ending of a word costs less than another word",
    ),
    "exact_match": ("Exact match", "the share of answers that are the truth to the letter, spaces aside"),
    "perplexity": (
        "Perplexity",
        "among how many equally likely tokens the model is in doubt where the truth goes on; 1 is perfect, lower is "
        "better",
    ),
    "wer": (
        "Word error rate",
        "words left out, put in or taken for others, for each word that was said; 0 is perfect, lower is better",
    ),
    "cer": (
        "Character error rate",
        "characters left out, put in or taken for others, for each that was said; 0 is perfect, lower is better",
    ),
    "likeness": (
        "Likeness",
        "how alike the voice is to that of the recordings, times the share of the words that a listener understood; "
        "1 is perfect",
    ),
    "similarity": (
        "Speaker similarity",
        "how alike the voice is to that of the recordings, to an encoder of speakers; 1 is the same voice",
    ),
    "mcd": (
        "Mel-cepstral distortion",
        "how far the sounds are from the recording's, in dB, laid against each other; lower is better, though a voice "
        "that mumbles may come closer than one that speaks clearly in another melody",
    ),
}
SYSTEMS = {
    "tuned": "Tuned model",
    "linear_probe": "Linear probe",
    "untouched": "Before tuning",
    "majority": "Majority",
}
_OF_BASELINES = {
    "linear_probe": "The linear probe reads the untouched model",
    "untouched": "Before tuning is what the model said of these classes as it came",
    "majority": "the majority looks at no input",
}

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


def baselines_in_words(names: Iterable[str], kind: str | None) -> str:
    """A sentence that says what the baselines are; nothing where there are none."""
    untouched = {
        "translations": "before tuning is what the model wrote as it came",
        "completions": "before tuning is what the model wrote as it came",
        "passages": "before tuning is how likely the model found these texts as it came",
        "transcripts": "before tuning is what the model heard as it came",
        "speech": "before tuning is what the model spoke as it came",
    }
    majority = {
        "boxes": "the majority tells the mean box of each label, whatever the image",
        "masks": "the majority takes every pixel for the most frequent class",
        "numbers": "the mean looks at no input",
    }
    told = {
        **_OF_BASELINES,
        "majority": majority.get(kind or "", _OF_BASELINES["majority"]),
        "untouched": untouched.get(kind or "", _OF_BASELINES["untouched"]),
    }
    text = "; ".join(told[name] for name in names if name in told)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def lowered(title: str) -> str:
    """A title within a sentence: abbreviations keep their capitals."""
    return title if title[1:2].isupper() else title[0].lower() + title[1:]


def number(value: Any) -> str:
    """A score with at least three digits that count; a dash where there is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    size = abs(value)
    form = ".3g" if 0 < size < 0.01 or size >= 1e6 else ".3f" if size < 10 else ".2f" if size < 1000 else ",.0f"
    return f"{value:{form}}".replace("-", "\N{MINUS SIGN}")


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
