"""Models that hear: what turns sounds into what they read, and texts into their tokens."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError
from regraft.pretrained.folder import first_line, quiet
from regraft.pretrained.opening import library
from regraft.pretrained.processor import tokenizer_of

_VOCABULARIES = ("tokenizer.json", "vocab.json", "tokenizer_config.json", "vocab.txt", "spiece.model")
_DROPS = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")


@dataclass(frozen=True)
class Listener:
    """A feature extractor, and a tokenizer where the model writes or spells."""

    feature_extractor: Any
    tokenizer: Any = None

    def decode(self, tokens: Sequence[int], **options: Any) -> str:
        """Tokens as text, by its tokenizer."""
        text: str = self.tokenizer.decode(tokens, **options)
        return text

    def save_pretrained(self, folder: Path) -> None:
        """Write what plain transformers opens as a processor, or as its two parts."""
        self.feature_extractor.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)


def feature_extractor_of(folder: Path) -> Any:
    """The feature extractor of a folder.

    Raises:
        RecipeError: there is none, or it is damaged.
    """
    transformers = library()
    try:
        with quiet():
            found = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
            _ = found.sampling_rate, found.to_dict()
            return found
    except Exception as error:  # a damaged file makes transformers raise many kinds
        raise RecipeError(
            f"model {folder}: its feature extractor cannot be opened: {first_line(error)}",
            fix="the folder needs preprocessor_config.json, which tells how it hears",
        ) from error


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a vocabulary."""
    return any((folder / name).is_file() for name in _VOCABULARIES)


def listener_of(folder: Path, *, texts: bool, characters: Sequence[str] = ()) -> Listener:
    """What prepares sounds, and texts where a task has them.

    Args:
        characters: what is spelled with where the folder has no vocabulary of its own; the first is the blank, the
            second stands between words.
    """
    extractor = feature_extractor_of(folder)
    if not texts:
        return Listener(extractor)
    if characters:
        return Listener(extractor, speller(characters))
    return Listener(extractor, tokenizer_of(folder))


def speller(characters: Sequence[str]) -> Any:
    """A tokenizer of characters as transformers has it for CTC."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "vocab.json"
        known = {letter: place for place, letter in enumerate(dict.fromkeys([*characters, "<unk>"]))}
        file.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
        return library().Wav2Vec2CTCTokenizer(
            str(file),
            pad_token=characters[0],
            word_delimiter_token=characters[1],
            unk_token="<unk>",
            bos_token=None,
            eos_token=None,
        )


def settle_hearing(settings: Any) -> None:
    """Switch off what would vary training by numbers that do not come from the seed: masks of features, dropped layers.

    ``augmentation`` masks features, as a function of the example.
    """
    if getattr(settings, "apply_spec_augment", False):
        settings.apply_spec_augment = False
    for name in _DROPS:
        if getattr(settings, name, 0.0):
            setattr(settings, name, 0.0)
