"""Which head a model gets for a task: its own, or one that is grafted on its backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from regraft.errors import RecipeError
from regraft.pretrained.opening import class_of, is_backbone

HEADS = ("own", "mean", "pooled", "dense", "boxes", "frames", "heard")

_TEXTS = "AutoModelForSequenceClassification"
_CLASSES = "AutoModelForImageClassification"
_BOXES = "AutoModelForObjectDetection"
_MASKS = "AutoModelForSemanticSegmentation"
_SETS = "AutoModelForUniversalSegmentation"
_TRANSLATIONS = "AutoModelForSeq2SeqLM"
_LANGUAGE = "AutoModelForCausalLM"
_DICTATED = "AutoModelForSpeechSeq2Seq"
_SPELLED = "AutoModelForCTC"
_SOUNDS = "AutoModelForAudioClassification"
WRITERS = (_TRANSLATIONS, _LANGUAGE, _DICTATED)  # whose answers are written with the head that they were trained with

# The head that is grafted where an auto class has no model of the family.
_GRAFTED = {
    _TEXTS: "mean",
    _CLASSES: "pooled",
    _BOXES: "boxes",
    _MASKS: "dense",
    _SETS: "dense",
    _SPELLED: "frames",
    _SOUNDS: "heard",
}
# Families of masks that are told by queries, and that need nothing but the image to tell them.
_SET_FAMILIES = {"eomt", "eomt_dinov3", "mask2former", "maskformer"}
_WORDS = {
    _TEXTS: "classes of texts",
    _CLASSES: "classes of images",
    _BOXES: "boxes",
    _MASKS: "masks",
    _SETS: "masks",
    _SPELLED: "transcripts",
    _SOUNDS: "classes of sounds",
}


@dataclass(frozen=True)
class Choice:
    """A head, one of ``HEADS``, and the transformers class that the folder is opened with."""

    head: str
    opened_as: str
    notes: tuple[str, ...] = ()


def choose(asked: Literal["auto", "own", "mean", "graft"], auto_class: str, settings: Any, folder: Path) -> Choice:
    """The head for a task.

    Args:
        asked: "own" or "auto" for the model's own where there is one, else a grafted one; "graft" for a grafted one;
            "mean" for the mean of the last states, where the answer is one for the whole input.

    Raises:
        RecipeError: the model reads something else, or nothing can be grafted on it.
    """
    grafted = _GRAFTED.get(auto_class)
    if auto_class in WRITERS:
        return _writer(asked, auto_class, settings, folder)
    if asked == "mean" and grafted not in {"mean", "pooled", "heard"}:
        raise RecipeError(
            f"model.head = 'mean' gives one answer for the whole input, and the task asks for {_WORDS[auto_class]}",
            fix="leave model.head out, or let it be graft",
        )
    own = own_class(auto_class, settings)
    if asked == "own" and own is not None:
        return Choice("own", own)
    if grafted is None:  # a task of someone else's
        return Choice("own", auto_class)
    opened_as = _backbone_class(auto_class, settings, folder)
    if grafted == "mean" and asked == "own" and not hasattr(settings, "hidden_size"):
        opened_as = None
    if opened_as is None:  # of texts, transformers says what it knows
        return Choice("own", auto_class) if grafted == "mean" else _none(auto_class, settings, folder)
    if asked != "own":
        return Choice(grafted, opened_as)
    told = f"{settings.model_type} has no head of its own for {_WORDS[auto_class]}: one is grafted on it ({grafted})"
    return Choice(grafted, opened_as, (told,))


def same_choice(head: str, auto_class: str, settings: Any, folder: Path) -> str:
    """The class that opens a folder that was saved with this head."""
    if head == "own":
        return own_class(auto_class, settings) or auto_class
    return _backbone_class(auto_class, settings, folder) or "AutoModel"


def own_class(auto_class: str, settings: Any) -> str | None:
    """The auto class that has a model of this family with a head for the task, or None."""
    if class_of(settings, auto_class) is not None:
        return auto_class
    if auto_class == _MASKS and settings.model_type in _SET_FAMILIES:
        return _SETS
    return None


def reads_images(auto_class: str) -> bool:
    """Whether a task reads images."""
    return auto_class in {_CLASSES, _BOXES, _MASKS, _SETS}


def reads_sounds(auto_class: str) -> bool:
    """Whether a task reads sounds."""
    return auto_class in {_DICTATED, _SPELLED, _SOUNDS}


def _backbone_class(auto_class: str, settings: Any, folder: Path) -> str | None:
    """The auto class that opens the family without a head, if it reads what the task gives."""
    found = next((name for name in ("AutoModel", "AutoBackbone") if class_of(settings, name) is not None), None)
    if found is None:
        return None
    kind = class_of(settings, found)
    _require_same_sense(auto_class, kind, settings, folder)
    images = getattr(kind, "main_input_name", None) == "pixel_values"
    if images != reads_images(auto_class):
        told = "reads images; the task gives texts" if images else "does not read images alone; the task gives them"
        other = "language model, for example minilm" if images else "vision model: vit, swin, convnext, resnet …"
        raise RecipeError(f"model {folder} ({settings.model_type}) {told}", fix=f"name a {other}")
    if images and _is_whole_detector(settings):
        raise RecipeError(
            f"model {folder} ({settings.model_type}) is made for boxes or masks all through; no other head fits it",
            fix="use it for object-detection or image-segmentation with its own head, or name another model",
        )
    return found


def _writer(asked: str, auto_class: str, settings: Any, folder: Path) -> Choice:
    """A model that writes does so with the head that it was trained with."""
    if asked != "own":
        raise RecipeError(f"model.head = {asked!r} does not write texts", fix="leave model.head out")
    if class_of(settings, auto_class) is None:
        kind, such = {
            _TRANSLATIONS: ("encoder-decoder", "marian, t5, mt5, bart, mbart, m2m100, nllb"),
            _LANGUAGE: ("language model that reads from left to right", "gpt2, llama, qwen, smollm2-135m"),
            _DICTATED: ("model that writes down what it hears", "whisper-tiny.en; or set task.decoder=ctc"),
        }[auto_class]
        raise RecipeError(f"model {folder} ({settings.model_type}) is no {kind}", fix=f"name one, such as {such}")
    return Choice("own", auto_class)


def _require_same_sense(auto_class: str, kind: Any, settings: Any, folder: Path) -> None:
    """A model hears where the task gives sounds, and only there."""
    hears = getattr(kind, "main_input_name", None) in {"input_features", "input_values"}
    if hears == reads_sounds(auto_class):
        return
    told = "reads sounds; the task gives none" if hears else "does not read sounds; the task gives them"
    other = "speech model: whisper-tiny.en, wav2vec2, hubert" if reads_sounds(auto_class) else "model for that"
    raise RecipeError(f"model {folder} ({settings.model_type}) {told}", fix=f"name a {other}")


def _is_whole_detector(settings: Any) -> bool:
    """Whether its last states are queries, not places in the image."""
    made_for = any(class_of(settings, name) is not None for name in (_BOXES, _SETS))
    return made_for and class_of(settings, _CLASSES) is None and not is_backbone(settings, "AutoModel")


def _none(auto_class: str, settings: Any, folder: Path) -> Choice:
    raise RecipeError(
        f"model {folder} ({settings.model_type}) has no head for {_WORDS[auto_class]}, and none can be grafted on it",
        fix="name another model: vision families such as vit, dinov2, swin, convnext, resnet and efficientnet fit",
    )
