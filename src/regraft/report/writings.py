"""Examples that are written or heard: what was asked, what is true and what was written, with the words that differ.

Of speech that was made, two players: the recording that is true, and what the model spoke.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from regraft.report.blocks import Block, Clip, Key, Line, Span, Writing, Writings
from regraft.report.differences import Compared, compare, cut
from regraft.report.gallery import clip, faults, row_of
from regraft.report.material import Material
from regraft.report.words import number, shortened

_LONGEST = 600  # characters of a text
_MOST_TURNS = 5  # of a conversation, before the answer
_INPUTS = ("source", "prompt", "text")
_WRITTEN = {"transcripts": "heard"}
_KEYS = (
    Key("only in the truth", "color-mix(in srgb, var(--good) 30%, transparent)"),
    Key("only in the answer", "color-mix(in srgb, var(--bad) 30%, transparent)"),
)


def writings(
    material: Material, sentence: str, rows: Sequence[int], asides: Mapping[int, str] | None = None
) -> list[Block]:
    """Rows of the predictions one below the other.

    Args:
        asides: what else is told of a row, instead of how far its answer is from the truth.
    """
    items = [_writing(material, row_of(material, row), (asides or {}).get(row)) for row in rows]
    marked = any(span.differs for item in items for line in item.lines for span in line.spans)
    return [*faults(material), Writings(sentence, items, _KEYS if marked else ())]


def compared(material: Material, values: Mapping[str, Any]) -> Compared | None:
    """The truth and the answer of a row; None where one of them is no text. Of speech, what was heard of it."""
    if material.kind == "speech":
        heard = values.get("heard")
        return None if heard is None else compare(str(values["text"]), str(heard), spoken=True)
    if values.get("target") is None or values.get("prediction") is None:
        return None
    return compare(str(values["target"]), str(values["prediction"]), spoken=material.kind == "transcripts")


def distance_in_words(material: Material, found: Compared) -> str:
    """How far an answer is from the truth."""
    what, heard = "character" if found.unspaced else "word", material.kind in {"transcripts", "speech"}
    if not found.apart:
        return f"no {what} differs" if heard else "as the truth"
    part = "the first " if found.cut else ""
    if heard:
        return f"{_amount(found.apart, 'error')} in {part}{_amount(found.wanted, what)}"
    signs = "" if found.unspaced else " and signs"
    return f"{found.apart:,} of {part}{_amount(found.longest, what)}{signs} differ"


def perplexity_in_words(loss: Any) -> str:
    """The perplexity of a text, of its mean loss in nats a token; nothing where there is none."""
    if not isinstance(loss, float) or not math.isfinite(loss):
        return ""
    return f"perplexity {number(math.exp(min(loss, 700.0)))}"


def _amount(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _writing(material: Material, values: Mapping[str, Any], aside: str | None) -> Writing:
    path, found = str(values.get("audio") or ""), compared(material, values)
    where = f"{PurePath(str(values.get('file') or '')).name}, row {values.get('row')}"
    name = shortened(PurePath(path).name, 60) if path else where
    if aside is None:
        near = distance_in_words(material, found) if found else ""
        aside = " · ".join(part for part in (near, perplexity_in_words(values.get("loss"))) if part)
    if material.kind == "speech":
        alike, lines = values.get("similarity"), _asked(material, values) if found is None else _understood(found)
        likeness = f"voice {number(alike)} alike" if isinstance(alike, float) and math.isfinite(alike) else ""
        aside = " · ".join(part for part in (aside, likeness) if part)
        return Writing(lines, _spoken(material, values), aside, name)
    clips = [clip(material, path, alt=f"recording {name}")] if path else []
    return Writing([*_asked(material, values), *_answered(material, values, found)], clips, aside, name, path)


def _understood(found: Compared) -> list[Line]:
    """What was to be said, and what was heard of what was spoken."""
    if not found.apart:
        return [Line("heard ✓", cut(found.true, _LONGEST), "truth")]
    heard = cut(found.told, _LONGEST) or [Span("nothing")]
    return [Line("to say", cut(found.true, _LONGEST), "truth"), Line("heard", heard, "answer")]


def _asked(material: Material, values: Mapping[str, Any]) -> list[Line]:
    """What the model was given to read: a text, or the turns of a conversation before the answer."""
    if values.get("messages"):
        return _turns(values["messages"])
    tone = "truth" if material.kind in {"passages", "speech"} else "input"
    return [Line(name, _plain(values[name]), tone) for name in _INPUTS if values.get(name)]


def _turns(messages: str) -> list[Line]:
    turns = json.loads(messages)
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    before = turns[: answers[-1]] if answers else turns
    more = len(before) - _MOST_TURNS
    told = [Line("", [Span(f"… {_amount(more, 'turn')} before")], "aside")] if more > 0 else []
    return [*told, *(Line(str(turn["role"]), _plain(turn["content"]), "turn") for turn in before[-_MOST_TURNS:])]


def _answered(material: Material, values: Mapping[str, Any], found: Compared | None) -> list[Line]:
    written = _WRITTEN.get(material.kind or "", "written")
    if found is None:
        texts = (("true", "target", "truth"), (written, "prediction", "answer"))
        return [Line(name, _plain(values[key]), tone) for name, key, tone in texts if values.get(key) is not None]
    if str(values["target"]).split() == str(values["prediction"]).split():
        return [Line(f"{written} ✓", _plain(values["prediction"]), "answer")]
    answer = cut(found.told, _LONGEST) or [Span("nothing")]
    return [Line("true", cut(found.true, _LONGEST), "truth"), Line(written, answer, "answer")]


def _spoken(material: Material, values: Mapping[str, Any]) -> list[Clip]:
    """The true recording beside what the model spoke, whose file may be named from the run's folder."""
    told = shortened(str(values.get("text") or ""), 60)
    made = material.run.folder / str(values["prediction"]) if values.get("prediction") else None
    return [
        clip(material, values.get("target"), alt=f"recording of: {told}", caption="recorded"),
        clip(material, made, alt=f"synthesised: {told}", caption="synthesised"),
    ]


def _plain(text: Any) -> list[Span]:
    return [Span(shortened(str(text), _LONGEST))]
