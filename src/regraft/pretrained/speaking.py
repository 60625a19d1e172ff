"""Voices: what turns texts into what they read, how they are opened to learn, what makes waves of spectrograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.pretrained.folder import first_line, model_folder, quiet
from regraft.pretrained.hearing import feature_extractor_of, settle_hearing
from regraft.pretrained.opening import library, open_folder
from regraft.pretrained.processor import tokenizer_of
from regraft.recipe import ModelOptions

OF_WAVES, OF_SPECTROGRAMS = "AutoModelForTextToWaveform", "AutoModelForTextToSpectrogram"
VOICES = {OF_WAVES: ("vits", "piper_vits"), OF_SPECTROGRAMS: ("speecht5",)}  # families that can learn here
_LEARNS_WITH = "head.safetensors"
_MARKS = ("^", "_", "$")  # with which a text of phonemes begins, is separated, and ends


@dataclass(frozen=True)
class Speaker:
    """What turns texts into tokens, and sounds into what a voice learns from.

    ``rate`` in Hz is that of what it says. ``extractor`` makes spectrograms, for voices that say spectrograms.
    ``phonemes`` is the voice of espeak-ng whose phonemes are read; empty where texts are read as they are.
    """

    tokenizer: Any
    rate: int
    extractor: Any = None
    phonemes: str = ""

    @property
    def pad(self) -> int:
        """The token that fills up a batch."""
        return int(self.tokenizer.pad_token_id or 0)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, or of its phonemes.

        Raises:
            RecipeError: the tokenizer needs what is not installed.
        """
        try:
            return [list(ids) for ids in self.tokenizer(list(texts))["input_ids"]] if texts else []
        except ImportError as error:  # VitsTokenizer asks for phonemizer when it meets the first text
            raise RecipeError(
                f"the tokenizer of this voice cannot read: {first_line(error)}", fix="install what it asks for"
            ) from None

    def says(self, tokens: Sequence[int]) -> bool:
        """Whether there is anything in tokens but marks, what separates them, and what the voice does not know."""
        special = getattr(self.tokenizer, "all_special_ids", ())
        marks = {*special, self.pad} if getattr(self.tokenizer, "add_blank", True) else {*special} - {self.pad}
        return any(token not in marks for token in tokens)

    def save_pretrained(self, folder: Path) -> None:
        """Write what plain transformers opens."""
        self.tokenizer.save_pretrained(folder)
        if self.extractor is not None:
            self.extractor.save_pretrained(folder)


@dataclass(frozen=True)
class Phonemes:
    """The tokenizer of Piper's voices, which reads phonemes; the settings say what each is called."""

    config: Any

    @property
    def pad_token_id(self) -> int:
        return int(self.config.phoneme_id_map["_"][0])

    @property
    def all_special_ids(self) -> list[int]:
        """Of what begins, separates and ends a text."""
        return [token for mark in _MARKS for token in self.config.phoneme_id_map[mark]]

    def __call__(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        from regraft.pretrained.piper import phoneme_ids

        return {"input_ids": [phoneme_ids(text, self.config) for text in texts]}

    def save_pretrained(self, folder: Path) -> None:
        """They are in the config."""


def require_voice(auto_class: str, settings: Any, folder: Path, *, asked: str) -> None:
    """See that a family can learn to speak.

    Args:
        asked: the head that the recipe asks for.

    Raises:
        RecipeError: it cannot.
    """
    if asked != "own":
        raise RecipeError(f"model.head = {asked!r} does not speak", fix="leave model.head out")
    if settings.model_type not in VOICES[auto_class]:
        known = "a VITS (facebook/mms-tts-…, kakao-enterprise/vits-ljs, the packaged joe) or SpeechT5"
        raise RecipeError(
            f"model {folder} ({settings.model_type}) is no voice that can learn here", fix=f"name {known}"
        )


def speaker_of(folder: Path, settings: Any) -> Speaker:
    """What a voice reads.

    Raises:
        RecipeError: the tokenizer or the feature extractor is missing or damaged.
    """
    if settings.model_type == "piper_vits":
        _require_phonemes(settings, folder)
        return Speaker(Phonemes(settings), int(settings.sampling_rate), phonemes=str(settings.espeak_voice))
    tokenizer = tokenizer_of(folder)
    if settings.model_type == "vits":
        return Speaker(tokenizer, int(settings.sampling_rate))
    extractor = feature_extractor_of(folder)
    return Speaker(tokenizer, int(extractor.sampling_rate), extractor)


def _require_phonemes(settings: Any, folder: Path) -> None:
    known = settings.phoneme_id_map or {}
    lacking = [mark for mark in _MARKS if not known.get(mark)]
    beyond = [mark for mark, ids in known.items() if not all(0 <= int(one) < settings.vocab_size for one in ids)]
    if lacking or beyond:
        odd = f"lacks {lacking[0]!r}" if lacking else f"gives {beyond[0]!r} a number beyond {settings.vocab_size - 1}"
        raise RecipeError(f"model {folder}: phoneme_id_map in config.json {odd}", fix="fetch the model again")


def open_voice(
    folder: Path, auto_class: str, config: Mapping[str, Any], dropout: float | None
) -> tuple[nn.Module, set[str], set[str]]:
    """A voice that can learn.

    Args:
        config: ``segment``, ``posterior_layers`` and ``discriminator_channels`` of ``VitsTraining``.

    Returns:
        The model, the weights that the folder lacks, and those with which it learns and that begin anew.
    """
    model, missing = open_folder(folder, auto_class, {}, dropout, settle_hearing)
    if auto_class == OF_SPECTROGRAMS:
        from regraft.pretrained import speecht5

        model.__class__ = speecht5.SpeechT5ForTextToSpeech  # which only computes more of what it knows
        return model, missing, set()
    from regraft.pretrained.vits import VitsTraining

    made = VitsTraining(model, **config)
    beside = beside_of(made) or {}
    return made, missing, set() if _taken_over(made, beside, folder) else set(beside)


def beside_of(model: nn.Module) -> dict[str, Tensor] | None:
    """What a VITS voice learns with, which is no part of it; None for all other models."""
    if getattr(getattr(model, "config", None), "model_type", "") not in VOICES[OF_WAVES]:
        return None
    return {name: value for name, value in model.state_dict().items() if not name.startswith("backbone.")}


def _taken_over(made: nn.Module, beside: Mapping[str, Tensor], folder: Path) -> bool:
    """Whether what a voice learned with when it was tuned before lies in its folder, and was put in.

    Raises:
        RecipeError: it lies there, and is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / _LEARNS_WITH
    if not beside or not file.is_file():
        return False
    try:
        kept = load_file(file)
    except (OSError, SafetensorError) as error:
        raise RecipeError(
            f"{file} cannot be read: {first_line(error)}", fix="copy the folder again, or tune again"
        ) from None
    if {name: value.shape for name, value in kept.items()} != {name: value.shape for name, value in beside.items()}:
        return False
    made.load_state_dict(kept, strict=False)
    return True


@lru_cache(maxsize=1)
def vocoder_of(name: str, bands: int, rate: int) -> Any:
    """The vocoder of a folder or hub id: log-mel spectrograms [frames, bands] in, waves [samples] at ``rate`` Hz out.

    Raises:
        RecipeError: it is none, or is for other spectrograms.
    """
    fix = "name a folder or hub id of SpeechT5HifiGan, such as microsoft/speecht5_hifigan"
    try:
        folder = model_folder(ModelOptions(name=name))
    except RecipeError as error:
        raise RecipeError(f"task.vocoder: {error.problem}", fix=fix) from None
    try:
        with quiet():
            made, report = library().SpeechT5HifiGan.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # a damaged file makes transformers raise many kinds
        raise RecipeError(f"task.vocoder {name} cannot be opened: {first_line(error)}", fix=fix) from error
    if report["missing_keys"] or report["mismatched_keys"]:
        raise RecipeError(f"task.vocoder {name} is no vocoder, or not whole", fix=fix)
    if (made.config.model_in_dim, made.config.sampling_rate) != (bands, rate):
        raise RecipeError(
            f"task.vocoder {name} makes {made.config.sampling_rate:,} Hz of {made.config.model_in_dim} bands, and the "
            f"voice says {rate:,} Hz in {bands}",
            fix="name the one that belongs to this voice",
        )
    return made.eval()
