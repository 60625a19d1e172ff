"""Transcripts that are spelled along the sound: connectionist temporal classification, CTC.

Graves et al., Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent Neural
Networks, 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf. Every frame says a character or nothing; a text is as
likely as all ways together to spread it over the frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from regraft.data.example import Example
from regraft.data.spoken import spoken_form
from regraft.errors import DataError
from regraft.tasks._contract import Answers, Encoded, Loss, Output
from regraft.tasks._sounds import Ear, SoundInputs
from regraft.tasks._writing import IGNORED, TextTargets

BLANK = "<pad>"  # what a frame says where it says nothing
SPACE = "|"
_MOST = 1500  # characters that are kept of what is said: as many as there are frames in 30 s
_WHOLE = 1 << 30  # frames, where a model does not tell how many there are of a sound


@dataclass(frozen=True)
class CtcTargets(TextTargets):
    """A text that is spelled, in the characters of the training texts in spoken form, or in those of the model."""

    def learn(self, examples: Sequence[Example]) -> Answers:
        letters = sorted({letter for example in examples for letter in spoken_form(example.target)} - {" "})
        if not letters:
            where = examples[0].file if examples else "the training data"
            raise DataError(f"{where}: no training text has a letter", fix="at least one is needed to learn from")
        return Answers(self.kind, (BLANK, SPACE, *letters))

    def model_config(self, answers: Answers) -> dict[str, Any]:
        return {"characters": list(answers.names)}

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:  # noqa: ARG002
        blank = blank_of(config)

        def along(output: Output, target: Tensor) -> Tensor:
            return ctc(output, target, blank=blank)

        return Loss("CTC", "the text is spelled along the sound", along)

    def said(self, output: Output, answers: Answers, encoded: Sequence[Encoded]) -> Tensor:  # noqa: ARG002
        """float64 [batch, 2 + 1500]: nan and 0, for there is no likelihood of tokens; then the characters."""
        best = output["logits"].argmax(-1).cpu()
        found = torch.full((len(encoded), 2 + _MOST), -1.0, dtype=torch.float64)
        found[:, 0], found[:, 1] = torch.nan, 0
        for place, (row, says) in enumerate(zip(encoded, best, strict=True)):
            said = torch.unique_consecutive(says[: row["frames"]])
            said = said[said != row["blank"]][:_MOST]
            found[place, 2 : 2 + len(said)] = said.double()
        return found

    def told(self, said: NDArray[Any], answers: Answers, processor: Any) -> NDArray[Any]:  # noqa: ARG002
        told = np.empty((len(said), 3), dtype=object)
        letters = processor.tokenizer.convert_ids_to_tokens
        for place, row in enumerate(said):
            spelt = "".join(letters([int(token) for token in row[2:] if token >= 0])).replace(SPACE, " ")
            told[place] = [" ".join(spelt.split()), float("nan"), 0]
        return told


def ctc(output: Output, target: Tensor, *, blank: int) -> Tensor:
    """How surprised the model is by each text, in nats.

    Args:
        output: ``logits`` [batch, frames, characters].
        target: int64 [batch, 1 + longest]: how many frames hold sound, then the characters, -100 behind them.

    Returns:
        fp32 [batch]; 0 where a text has more characters than there are frames.
    """
    logits = output["logits"].float()
    letters = target[:, 1:]
    return functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        letters.clamp(min=0),
        target[:, 0].clamp(max=logits.shape[1]),
        (letters != IGNORED).sum(1),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )


def spelled(text: str, tokenizer: Any) -> list[int]:
    """A text in spoken form as characters of a tokenizer: in capitals where it has no others, without unknown ones."""
    known = tokenizer.get_vocab()
    form = spoken_form(text)
    capitals = "A" in known and "a" not in known
    letters = (form.upper() if capitals else form).replace(" ", SPACE)
    return [known[letter] for letter in letters if letter in known]


@dataclass(frozen=True)
class SpelledInputs(SoundInputs):
    """A sound along which a text is spelled: how many frames it has is known, and which character says nothing."""

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        blank = blank_of(config)
        return [
            {**row, "frames": frames_of(row, config), "blank": blank}
            for row in super().encode(inputs, processor, config)
        ]


def blank_of(config: Any) -> int:
    """The character that says nothing: the padding of a model's own vocabulary, or the first of ours."""
    found = getattr(config, "ctc_blank", None)
    return int(found if found is not None else getattr(config, "pad_token_id", None) or 0)


def frames_of(encoded: Encoded, config: Any) -> int:
    """How many of the states that a model gives belong to a sound, and not to padding."""
    ear: Ear = encoded["ear"]
    sound = encoded["sound"]
    if ear.kind == "window":
        states = int(getattr(config, "max_source_positions", None) or _WHOLE)
        return _WHOLE if states == _WHOLE else max(1, min(states, -int(-sound.seconds * states // ear.window)))
    if ear.alike or not hasattr(config, "conv_kernel"):
        return _WHOLE
    length = round(sound.seconds * ear.rate)
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        length = (length - kernel) // stride + 1
    return int(max(1, length))
