"""Classes by their names: a sentence that says what a class is called is one more text of that class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regraft.data.example import Example
from regraft.fingerprint import example_id

FILE = "task.templates"  # where such an example is from

_ENGLISH = (
    "This sentence is {}.",
    "The label is {}.",
    "{}",
    "It is {}.",
    "A {} text.",
    "This is {}.",
    "This text is {}.",
    "{}:",
)
_CHINESE = (
    "这句话是{}的。",
    "标签是{}。",
    "{}",
    "它是{}的。",
    "一段{}的文字。",
    "这是{}。",
    "这段文字是{}的。",
    "{}:",
)


def listed(given: Any) -> Any:
    """Templates as a list, where there is only one too.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(given, str | list | tuple):
        raise ValueError("is no sentence with {}, in quotes, and no list of such; true takes the usual ones")
    return [given] if isinstance(given, str) else given


def template(text: str) -> str:
    """A template.

    Raises:
        ValueError: it has no place for a name.
    """
    if "{}" not in text:
        raise ValueError(f"{text!r} has no {{}} for the name of a class")
    return text


def usual_templates(names: Sequence[str]) -> tuple[str, ...]:
    """Eight sentences with a place for a name, in the language of the names: Chinese where one has Chinese characters,
    else English.
    """
    return _CHINESE if any("\u4e00" <= letter <= "\u9fff" for name in names for letter in name) else _ENGLISH


def named_examples(shares: Mapping[str, float], templates: Sequence[str]) -> list[Example]:
    """Names in templates, an underscore in a name being a space where they are still told apart then.

    Args:
        shares: of each name how frequent its class is, as a share of the most frequent one: it has so much of the
            templates, but the first at least, so that how frequent classes are stays about as it is.
    """
    spoken = {name: name.replace("_", " ").strip() for name in shares}
    if not all(spoken.values()) or len({*spoken.values()}) < len(spoken):
        spoken = {name: name for name in shares}
    texts = [
        (template.replace("{}", spoken[name]), name)
        for place, template in enumerate(templates)
        for name, share in shares.items()
        if place < max(1, round(share * len(templates)))
    ]
    return [
        Example(example_id({"text": text}), {"text": text}, name, None, FILE, row)
        for row, (text, name) in enumerate(texts, start=1)
    ]
