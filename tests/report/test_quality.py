"""The report tells what was found of the data, each finding with its rows, and lets nothing of them act."""

from __future__ import annotations

import json
from pathlib import Path

from regraft.quality import Finding, Item, Place, Quality
from regraft.report import write_report
from tests.report.folders import write_run
from tests.report.test_page import EVIL, Outline


def _page(folder: Path, *findings: Finding) -> str:
    run = write_run(folder / "run", "classes")
    quality = Quality({"train": 100, "test": 20}, ("near-duplicates", "wrong-labels"), findings)
    run.quality.write_text(json.dumps(quality.to_json()), encoding="utf-8")
    return write_report(run).read_text(encoding="utf-8")


def _pair(first: str, second: str) -> Item:
    return Item(
        (Place("train", "a.csv", 7, first, "good"), Place("test", "b.csv", 9, second, "bad")), 0.9, "labels differ"
    )


def test_findings_are_told_with_their_rows(tmp_path: Path) -> None:
    pairs = tuple(_pair(f"One text, {number}.", f"The same text, {number}.") for number in range(6))
    page = _page(
        tmp_path, Finding("near-duplicates", "error", "6 rows of test are nearly equal.", "leave them out", 6, pairs)
    )
    assert "Is the data sound?" in page
    assert "6 rows of test are nearly equal. What to do: leave them out." in page
    assert "The strongest 4 of 6." in page
    assert "One text, 3." in page
    assert "One text, 4." not in page
    assert "a.csv, row 7; b.csv, row 9" in page
    assert "Looked for: near duplicates, wrong labels." in page


def test_where_nothing_was_found_it_says_so(tmp_path: Path) -> None:
    page = _page(tmp_path)
    assert "Nothing was found." in page


def test_rows_cannot_act(tmp_path: Path) -> None:
    evil = tuple(_pair(text, text) for text in EVIL)
    page = _page(tmp_path, Finding("near-duplicates", "warning", EVIL[0], "", len(evil), evil))
    assert "script" not in Outline(page).tags
    assert "49" not in page.split("Is the data sound?")[1].split("How to repeat it")[0].replace("{{7*7}}", "")


def test_without_a_look_there_is_no_section(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path / "run", "classes")).read_text(encoding="utf-8")
    assert "Is the data sound?" not in page
