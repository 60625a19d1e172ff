"""The report shows what is there, says what is missing, and lets nothing of the data act."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from regraft.report import write_report
from regraft.report.sections import sections
from regraft.run import Run
from tests.report.folders import write_run

EVIL = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "{{7*7}}{% include '/etc/passwd' %}",
    "\x1b[31mred\x1b[0m \u202egnp.exe \x00 \x9b2J",
]


class Outline(HTMLParser):
    """Which elements and addresses a page has, and whether every element is closed where it should be."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_every_kind_has_its_sections(tmp_path: Path, kind: str) -> None:
    page = write_report(write_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    for name in ("score", "learning", "frozen", "answers", "mistakes", "data", "again"):
        assert name in outline.ids
    assert ("calibration" in outline.ids) == (kind != "numbers")
    assert "could not be drawn" not in page
    assert "has not finished" not in page
    for words in (
        "Tuning helped",
        "95 % interval",
        "Proved: all 53 frozen tensors",
        "reviews.csv, row",
        "regraft tune recipe.yaml training.epochs=3",
        "torch",
        "went on from step 480",
        "is empty",
        "the loss is not finite",
        "3 rows are in the data twice",
    ):
        assert words in page


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_nothing_is_loaded_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    page = write_report(write_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(outline.tags)
    assert all(address.startswith("#") for address in outline.addresses)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page
    assert len(outline.ids) == len(set(outline.ids))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_what_others_wrote_is_shown_and_does_not_act(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes", labels=[EVIL[0], EVIL[1], EVIL[2], "$x^{2$", "好"], texts=EVIL)
    run.recipe.write_text(f"task: {{name: 'a{EVIL[0]}'}}\n", encoding="utf-8")
    page = write_report(run).read_text(encoding="utf-8")
    outline = Outline(page)
    assert {"script", "img"}.isdisjoint(outline.tags)
    assert not [name for name in outline.attributes if name.startswith("on")]
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page
    assert "␛[31mred" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert "could not be drawn" not in page


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    page = write_report(Run(tmp_path)).read_text(encoding="utf-8")
    for name in ("recipe.yaml", "plan.json", "events.jsonl", "scores.json", "predictions.parquet"):
        assert name in page
    assert "has not finished" in page
    assert Outline(page).open == []


@pytest.mark.parametrize("name", ["plan.json", "events.jsonl", "scores.json", "predictions.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut", "odd"])
def test_one_damaged_file_does_not_cost_the_others(tmp_path: Path, name: str, damage: str) -> None:
    run = write_run(tmp_path / "run", "classes")
    path = run.folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_text(
            '{"test": {"accuracy": 3}, "primary": "accuracy", "tree": 5, "data": {"labels": [1]}, "event": 1}\n'
        )
    page = write_report(run).read_text(encoding="utf-8")
    assert Outline(page).open == []
    assert "How to repeat it" in page
    if damage == "missing":
        assert name in page


def test_a_thousand_classes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes", labels=[f"class {k}" for k in range(1000)], rows=1500)
    page = write_report(run).read_text(encoding="utf-8")
    assert "The 30 most frequent of 1,000" in page
    assert len(page) < 1_000_000


def test_a_run_under_way(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    lines = run.events.read_text(encoding="utf-8").splitlines()
    run.events.write_text("\n".join(lines[:200]) + "\n{cut", encoding="utf-8")
    run.scores.unlink()
    page = write_report(run).read_text(encoding="utf-8")
    assert "regraft resume" in page
    assert "How did it learn?" in page


def test_of_a_step_done_twice_the_later_counts(tmp_path: Path) -> None:
    from regraft.report.material import read_material

    run = Run(tmp_path)
    for loss in (9.0, 1.0):
        run.record("step", step=3, epoch=0.1, loss=loss)
    assert [each["loss"] for each in read_material(run).by_step("step")] == [1.0]


def test_a_section_is_one_file() -> None:
    for module in sections():
        assert isinstance(module.PLACE, int)
        assert callable(module.render)
        assert module.__doc__


def test_that_the_best_weights_are_of_an_earlier_phase_is_told_at_the_top(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    assert "The best weights are those of phase" not in write_report(run).read_text(encoding="utf-8")
    run.record("untouched", phase=1, phases=2, tensors=350)
    page = write_report(run).read_text(encoding="utf-8")
    assert "The best weights are those of phase 1 of 2: 350 tensors train only in later phases" in page


def test_the_curve_between_the_untouched_and_the_tuned_model_is_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    assert "What was made of the weights?" not in write_report(run).read_text(encoding="utf-8")
    curve = [{"share": n / 10, "loss": 0.5, "scores": {"accuracy": 0.5 + n / 40}} for n in range(11)]
    run.record("average", how="greedy", epochs=[2, 3], of=4)
    run.record("interpolation", asked="auto", share=0.8, curve=curve)
    page = write_report(run).read_text(encoding="utf-8")
    assert "2 of 4 epochs (2, 3)" in page
    assert "The validation rows chose 0.8 of the way" in page
    assert 'aria-label="validation Accuracy: 0: 0.500; 0.1: 0.525' in page
    assert "was kept as the result" not in page


def test_without_validation_rows_the_share_is_told_without_a_curve(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    run.record("interpolation", asked=0.5, share=0.5, curve=[])
    assert "The recipe asked for 0.5 of the way" in write_report(run).read_text(encoding="utf-8")
