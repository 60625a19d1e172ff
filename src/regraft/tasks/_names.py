"""Classes by their names: a sentence that says what a class is called is one more text of that class."""

from __future__ import annotations

from collections.abc import Sequence

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


def usual_templates(names: Sequence[str]) -> tuple[str, ...]:
    """Eight sentences with a place for a name, in the language of the names: Chinese where one has Chinese characters,
    else English.
    """
    return _CHINESE if any("\u4e00" <= letter <= "\u9fff" for name in names for letter in name) else _ENGLISH


def named_examples(names: Sequence[str], templates: Sequence[str]) -> list[Example]:
    """Each name in each template; an underscore in a name is a space."""
    texts = [(template.replace("{}", name.replace("_", " ")), name) for template in templates for name in names]
    return [
        Example(example_id({"text": text}), {"text": text}, name, None, FILE, row)
        for row, (text, name) in enumerate(texts, start=1)
    ]
