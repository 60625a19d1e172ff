"""Answers that are written, token by token: learned with the true tokens before each (teacher forcing), then generated.

Of an example a model that writes is asked two things: how likely the truth is, and what it writes itself. What is kept
is one row of numbers: the loss of the truth in nats, over how many tokens, and the tokens that were written, -1 behind
the last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from regraft.data.example import BadRow, Column, Example
from regraft.tasks._contract import Answers, Encoded, Kind, Loss, Output, Targets, Task
from regraft.tasks._text import parse_text

READ = ("input_ids", "attention_mask")
IGNORED = -100  # the label of what is not to be learned: padding, and what the model was asked
# Families whose decoder starts with the last token of what it is to write: the language, or the end.
_WRAPPED = {"mbart"}
_STARTING = 4  # tokens at most with which a transcript of Whisper begins
_BESIDE = 2  # numbers beside the tokens in what is kept of an example


@dataclass(frozen=True)
class TextTargets(Targets):
    """A text. It is known by its tokens, which lie beside what the model reads: ``labels`` of an encoded example.

    Args:
        kind: which metrics there are.
        name: of the column that holds it, and ``synonyms``.
        label_smoothing: the share of the target that is spread over all tokens.
    """

    kind: Kind
    name: str
    synonyms: tuple[str, ...]
    label_smoothing: float = 0.0

    def column(self, *, label_separator: str) -> Column:  # noqa: ARG002  (texts are not separated)
        return Column(self.name, "target", parse_text, self.synonyms)

    def learn(self, examples: Sequence[Example]) -> Answers:  # noqa: ARG002  (there is a text for everything)
        return Answers(self.kind, ())

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:  # noqa: ARG002
        return []

    def value(self, example: Example, answers: Answers) -> Any:  # noqa: ARG002
        return example.target or ""

    def summary(self, targets: Sequence[Any]) -> dict[str, float]:
        """Characters of the texts."""
        lengths = [len(text) for text in targets if text]
        if not lengths:
            return {}
        return {"min": min(lengths), "mean": round(float(np.mean(lengths)), 1), "max": max(lengths)}

    def tensor(self, values: Sequence[Any], answers: Answers) -> Tensor:
        raise NotImplementedError("the labels of a batch are made from its encoded examples")

    def model_config(self, answers: Answers) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def loss(self, answers: Answers, values: Sequence[Any], config: Any = None) -> Loss:  # noqa: ARG002
        smoothed = f" (smoothing {self.label_smoothing:g})" if self.label_smoothing else ""

        def by_token(output: Output, target: Tensor) -> Tensor:
            return token_losses(output["logits"], target, smoothing=self.label_smoothing)

        return Loss(
            f"cross-entropy of each token{smoothed}", "the answer is written, one token after another", by_token
        )

    def said(self, output: Output, answers: Answers, encoded: Sequence[Encoded]) -> Tensor:  # noqa: ARG002
        """float64 [batch, 2]: nats of the truth, and its tokens; where nothing was asked, nan and 0."""
        if not output:
            return torch.tensor([[torch.nan, 0.0]] * len(encoded), dtype=torch.float64)
        labels = padded([row["labels"] for row in encoded], IGNORED).to(output["logits"].device)
        losses = token_losses(output["logits"], labels)
        return torch.stack([losses.double().sum(1), (labels != IGNORED).sum(1).double()], dim=1)

    def told(self, said: NDArray[Any], answers: Answers, processor: Any) -> NDArray[Any]:  # noqa: ARG002
        """Objects [n, 3]: the text that was written (None where none was), nats of the truth, and its tokens."""
        told = np.empty((len(said), 3), dtype=object)
        for place, row in enumerate(said):
            tokens = [int(token) for token in row[_BESIDE:] if token >= 0]
            written = len(row) > _BESIDE
            told[place] = [tidy(processor, tokens) if written else None, float(row[0]), int(row[1])]
        return told

    def judged(self, values: Sequence[Any], said: NDArray[Any], answers: Answers) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: ARG002
        return np.array(list(values), dtype=np.dtypes.StringDType()), said

    def answer(
        self,
        scores: NDArray[Any],
        answers: Answers,  # noqa: ARG002
        inputs: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        return {"prediction": scores[0]}


@dataclass(frozen=True)
class Writing:
    """How an answer is written: greedily, with beams, or drawn.

    ``temperature`` 0 takes the likeliest token; ``top_p`` draws from the likeliest that together have this share
    (Holtzman et al., 2020, https://arxiv.org/abs/1904.09751).
    """

    max_new_tokens: int
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0

    def options(self) -> dict[str, Any]:
        """What transformers' ``generate`` is called with."""
        drawn = {"temperature": self.temperature, "top_p": self.top_p} if self.temperature else {}
        beams = {"num_beams": self.beams}
        return {"max_new_tokens": self.max_new_tokens, "do_sample": bool(self.temperature), **beams, **drawn}


class WritingTask(Task):
    """What the tasks share whose answers are written."""

    looks_first: ClassVar[bool] = True  # some families keep constants among their parameters
    proof_rows: ClassVar[int] = 16  # what is written takes long

    @property
    def targets(self) -> TextTargets:
        raise NotImplementedError

    @property
    def writing(self) -> Writing:
        """How its answers are written."""
        raise NotImplementedError

    def asked(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What the model is given before it writes, and what else ``generate`` is to know."""
        raise NotImplementedError

    def write(self, model: Any, encoded: Sequence[Encoded], processor: Any) -> Tensor | None:
        inputs, more = self.asked(model, encoded, processor)
        return generated(model, inputs, self.writing, **more)

    def speak(self, model: Any, encoded: Encoded, processor: Any) -> Iterator[str]:
        """What the model writes of one example, piece by piece as it comes; without beams."""
        inputs, more = self.asked(model, [encoded], processor)
        return spoken(model, inputs, self.writing, processor, **more)

    def looks(self, encoded: Sequence[Encoded]) -> bool:
        return all("labels" in row for row in encoded)

    def target(self, encoded: Sequence[Encoded], values: Sequence[Any], answers: Answers) -> Tensor:  # noqa: ARG002
        return padded([row["labels"] for row in encoded], IGNORED)

    def units(self, target: Tensor) -> int:
        return max(1, int((target != IGNORED).sum()))


def token_losses(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of each token, 0 where there is nothing to learn.

    Args:
        logits: [batch, tokens, vocabulary]; more tokens than labels are not looked at.
        labels: int64 [batch, tokens].

    Returns:
        fp32 [batch, tokens]
    """
    learned = labels != IGNORED
    rows = logits[:, : labels.shape[1]][learned].float()
    losses = functional.cross_entropy(rows, labels[learned], reduction="none", label_smoothing=smoothing)
    return torch.zeros(labels.shape, device=losses.device).masked_scatter(learned, losses)


def shifted(labels: Sequence[int], config: Any) -> list[int]:
    """What a decoder reads while it learns to write ``labels``: one token later, behind the one that it starts with."""
    first = labels[-1] if config.model_type in _WRAPPED and labels else config.decoder_start_token_id
    return [first, *labels[:-1]]


def read_of(encoded: Encoded) -> Encoded:
    """What a model reads of a text, without what it is to write."""
    return {name: encoded[name] for name in READ}


def decoder_inputs(encoded: Sequence[Encoded], fill: int) -> dict[str, Tensor]:
    """What a decoder reads while it learns; nothing where the truth is not known, or there is no decoder."""
    if "decoder_input_ids" not in encoded[0]:
        return {}
    return {"decoder_input_ids": padded([row["decoder_input_ids"] for row in encoded], fill)}


def padded(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False, size: int = 0) -> Tensor:
    """int64 [n, longest]: rows of different lengths, ``fill`` behind them, or before them with ``left``."""
    size = max(size, *(len(row) for row in rows))
    found = np.full((len(rows), size), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        if left:
            found[place, size - len(row) :] = row
        else:
            found[place, : len(row)] = row
    return torch.from_numpy(found)


def generated(model: Any, inputs: Mapping[str, Tensor], writing: Writing, **more: Any) -> Tensor:
    """What a model writes, int64 [batch, max_new_tokens], -1 behind the end; the same each time unless it is drawn.

    Args:
        more: what else ``generate`` is to know.
    """
    from regraft.pretrained.folder import quiet

    options = writing.options()
    places = getattr(model.config, "max_target_positions", None)  # of Whisper, which is strict about it
    if places is not None:
        options["max_new_tokens"] = min(writing.max_new_tokens, places - _STARTING)
    room = getattr(model.config, "max_position_embeddings", None)
    if room is not None and not model.config.is_encoder_decoder:
        options["max_new_tokens"] = min(writing.max_new_tokens, max(1, room - inputs["input_ids"].shape[1]))
    with quiet(), torch.no_grad():
        found: Tensor = model.generate(**inputs, **options, use_cache=True, **more)
    if not model.config.is_encoder_decoder:
        found = found[:, inputs["input_ids"].shape[1] :]
    elif bool((found[:, 0] == model.config.decoder_start_token_id).all()):  # Whisper has taken it off already
        found = found[:, 1:]
    ends = _ends(model)
    ended = torch.isin(found, ends.to(found.device))
    behind = ended.cumsum(1) - ended.long() > 0
    found = found.masked_fill(behind, -1)
    return functional.pad(found, (0, writing.max_new_tokens - found.shape[1]), value=-1)


def spoken(model: Any, inputs: Mapping[str, Tensor], writing: Writing, processor: Any, **more: Any) -> Iterator[str]:
    """What a model writes of one example, piece by piece as it comes."""
    from transformers import TextIteratorStreamer

    failed: list[BaseException] = []
    streamer: Any = TextIteratorStreamer(processor, skip_prompt=True, skip_special_tokens=True)

    def write() -> None:
        try:
            generated(model, inputs, replace(writing, beams=1), streamer=streamer, **more)
        except BaseException as error:
            failed.append(error)
            streamer.on_finalized_text("", stream_end=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    yield from (piece for piece in streamer if piece)
    thread.join()
    if failed:
        raise failed[0]


def _ends(model: Any) -> Tensor:
    """The tokens with which an answer ends."""
    end = model.generation_config.eos_token_id
    return torch.tensor(end if isinstance(end, list) else [] if end is None else [end], dtype=torch.int64)


def tidy(processor: Any, tokens: Sequence[int]) -> str:
    """Tokens as text, without special ones and surrounding space."""
    text: str = processor.decode(list(tokens), skip_special_tokens=True)
    return text.strip()
