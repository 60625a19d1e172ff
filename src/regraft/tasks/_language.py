"""What a language model reads: a text, a prompt with its completion, or a conversation, as one run of tokens.

Of a completion only its own tokens are learned, of a conversation only what the assistant says, the token that ends
it among them. Padding is known by its place and not by its token, so a model may pad with the token that ends a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from regraft.data.example import BadRow, Column, Example
from regraft.tasks._contract import Answers, Encoded
from regraft.tasks._conversation import last_answer, parse_turns, pieces, prompt_of
from regraft.tasks._text import TextInputs
from regraft.tasks._writing import IGNORED, READ, TextTargets, padded, read_of

Format = Literal["text", "completion", "chat"]

# Which columns tell which format, by the names that they have.
COLUMNS: dict[str, tuple[str, ...]] = {
    "messages": ("conversations", "conversation", "dialog", "dialogue", "turns", "对话", "消息"),
    "prompt": ("instruction", "question", "query", "input", "context", "提示", "问题", "指令"),
    "completion": ("response", "output", "answer", "reply", "target", "回答", "答案", "输出"),
    "text": ("sentence", "content", "body", "document", "passage", "文本", "内容", "正文", "句子"),
}


@dataclass(frozen=True)
class LanguageInputs(TextInputs):
    """A text, a prompt, or a conversation, in tokens of a model that reads from left to right."""

    wanted: ClassVar[str] = "a text"

    max_length: int = 512
    format: Format = "text"

    def is_one(self, value: Any) -> bool:
        return isinstance(value, str) or (self.format == "chat" and isinstance(value, list) and _is_turn(value[:1]))

    def given(self, column: Column, value: Any) -> Any:
        """A conversation may be given by what the user says."""
        said = self.format == "chat" and isinstance(value, str) and not value.lstrip().startswith("[")
        return column.parse([{"role": "user", "content": value}] if said else value)

    def columns(self) -> tuple[Column, ...]:
        name = {"text": "text", "completion": "prompt", "chat": "messages"}[self.format]
        return (Column(name, "input", parse_turns if self.format == "chat" else parse_written, COLUMNS[name]),)

    def varied(self, inputs: Mapping[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
        """A prompt, or what a user says in a conversation, changed; of a text all is written."""
        if self.format == "completion":
            return super().varied(inputs, change)
        if self.format == "text":
            return dict(inputs)
        turns = [
            {**turn, "content": change(f"turn {place}", turn["content"])} if turn["role"] == "user" else turn
            for place, turn in enumerate(inputs["messages"])
        ]
        return {"messages": turns}

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:
        """What stands before the answer: ``prompt`` tokens, all of ``input_ids``; too many are cut on the left."""
        limit = self.limit(processor, config)
        return [_run(self._asked(values, processor)[-limit:]) for values in inputs]

    def learned(
        self, inputs: Sequence[Mapping[str, Any]], targets: Sequence[str | None], processor: Any, config: Any
    ) -> list[Encoded]:
        """Examples with what follows the prompt, and ``labels``: of each place the token that comes next.

        Where they are too long, prompts are cut on the left; what is to be learned is cut on the right.
        """
        limit = self.limit(processor, config)
        return [
            self._cut(self._parts(values, target, processor), limit)
            for values, target in zip(inputs, targets, strict=True)
        ]

    def key(self, encoded: Encoded) -> bytes:
        return super().key(read_of(encoded))

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:
        """input_ids and attention_mask, int64 [n, size], padded on the right."""
        fills = {"input_ids": processor.pad_token_id or 0, "attention_mask": 0}
        return {name: padded([row[name] for row in encoded], fills[name], size=size or 0) for name in READ}

    def prompts(self, encoded: Sequence[Encoded], processor: Any, *, room: int) -> dict[str, Tensor]:
        """What is asked of examples, padded on the left: where it ends, the answer begins.

        Args:
            room: the most tokens of a prompt; the last ones count.
        """
        asked = [row["input_ids"][: row["prompt"]][-room:] for row in encoded]
        return {
            "input_ids": padded(asked, processor.pad_token_id or 0, left=True),
            "attention_mask": padded([[1] * len(row) for row in asked], 0, left=True),
        }

    def _asked(self, values: Mapping[str, Any], processor: Any) -> list[int]:
        """The tokens before the answer; of a text all its tokens, for an answer goes on with it."""
        if self.format == "chat":
            turns = values["messages"]
            known = turns[: last_answer(turns)] if turns[-1]["role"] == "assistant" else turns
            learned = [*pieces(known, processor)] if last_answer(known) is not None else []
            asked = prompt_of(known, processor)
            return _tokens(_resumed(learned, asked), processor)
        return _beginning(values["prompt" if self.format == "completion" else "text"], processor)

    def _parts(self, values: Mapping[str, Any], target: str | None, processor: Any) -> list[tuple[list[int], bool]]:
        """Runs of tokens one after the other, and of each whether it is learned."""
        end = [processor.eos_token_id] if processor.eos_token_id is not None else []
        if self.format == "text":
            return [(_beginning(values["text"], processor) + end, True)]
        if self.format == "completion":
            answer = _tokens([(target or "", True)], processor)
            return [(_beginning(values["prompt"], processor), False), (answer + end, True)]
        return [
            part
            for text, spoken in pieces(values["messages"], processor)
            for part in _spoken(_tokens([(text, spoken)], processor), spoken, end)
        ]

    def _cut(self, parts: Sequence[tuple[list[int], bool]], limit: int) -> Encoded:
        tokens = [token for run, _ in parts for token in run]
        learned = [spoken for run, spoken in parts for _ in run]
        answers = [place for place in range(1, len(parts)) if parts[place][1]]
        prompt = sum(len(run) for run, _ in parts[: answers[-1]]) if answers else 0
        over = min(max(0, len(tokens) - limit), prompt)
        tokens, learned, prompt = tokens[over:][:limit], learned[over:][:limit], prompt - over
        following = [*tokens[1:], IGNORED]
        labels = [token if told else IGNORED for token, told in zip(following, [*learned[1:], False], strict=True)]
        return {**_run(tokens), "prompt": min(prompt, len(tokens)) or len(tokens), "labels": labels}


@dataclass(frozen=True)
class LanguageTargets(TextTargets):
    """What a language model is to write: a completion, the assistant's last turn, or nothing but the text itself."""

    format: Format = "text"

    def column(self, *, label_separator: str) -> Column:  # noqa: ARG002  (texts are not separated)
        return Column(self.name, "target", parse_written, self.synonyms)

    def unfit(self, examples: Sequence[Example], answers: Answers) -> list[BadRow]:  # noqa: ARG002
        if self.format != "chat":
            return []
        return [
            BadRow(example.file, example.row, "messages", "has no turn of the assistant: there is nothing to learn")
            for example in examples
            if last_answer(example.inputs["messages"]) is None
        ]

    def value(self, example: Example, answers: Answers) -> str:
        if self.format != "chat":
            return str(super().value(example, answers))
        turns = example.inputs["messages"]
        place = last_answer(turns)
        return "" if place is None else str(turns[place]["content"])


def parse_written(cell: Any) -> str:
    """A cell that must hold text, kept to the letter: space before or behind it is part of it."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("is empty; a text is needed")
    if not isinstance(cell, str):
        raise ValueError(f"holds {type(cell).__name__}; a text is needed")
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise ValueError("holds bytes that are no text; is it in another encoding?") from None
    return cell


def _run(tokens: list[int]) -> Encoded:
    return {"input_ids": tokens, "attention_mask": [1] * len(tokens), "prompt": len(tokens)}


def _beginning(text: str, processor: Any) -> list[int]:
    """The tokens of a text with what the model wants before one, and without what it wants behind one."""
    plain = _tokens([(text, False)], processor)
    marked: list[int] = processor(text)["input_ids"]
    for start in range(len(marked) - len(plain) + 1):
        if marked[start : start + len(plain)] == plain:
            return marked[:start] + plain
    return plain


def _tokens(runs: Sequence[tuple[str, bool]], processor: Any) -> list[int]:
    """Texts one after the other, each in tokens of its own."""
    return [token for text, _ in runs for token in processor(text, add_special_tokens=False)["input_ids"]]


def _resumed(learned: list[tuple[str, bool]], asked: str) -> list[tuple[str, bool]]:
    """The pieces of what was said before, and the rest of what is asked."""
    known = "".join(text for text, _ in learned)
    return [*learned, (asked[len(known) :], False)] if asked.startswith(known) else [(asked, False)]


def _spoken(tokens: list[int], spoken: bool, end: Sequence[int]) -> list[tuple[list[int], bool]]:
    """What is said, up to the token that ends it; what a template puts behind that is not learned."""
    places = [place for place, token in enumerate(tokens) if token in end] if spoken else []
    if not places:
        return [(tokens, spoken)]
    cut = places[-1] + 1
    return [(tokens[:cut], True), (tokens[cut:], False)]


def _is_turn(values: Sequence[Any]) -> bool:
    return bool(values) and isinstance(values[0], Mapping) and bool({"role", "from"} & values[0].keys())


def packed(encoded: Sequence[Encoded], processor: Any, *, size: int) -> tuple[dict[str, Tensor], Tensor]:
    """Examples one behind the other in rows of ``size`` tokens: input_ids, position_ids, and their labels [rows, size].

    Every example begins at position 0, by which transformers tells that it does not see the one before it.
    """
    rows: list[list[Encoded]] = []
    for example in encoded:
        fitting = next((row for row in rows if _filled(row) + len(example["input_ids"]) <= size), None)
        if fitting is None:
            rows.append([example])
        else:
            fitting.append(example)
    tokens = [[token for example in row for token in example["input_ids"]] for row in rows]
    places = [[place for example in row for place in range(len(example["input_ids"]))] for row in rows]
    labels = [[label for example in row for label in example["labels"]] for row in rows]
    longest = max(map(len, tokens))
    positions = [row + list(range(longest - len(row))) for row in places]  # padding is an example of its own
    fill = processor.pad_token_id or 0
    inputs = {"input_ids": padded(tokens, fill), "position_ids": torch.tensor(positions, dtype=torch.int64)}
    return inputs, padded(labels, IGNORED)


def _filled(row: Sequence[Encoded]) -> int:
    return sum(len(example["input_ids"]) for example in row)
