"""The model card: front matter that a hub can read, and a text without rows of the data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from regraft.report import write_card
from regraft.run import Run
from tests.report.folders import TEXTS, write_run


def front_matter(text: str) -> dict:
    head, _, _ = text.removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head)


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_the_front_matter(tmp_path: Path, kind: str) -> None:
    front = front_matter(write_card(write_run(tmp_path / "run", kind)).read_text(encoding="utf-8"))
    assert front["library_name"] == "transformers"
    assert front["pipeline_tag"] == "text-classification"
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert front["base_model_relation"] == "finetune"
    assert front["license"] == "unknown"
    assert "language" not in front
    result = front["model-index"][0]["results"][0]
    assert result["dataset"]["name"] == "reviews.csv"
    assert {metric["type"] for metric in result["metrics"]} == set(front["metrics"])


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_the_text(tmp_path: Path, kind: str) -> None:
    text = write_card(write_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    for title in ("Intended use", "Data", "Evaluation", "Limits", "How it was made"):
        assert f"\n## {title}\n" in text
    assert "tuning helped" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") - line.count("\\|") for line in rows}) == 1
    assert len(rows) >= 7
    assert not any(quote in text for quote in TEXTS)
    assert "\n\n\n" not in text
    assert "/home" not in text
    assert "train: reviews.csv" in text


def test_a_base_model_that_is_a_folder_is_not_named_as_a_hub_id(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    run.recipe.write_text("task: {name: text-classification}\nmodel: {name: /srv/secret/bert-base}\n", encoding="utf-8")
    text = write_card(run).read_text(encoding="utf-8")
    assert "base_model" not in front_matter(text)
    assert "tuned from bert-base" in text


def test_a_mean_pooled_model_is_opened_by_what_knows_its_head(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes")
    assert "from transformers import pipeline" in write_card(run).read_text(encoding="utf-8")
    text = "task: {name: text-classification}\nmodel: {name: minilm, head: mean}\n"
    run.recipe.write_text(text, encoding="utf-8")
    card = write_card(run).read_text(encoding="utf-8")
    assert 'Tuned.load("path/to/this/folder")' in card
    assert "pipeline(" not in card


def test_labels_are_not_markdown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "classes", labels=["<img src=x>", "a|b`c", "# x\n\n---"])
    text = write_card(run).read_text(encoding="utf-8")
    assert "\\<img src=x\\>" in text
    assert not re.search(r"(?<!\\)<img|^# x", text, flags=re.MULTILINE)
    assert front_matter(text)["license"] == "unknown"


def test_an_empty_folder(tmp_path: Path) -> None:
    text = write_card(Run(tmp_path)).read_text(encoding="utf-8")
    assert "It has not been evaluated." in text
    assert "metrics" not in front_matter(text)
