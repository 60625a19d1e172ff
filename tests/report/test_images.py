"""The report of image tasks: pictures with their answers, mistakes, mix-ups, and files that are gone."""

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
from PIL import Image

from regraft.evaluation.detection import rankings
from regraft.report import write_card, write_report
from regraft.report.colours import colours_of, ink_on
from regraft.report.detections import match
from regraft.report.masks import mean_iou, painted, shares, told_mask, true_mask
from regraft.run import Run
from tests.report.image_folders import TASKS, write_image_run
from tests.report.test_page import Outline

KINDS = ["classes", "labels", "numbers", "boxes", "masks"]
EVIL = "<script>alert(1)</script>"


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">.*?</section>', page, flags=re.DOTALL)
    assert found is not None
    return found[0]


def change(run: Run, **columns: object) -> None:
    """Put other columns into the predictions."""
    table = pq.read_table(run.predictions)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, run.predictions)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_sections(tmp_path: Path, kind: str) -> None:
    page = write_report(write_image_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    for name in ("score", "samples", "answers", "mistakes", "data", "again"):
        assert name in outline.ids
    assert ("curves" in outline.ids) == (kind in {"classes", "labels", "boxes"})
    assert "could not be drawn" not in page
    assert "test images" in page
    assert not re.search(r"\brows\b", section(page, "samples") + section(page, "data"))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_in_the_page_and_nothing_is_loaded(tmp_path: Path, kind: str) -> None:
    page = write_report(write_image_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert {"script", "link", "iframe", "object"}.isdisjoint(outline.tags)
    assert outline.tags.count("img") >= 14
    assert all(address.startswith(("#", "data:image/")) for address in outline.addresses)
    assert all(re.search(r'\balt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", page))
    assert len(outline.ids) == len(set(outline.ids))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    run = write_image_run(tmp_path / "run", kind)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_wrote_is_shown_and_does_not_act(tmp_path: Path, kind: str) -> None:
    labels = [f"<script>{place}</script>\x1b\u202e" for place in range(1 if kind == "numbers" else 3)]
    evil = '<script>"onerror=alert(1) \x1b {}.png'.replace("/", "")
    page = write_report(write_image_run(tmp_path / "run", kind, labels=labels, name=evil)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert "script" not in outline.tags
    assert not [name for name in outline.attributes if name.startswith("on")]
    assert "&lt;script&gt;&#34;onerror=alert(1)" in section(page, "samples")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert "could not be drawn" not in page


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_gone_or_damaged_are_told_in_place(tmp_path: Path, kind: str) -> None:
    run = write_image_run(tmp_path / "run", kind)
    for place in range(14):
        path = run.folder / "images" / f"photo {place}.png"
        if place % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:100])
    page = write_report(run).read_text(encoding="utf-8")
    shown = section(page, "samples")
    assert "is not there" in shown
    assert "is truncated" in shown
    assert "photo 3.png" in shown
    assert "could not be drawn" not in page
    assert Outline(page).open == []


@pytest.mark.parametrize("kind", KINDS)
def test_without_pillow_the_report_says_so(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_image_run(tmp_path / "run", kind)
    monkeypatch.setitem(sys.modules, "PIL", None)
    page = write_report(run).read_text(encoding="utf-8")
    assert "images need Pillow, which is not installed" in page
    assert "could not be drawn" not in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_run_is_a_small_file(tmp_path: Path, kind: str) -> None:
    run = write_image_run(tmp_path / "run", kind, rows=120)
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(run.folder / "noise.jpg")
    change(run, image=pa.array([str(run.folder / "noise.jpg")] * 120))
    page = write_report(run).read_text(encoding="utf-8")
    assert "of 120 test images, drawn by chance" in page
    assert len(page) < 3_000_000


def test_small_pictures_keep_each_pixel(tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", "classes")
    Image.new("RGB", (28, 28), "red").save(run.folder / "small.png")
    change(run, image=pa.array([str(run.folder / "small.png")] * 14))
    shown = section(write_report(run).read_text(encoding="utf-8"), "samples")
    assert shown.count('class="coarse" src="data:image/png') == 14


def test_mix_ups_have_examples(tmp_path: Path) -> None:
    shown = section(write_report(write_image_run(tmp_path / "run", "classes")).read_text(encoding="utf-8"), "answers")
    assert " taken for " in shown
    assert shown.count("<img") >= shown.count(" images</span>") + shown.count(" image</span>") > 0


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", "boxes", rows=1)
    box, other = [24.0, 18.0, 48.0, 54.0], [0.0, 36.0, 48.0, 72.0]
    change(
        run,
        target=pa.array([[{"label": "cat", "box": box}, {"label": "dog", "box": other}]]),
        prediction=pa.array(
            [[{"label": "cat", "box": box, "score": 0.75}, {"label": "cat", "box": other, "score": 0.5}]]
        ),
    )
    shown = section(write_report(run).read_text(encoding="utf-8"), "samples")
    solid = f'<rect x="25.00" y="25.00" width="25.00" height="50.00" stroke="{colours_of(["cat"])["cat"]}"/>'
    assert solid in shown
    assert '<rect class="dashed" x="0.00" y="50.00" width="50.00" height="50.00" stroke="#ffffff"/>' in shown
    assert ">cat 0.75</span>" in shown
    assert ">✗ cat 0.50</span>" in shown
    assert ">missed dog</span>" in shown
    assert "2 objects, 1 found, 1 missed, 1 false" in shown


def test_the_worst_detections_come_first(tmp_path: Path) -> None:
    shown = section(write_report(write_image_run(tmp_path / "run", "boxes")).read_text(encoding="utf-8"), "mistakes")
    wrong = [int(m) + int(f or 0) for m, f in re.findall(r"(\d+) missed(?:, (\d+) false)?</p>", shown)]
    assert len(wrong) == 12
    assert wrong == sorted(wrong, reverse=True)
    assert "Of the 28 objects in 14 test images, 14 are missed" in shown


def test_boxes_are_matched_as_the_scores_match_them() -> None:
    rng = np.random.default_rng(3)
    target, said = np.empty(60, dtype=object), np.full((60, 8, 6), -1.0)
    hits = 0
    for place in range(60):
        corner = rng.uniform(0, 0.3, (5, 2))
        target[place] = np.column_stack(
            [corner, corner + rng.uniform(0.2, 0.5, (5, 2)), rng.integers(0, 2, 5), np.zeros(5)]
        )
        near = target[place][rng.integers(0, 5, 8), :5]
        said[place] = np.column_stack([near[:, :4] + rng.normal(0, 0.04, (8, 4)), rng.random(8), near[:, 4]])
        true = [{"label": row[4], "box": row[:4]} for row in target[place]]
        told = [{"label": row[5], "box": row[:4], "score": row[4]} for row in said[place]]
        found = match(told, true)
        assert sum(found.right) == sum(found.found) == len(told) - found.wrong == len(true) - found.missed
        hits += sum(found.right)
    assert hits == sum(len(each.hits[0]) for each in rankings(target, said))
    assert 0 < hits < 300


def test_masks_stand_beside_the_image(tmp_path: Path) -> None:
    page = write_report(write_image_run(tmp_path / "run", "masks", rows=4)).read_text(encoding="utf-8")
    shown = section(page, "samples")
    assert shown.count("<img") == 12
    assert shown.count("<figcaption>predicted</figcaption>") == 4
    assert "photo 0.png, true: background 86.2" in shown
    assert "does not count" in shown
    worst = section(page, "mistakes")
    values = [float(value) for value in re.findall(r"mean IoU ([\d.]+)</p>", worst)]
    assert len(values) == 3  # the first has no mistake
    assert values == sorted(values)


def test_the_mean_iou_of_an_image_is_that_of_its_scores(tmp_path: Path) -> None:
    true, told = (np.zeros((8, 10), dtype=np.uint8) for _ in range(2))
    true[2:4, :5], told[2:4, 1:6], true[0] = 1, 1, 255
    cat, background = 8 / 12, (70 - 10 - 2) / (70 - 10 + 2)
    assert mean_iou(true, told) == pytest.approx((cat + background) / 2)
    assert mean_iou(np.full((2, 2), 255, np.uint8), told[:2, :2]) is None
    with pytest.raises(ValueError, match="the true mask is"):
        mean_iou(true, told[:4])


def test_masks_without_a_file_are_shown_without_truth(tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", "masks", rows=3)
    change(run, target=pa.nulls(3, pa.string()))
    page = write_report(run).read_text(encoding="utf-8")
    assert section(page, "samples").count("<img") == 6
    assert "drawn from outlines" in section(page, "mistakes")
    assert "could not be drawn" not in page


def test_true_masks_in_the_predictions_are_shown(tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", "masks", rows=3)
    table = pq.read_table(run.predictions)
    files = [(run.folder / "images" / f"mask {place}.png").read_bytes() for place in range(3)]
    whole = write_report(run).read_text(encoding="utf-8")
    table = table.set_column(table.column_names.index("target"), "target", pa.nulls(3, pa.string()))
    pq.write_table(table.append_column("true_mask", pa.array(files)), run.predictions)
    page = write_report(run).read_text(encoding="utf-8")
    assert section(page, "samples") == section(whole, "samples")
    assert section(page, "mistakes") == section(whole, "mistakes")


def test_true_masks_that_are_gone_are_told_in_place(tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", "masks", rows=3)
    (run.folder / "images" / "mask 1.png").unlink()
    (run.folder / "images" / "mask 2.png").write_bytes(b"no mask")
    change(run, mask=pa.array([b"no mask", *pq.read_table(run.predictions)["mask"].to_pylist()[1:]]))
    page = write_report(run).read_text(encoding="utf-8")
    shown = section(page, "samples")
    assert shown.count('class="gone"') == 3
    assert "is no PNG, TIFF or BMP" in shown
    assert "could not be drawn" not in page


def test_masks_are_read_by_the_names_of_their_values(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "classes.txt").write_text("sky\ncat\nunknown\n", encoding="utf-8")
    assert true_mask(str(tmp_path / "mask.png"), ["cat", "sky"]).tolist() == [[1, 0, 255, 255]]


def test_a_painted_mask_has_the_colours_of_its_classes() -> None:
    labels = ["background", "cat"]
    mask = np.zeros((40, 400), np.uint8)
    mask[:, 200:], mask[:, 300:] = 1, 255
    source = painted(mask, labels, colours_of(labels), 100)
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    assert image.size == (100, 10)
    rgb = [bytes.fromhex(colours_of(labels)[label][1:]) for label in labels]
    assert [bytes(image.getpixel((x, 5))) for x in (10, 60)] == rgb
    assert shares(mask, labels) == [("background", pytest.approx(2 / 3)), ("cat", pytest.approx(1 / 3))]


def test_a_mask_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="is damaged"):
        told_mask(b"\x89PNG\r\n\x1a\n cut")


def test_colours_differ_and_text_is_read_on_them() -> None:
    found = colours_of([str(place) for place in range(150)])
    assert len(set(found.values())) == 151
    assert {ink_on(colour) for colour in found.values()} == {"#000000", "#ffffff"}


def test_the_sheet_of_augmented_samples_is_shown(tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", "boxes")
    Image.new("RGBA", (1200, 600), (200, 10, 10, 128)).save(run.folder / "augmented.png")
    shown = section(write_report(run).read_text(encoding="utf-8"), "augmented")
    assert 'src="data:image/' in shown
    assert 'width="1000" height="500"' in shown
    (run.folder / "augmented.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    assert "augmented.png cannot be read" in write_report(run).read_text(encoding="utf-8")


def test_each_label_has_its_measures_with_intervals(tmp_path: Path) -> None:
    for kind, columns in (("boxes", ["Objects", "AP", "Interval", "AP50"]), ("masks", ["Pixels", "IoU", "Dice"])):
        page = write_report(write_image_run(tmp_path / kind, kind)).read_text(encoding="utf-8")
        shown = section(page, "answers")
        for name in columns:
            assert f">{name}</th>" in shown
        assert re.search(r"0\.\d{3} to [01]\.\d{3}</td>", shown)


@pytest.mark.parametrize("name", ["plan.json", "scores.json", "predictions.parquet"])
@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_one_missing_file_does_not_cost_the_others(tmp_path: Path, kind: str, name: str) -> None:
    run = write_image_run(tmp_path / "run", kind)
    (run.folder / name).unlink()
    page = write_report(run).read_text(encoding="utf-8")
    assert "could not be drawn" not in page
    assert name in page
    assert Outline(page).open == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_card(tmp_path: Path, kind: str) -> None:
    run = write_image_run(tmp_path / "run", kind)
    text = write_card(run).read_text(encoding="utf-8")
    pipeline = "image-classification" if kind == "numbers" else TASKS[kind]
    assert f"pipeline_tag: {pipeline}\n" in text
    assert "EfficientNet-Lite0, trained on ImageNet-1k" in text
    assert "photo.jpg" in text
    assert ("Tuned.load" in text) == (kind == "numbers")
    assert "14 images to train on" in text
    assert "photo 1" not in text
    assert "/home" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("name", "content"), [("regraft.json", '{"head": "boxes"}'), ("config.json", '{"model_type": "regraft-centernet"}')]
)
def test_a_model_that_transformers_cannot_open_is_opened_by_regraft(tmp_path: Path, name: str, content: str) -> None:
    run = write_image_run(tmp_path / "run", "boxes")
    assert 'pipeline("object-detection", ' in write_card(run).read_text(encoding="utf-8")
    (run.model / name).write_text(content, encoding="utf-8")
    text = write_card(run).read_text(encoding="utf-8")
    assert 'Tuned.load("path/to/this/folder").predict("photo.jpg")' in text
    assert "pipeline(" not in text
