"""The report of what is written or heard: marked differences, players, conversations, and sounds that are gone."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from regraft.report import write_card, write_report
from regraft.report.recordings import SECONDS, Recordings
from tests.report.test_images import change, section
from tests.report.test_page import EVIL, Outline
from tests.report.text_folders import TASKS, write_text_run

WRITTEN = ["translations", "completions", "conversations", "passages", "transcripts"]
HEARD = ["transcripts", "sounds", "speech"]


@pytest.mark.parametrize("kind", TASKS)
def test_every_kind_has_its_sections(tmp_path: Path, kind: str) -> None:
    page = write_report(write_text_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    for name in ("score", "samples", "data", "again"):
        assert name in outline.ids
    for name in ("answers", "mistakes"):
        assert (name in outline.ids) == (kind != "speech")
    assert "could not be drawn" not in page
    assert "numbers to predict" not in page
    assert not re.search(r"\brows\b", section(page, "samples") + section(page, "data"))


@pytest.mark.parametrize("kind", TASKS)
def test_nothing_is_loaded_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    page = write_report(write_text_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert {"script", "link", "iframe", "object", "img"}.isdisjoint(outline.tags)
    assert all(address.startswith(("#", "data:audio/")) for address in outline.addresses)
    assert ("audio" in outline.tags) == (kind in HEARD)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:\"" in page


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    run = write_text_run(tmp_path / "run", kind)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


@pytest.mark.parametrize("kind", [kind for kind in TASKS if kind != "sounds"])
def test_what_others_wrote_is_shown_and_does_not_act(tmp_path: Path, kind: str) -> None:
    run = write_text_run(tmp_path / "run", kind, true=EVIL, told=["<script>alert(2)</script>", EVIL[2], EVIL[1]])
    page = write_report(run).read_text(encoding="utf-8")
    outline = Outline(page)
    assert {"script", "img"}.isdisjoint(outline.tags)
    assert not [name for name in outline.attributes if name.startswith("on")]
    assert "{{7*7}}" in re.sub("</?mark>", "", page)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert "could not be drawn" not in page


@pytest.mark.parametrize("name", ["plan.json", "scores.json", "predictions.parquet"])
@pytest.mark.parametrize("kind", TASKS)
def test_one_missing_file_does_not_cost_the_others(tmp_path: Path, kind: str, name: str) -> None:
    run = write_text_run(tmp_path / "run", kind)
    (run.folder / name).unlink()
    page = write_report(run).read_text(encoding="utf-8")
    assert "could not be drawn" not in page
    assert name in page
    assert Outline(page).open == []


def test_words_that_differ_are_marked_in_both(tmp_path: Path) -> None:
    page = write_report(write_text_run(tmp_path / "run", "translations", rows=1)).read_text(encoding="utf-8")
    shown = section(page, "samples")
    assert "O sistema não é <mark>compatível</mark> com a versão." in shown
    assert "O sistema não é <mark>suportado</mark> com a versão." in shown
    assert "1 of 9 words and signs differ · perplexity 1.105" in shown
    assert "only in the truth" in shown


def test_an_answer_that_is_the_truth_is_shown_once(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "translations", rows=1, true=["Modo  de roaming"], told=["Modo de roaming"])
    page = write_report(run).read_text(encoding="utf-8")
    assert "written ✓" in section(page, "samples")
    assert section(page, "samples").count('class="line') == 2
    assert "only in the truth" not in page
    assert "differ most" not in page


def test_the_answers_that_are_furthest_off_come_first(tmp_path: Path) -> None:
    true = [f"one two three four five six n{place}" for place in range(6)]
    told = [" ".join(text.split()[place:]) for place, text in enumerate(true)]
    run = write_text_run(tmp_path / "run", "translations", rows=6, true=true, told=told)
    shown = section(write_report(run).read_text(encoding="utf-8"), "mistakes")
    assert re.findall(r"(\d) of 7 words", shown) == ["5", "4", "3", "2", "1"]


def test_truths_that_surprise_come_by_their_perplexity(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "passages", rows=12)
    shown = section(write_report(run).read_text(encoding="utf-8"), "mistakes")
    found = [float(value) for value in re.findall(r"perplexity ([\d.]+)", shown)]
    assert len(found) == 8
    assert found == sorted(found, reverse=True)


def test_a_truth_that_was_found_in_the_end_is_no_mistake(tmp_path: Path) -> None:
    page = write_report(write_text_run(tmp_path / "run", "transcripts", rows=40)).read_text(encoding="utf-8")
    shown = section(page, "mistakes")
    assert "surprised the model most" in shown
    assert "heard ✓" not in shown
    assert "heard ✓" in section(page, "samples")


def test_where_no_model_was_asked_there_is_no_perplexity(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "transcripts", rows=4)
    change(run, loss=pa.nulls(4, pa.float64()))
    page = write_report(run).read_text(encoding="utf-8")
    assert not re.search(r"perplexity [\d–]", section(page, "samples") + section(page, "mistakes"))
    assert "could not be drawn" not in page


def test_a_conversation_is_shown_up_to_the_answer(tmp_path: Path) -> None:
    page = write_report(write_text_run(tmp_path / "run", "conversations", rows=1)).read_text(encoding="utf-8")
    shown = section(page, "samples")
    roles = re.findall(r'class="line turn"><span class="name">(\w+)</span>', shown)
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert "… 5 turns before" in shown
    assert "and now?" in shown
    assert "thank you" not in shown
    assert "test conversations" in shown


def test_errors_of_transcripts_are_counted_without_case_and_signs(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "transcripts", rows=1, true=["Press 5, please."], told=["press five please"])
    page = write_report(run).read_text(encoding="utf-8")
    shown = section(page, "samples")
    assert "1 error in 3 words" in shown
    assert "<mark>five</mark> please" in shown
    assert "clip 0.wav" in shown


def test_the_most_frequent_differences_are_told(tmp_path: Path) -> None:
    shown = section(
        write_report(write_text_run(tmp_path / "run", "translations")).read_text(encoding="utf-8"), "answers"
    )
    assert re.search(r"<td>compatível</td><td>suportado</td>.*? 3</td>", shown)
    assert "(left out)" in shown


def test_lengths_of_texts_are_told_in_characters(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "translations")
    shown = section(write_report(run).read_text(encoding="utf-8"), "data")
    assert "How many characters" in shown
    assert re.search(r"Train</td>.*?>5</td>.*?>49.5</td>.*?>1,200</td>", shown)
    assert "Training texts" in shown


def test_how_a_metric_was_counted_is_told(tmp_path: Path) -> None:
    page = write_report(write_text_run(tmp_path / "run", "translations")).read_text(encoding="utf-8")
    assert re.search(r'class="note small wide">How it was counted. BLEU: nrefs:1\|', page)
    page = write_report(write_text_run(tmp_path / "other", "transcripts")).read_text(encoding="utf-8")
    assert "Word error rate and character error rate: small letters" in page


def test_speech_is_heard_beside_its_reference(tmp_path: Path) -> None:
    shown = section(
        write_report(write_text_run(tmp_path / "run", "speech", rows=3)).read_text(encoding="utf-8"), "samples"
    )
    assert shown.count("<audio controls") == 6
    assert shown.count("<b>recorded</b>") == shown.count("<b>synthesised</b>") == 3
    assert len(set(re.findall(r'src="(data:audio[^"]+)"', shown))) == 6


def test_a_player_holds_the_beginning_of_a_sound(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (12 * 44_100, 2))
    soundfile.write(tmp_path / "long.wav", noise, 44_100)
    found = Recordings().copy_of(tmp_path / "long.wav")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(found.source.partition(",")[2])))
    assert (samples.shape, rate) == ((SECONDS * 16_000,), 16_000)
    assert found.length == "12.0 s, of which the first 10 are kept"


def test_a_large_run_is_a_small_file(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "transcripts", rows=30)
    for place in range(30):
        noise = np.random.default_rng(place).normal(0, 0.1, 15 * 16_000)
        soundfile.write(run.folder / "sounds" / f"clip {place}.wav", noise, 16_000)
    page = write_report(run).read_text(encoding="utf-8")
    assert "the report would become too large" in page
    assert "8 of 30 test recordings, drawn by chance." in page
    assert len(page) < 5_000_000


@pytest.mark.parametrize("kind", HEARD)
def test_sounds_that_are_gone_or_damaged_are_told_in_place(tmp_path: Path, kind: str) -> None:
    run = write_text_run(tmp_path / "run", kind, rows=6)
    for place in range(6):
        path = run.folder / "sounds" / f"clip {place}.wav"
        if place % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:1000])
    page = write_report(run).read_text(encoding="utf-8")
    shown = section(page, "samples")
    assert "is not there" in shown
    assert "is truncated" in shown
    assert "could not be drawn" not in page
    assert Outline(page).open == []


@pytest.mark.parametrize("kind", HEARD)
def test_without_soundfile_the_report_says_so(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_text_run(tmp_path / "run", kind)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    page = write_report(run).read_text(encoding="utf-8")
    assert "sounds need soundfile, which is not installed" in page
    assert "<audio" not in page
    assert "could not be drawn" not in page


def test_answers_of_sounds_are_told_beside_a_player(tmp_path: Path) -> None:
    page = write_report(write_text_run(tmp_path / "run", "sounds")).read_text(encoding="utf-8")
    assert section(page, "samples").count("<audio controls") == 8
    assert section(page, "mistakes").count("<audio controls") == 7
    assert "test recordings" in page
    assert ">Test recordings</th>" in section(page, "answers")


@pytest.mark.parametrize("kind", TASKS)
def test_the_model_card(tmp_path: Path, kind: str) -> None:
    run = write_text_run(tmp_path / "run", kind)
    text = write_card(run).read_text(encoding="utf-8")
    assert f"pipeline_tag: {TASKS[kind]}\n" in text
    assert "roaming" not in text
    assert "/home" not in text
    assert "\n\n\n" not in text
    assert ("recording.wav" in text) == (kind in {"transcripts", "sounds"})
    assert ("AutoModelForSeq2SeqLM" in text) == (kind == "translations")
    assert ('"role": "user"' in text) == (kind == "conversations")
    assert ("How it was counted: " in text) == (kind in {"translations", "transcripts"})
    assert ("type: sacrebleu" in text) == (kind == "translations")


@pytest.mark.parametrize(("architecture", "kind"), [("ssru", "translations"), ("piper_vits", "speech")])
def test_an_architecture_of_ours_is_opened_by_regraft(tmp_path: Path, architecture: str, kind: str) -> None:
    run = write_text_run(tmp_path / "run", kind)
    run.model.mkdir()
    (run.model / "config.json").write_text(f'{{"model_type": "{architecture}"}}', encoding="utf-8")
    text = write_card(run).read_text(encoding="utf-8")
    assert 'Tuned.load("path/to/this/folder").predict("some text")' in text
    assert "its architecture is regraft's own" in text
    assert "from transformers import" not in text


def test_a_prefix_is_part_of_what_the_card_shows(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "translations")
    run.recipe.write_text('task: {name: translation, prefix: "to German: "}\nmodel: {name: t5}\n', encoding="utf-8")
    assert 'tokenizer("to German: some text", return_tensors="pt")' in write_card(run).read_text(encoding="utf-8")


def test_predictions_without_a_truth_are_shown(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "translations", rows=4)
    change(run, prediction=pa.nulls(4, pa.string()))
    page = write_report(run).read_text(encoding="utf-8")
    assert "could not be drawn" not in page
    assert pq.read_table(run.predictions)["prediction"].null_count == 4
    assert "Modo de roaming" in section(page, "samples")
