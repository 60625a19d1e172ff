"""What a section is made of. The page template knows how each looks; a section says only what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Bar:
    """A table cell: a share from 0 to 1 as a bar, with its text."""

    share: float
    text: str


Cell = str | Bar


@dataclass(frozen=True)
class Score:
    """The headline: a number, its interval, what it measures and the verdict. ``tone`` is good, bad or even."""

    value: str
    interval: str
    measures: str
    verdict: str
    tone: str
    kind: ClassVar[str] = "score"


@dataclass(frozen=True)
class Figure:
    """A drawing, with the sentence above it that says what to see. What is not ``wide`` can have a neighbour."""

    sentence: str
    svg: Markup
    wide: bool = False
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Table:
    """Rows of cells; the columns from ``numeric`` on are aligned right."""

    sentence: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: int = 1
    wide: bool = True
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Fact:
    """A name and its value; ``aside`` is said more softly."""

    name: str
    value: str
    aside: str = ""


@dataclass(frozen=True)
class Facts:
    facts: Sequence[Fact]
    wide: bool = True
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Quote:
    """A row of the data: its texts, what was right, what was answered, and where it came from."""

    texts: Sequence[str]
    target: str
    prediction: str
    aside: str
    source: str


@dataclass(frozen=True)
class Quotes:
    sentence: str
    items: Sequence[Quote]
    kind: ClassVar[str] = "quotes"


@dataclass(frozen=True)
class Outline:
    """A box on a picture, in parts of its width and height. Dashed is what is true; ``tag`` is written at its edge."""

    left: float
    top: float
    width: float
    height: float
    colour: str
    ink: str = "#ffffff"
    dashed: bool = False
    tag: str = ""


@dataclass(frozen=True)
class Shot:
    """A picture as a data URI, or why it cannot be shown (``gone``). Width and height are for its shape only."""

    source: str
    width: int
    height: int
    alt: str
    caption: str = ""
    gone: str = ""
    coarse: bool = False
    outlines: Sequence[Outline] = ()


@dataclass(frozen=True)
class Clip:
    """A sound as a data URI, or why it cannot be played (``gone``); ``caption`` and ``length`` are told below it."""

    source: str
    alt: str
    caption: str = ""
    length: str = ""
    gone: str = ""


@dataclass(frozen=True)
class Card:
    """One example: its pictures, and in words what was answered and what is true. ``path`` is told on demand."""

    shots: Sequence[Shot]
    prediction: str = ""
    target: str = ""
    right: bool = False
    aside: str = ""
    source: str = ""
    path: str = ""
    clips: Sequence[Clip] = ()


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a patch of a colour, or a line that is solid or dashed."""

    text: str
    colour: str = ""
    line: str = ""


@dataclass(frozen=True)
class Gallery:
    """Examples side by side. ``size`` is small, large, row for cards of several pictures each, or sounds."""

    sentence: str
    items: Sequence[Card]
    keys: Sequence[Key] = ()
    size: str = "small"
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Span:
    """A part of a text; ``differs`` from the other text that it is compared with."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class Line:
    """A text and what it is. ``tone`` is input, truth or answer."""

    name: str
    spans: Sequence[Span]
    tone: str = "input"


@dataclass(frozen=True)
class Writing:
    """One example: its sounds side by side, its texts one below the other. ``path`` is told on demand."""

    lines: Sequence[Line]
    clips: Sequence[Clip] = ()
    aside: str = ""
    source: str = ""
    path: str = ""


@dataclass(frozen=True)
class Writings:
    sentence: str
    items: Sequence[Writing]
    keys: Sequence[Key] = ()
    kind: ClassVar[str] = "writings"


@dataclass(frozen=True)
class Strip:
    """A line of a list of pictures: what they have in common, how often, and some of them."""

    title: str
    aside: str
    shots: Sequence[Shot]


@dataclass(frozen=True)
class Strips:
    sentence: str
    items: Sequence[Strip]
    kind: ClassVar[str] = "strips"


@dataclass(frozen=True)
class Picture:
    """One large picture as a data URI."""

    sentence: str
    source: str
    width: int
    height: int
    alt: str
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Code:
    """Text to read or copy as it is."""

    sentence: str
    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Note:
    """A sentence of its own. ``tone`` is plain, good, warn, or small for what few will read."""

    text: str
    tone: str = "plain"
    kind: ClassVar[str] = "note"


Block = Score | Figure | Table | Facts | Quotes | Gallery | Writings | Strips | Picture | Code | Note


@dataclass(frozen=True)
class Section:
    """A chapter of the report; ``name`` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]
