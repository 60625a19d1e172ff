"""Conversations: turns of a user and an assistant, laid out by the model's own chat template.

A conversation is cut where the assistant begins to speak and where it ends, and the pieces are turned into tokens one
by one. So what the model reads before an answer is the same in training and in prediction, to the token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from regraft.errors import RecipeError

ROLES = ("system", "user", "assistant", "tool")
_NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}  # what others call them

Turn = dict[str, str]


def parse_turns(cell: Any) -> list[Turn]:
    """A cell that must hold a conversation: a list of {role, content}, or that as JSON; {from, value} will do too."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            raise ValueError('is no JSON; a list such as [{"role": "user", "content": "…"}, …] is needed') from None
    if not isinstance(cell, list) or not cell:
        raise ValueError("holds no list of turns, each with role and content")
    return [_turn(value, number) for number, value in enumerate(cell, start=1)]


def _turn(value: Any, number: int) -> Turn:
    if not isinstance(value, Mapping):
        raise ValueError(f"turn {number} is no object with role and content")
    role = value.get("role", value.get("from"))
    role = _NAMES.get(str(role), role)
    content = value.get("content", value.get("value"))
    if role not in ROLES:
        raise ValueError(f"turn {number} has the role {str(role)[:40]!r}; there are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise ValueError(f"turn {number} has no text as its content")
    return {"role": str(role), "content": content}


def last_answer(turns: Sequence[Turn]) -> int | None:
    """The place of the assistant's last turn."""
    return next((place for place in reversed(range(len(turns))) if turns[place]["role"] == "assistant"), None)


def prompt_of(turns: Sequence[Turn], processor: Any) -> str:
    """The text after which the assistant speaks.

    Raises:
        RecipeError: the model has no chat template, or it does not fit these turns.
    """
    return _laid_out(turns, processor, opened=True)


def pieces(turns: Sequence[Turn], processor: Any) -> list[tuple[str, bool]]:
    """A conversation as texts one after the other, and of each whether the assistant says it.

    Templates that show earlier answers otherwise once a later turn is there (without their thoughts) are cut before
    the last answer alone: what is learned is then what the model will be asked for.
    """
    last = last_answer(turns)
    if last is None:
        return [(_laid_out(turns, processor, opened=False), False)]
    whole = _laid_out(turns[: last + 1], processor, opened=False)
    found: list[tuple[str, bool]] = []
    done = 0
    for place in range(last + 1):
        if turns[place]["role"] != "assistant":
            continue
        before = _laid_out(turns[:place], processor, opened=True)
        after = _laid_out(turns[: place + 1], processor, opened=False)
        if whole.startswith(after) and after.startswith(before) and len(before) >= done:
            found += [(whole[done : len(before)], False), (after[len(before) :], True)]
            done = len(after)
        elif place == last:
            raise RecipeError(
                "the model's chat template shows an answer otherwise than it asks for it",
                fix="use task.format=completion, or another chat template",
            )
    return [piece for piece in found if piece[0]]


def _laid_out(turns: Sequence[Turn], processor: Any, *, opened: bool) -> str:
    if not getattr(processor, "chat_template", None):
        raise RecipeError(
            "the model has no chat template, so it cannot be given conversations",
            fix="choose a model that was made for them, or give the columns prompt and completion",
        )
    if not turns:
        return ""
    try:
        text: str = processor.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=opened)
    except Exception as error:  # a template may raise what it likes
        raise RecipeError(
            f"the model's chat template refuses a conversation: {error}", fix="look at the order of its roles"
        ) from None
    return text
