"""Figures as SVG that belongs to the page: its text, its fonts and its colours, in light and in dark.

Matplotlib is given stand-in colours, and each is exchanged for a variable of the page's style sheet. Text
stays text, so that a label in any script is shown in the reader's fonts. The same figure gives the same
bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from regraft.report.words import number

INK, SOFT, LINE, FIRST, SECOND, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
CLASSES = tuple(f"#0a0a{place:02x}" for place in range(7))
_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    FIRST: "first",
    SECOND: "second",
    THIRD: "third",
    **{colour: f"class-{place}" for place, colour in enumerate(CLASSES)},
}

_STYLE: Any = {
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0.0,
    "svg.fonttype": "none",
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
}


@contextmanager
def drawing(*, width: float = 4.4, height: float = 2.9) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure of so many inches in the report's style; draw inside, then call ``svg`` inside too."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The machine that draws need not have the reader's fonts.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def svg(figure: Figure, *, name: str, alt: str) -> Markup:
    """The figure as an ``<svg>`` element. ``name`` keeps its ids apart from those of other figures on the page."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": f"regraft-{name}"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    head = f'<svg class="figure" role="img" aria-label="{escape(alt)}" {box.group()}>'
    return Markup(re.sub(r"<svg.*?>", lambda _: head, text, count=1, flags=re.DOTALL))


def forest(rows: Sequence[tuple[str, float, float, float]], *, label: str) -> Markup:
    """Values with their intervals, one below the other: ``(name, value, low, high)``, the first in colour."""
    with drawing(width=4.8, height=0.75 + 0.42 * len(rows)) as (figure, axes):
        for place, (_, value, low, high) in enumerate(rows):
            colour = FIRST if place == 0 else THIRD
            axes.plot([low, high], [place, place], color=colour, linewidth=3 if place == 0 else 2)
            axes.plot([value], [place], "o", color=colour, markersize=8 if place == 0 else 6)
            axes.annotate(number(value), (value, place), (0, 7), textcoords="offset points", ha="center", fontsize=9)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.75)
        axes.margins(x=0.08)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel(label)
        told = "; ".join(f"{name} {number(value)}, {number(low)} to {number(high)}" for name, value, low, high in rows)
        return svg(figure, name="forest", alt=f"{label}: {told}")
