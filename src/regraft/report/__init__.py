"""The report: what a run folder holds, as one HTML file and as a model card.

    material      reads the run folder; whatever is missing or damaged is named and left out
    sections/     one file a section: ``render(material) -> Section | None``; a new one is found by its file
    blocks        what a section is made of: figures, tables, facts, quotes
    gallery       examples with pictures or players; writings: those with texts, and differences: what differs in them
    album         small copies of images to show, and recordings: short copies of sounds to play
    figures       matplotlib figures as SVG that takes its colours from the page
    words         numbers and metrics in words, and characters that must not act made visible
    page, card    report.html and model/README.md

Only files are read: a report can be written again at any time, of any run.
"""

from regraft.report.card import write_card
from regraft.report.page import write_report

__all__ = ["write_card", "write_report"]
