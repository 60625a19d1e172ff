"""The report in a real browser: it draws, it loads nothing, and on a phone nothing sticks out."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread

from regraft.report import write_report
from tests.report.folders import write_run
from tests.report.image_folders import write_image_run
from tests.report.text_folders import write_text_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
PHONE = 390

# A window of a headless browser is never as narrow as a phone; a frame is. The script stands outside of the report.
FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="phone" width="{width}" height="4000" style="border:0" srcdoc="{page}"></iframe>
<p id="found"></p><script>
onload = () => {{
  const page = document.getElementById("phone").contentDocument, root = page.documentElement;
  const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, svg, .bar, .print")
    && e.getBoundingClientRect().right > {width} + 1).map(e => e.tagName + "." + e.className);
  const sections = page.querySelectorAll("section").length;
  document.getElementById("found").textContent = `width ${{root.scrollWidth}} sections ${{sections}} wide [${{wide}}]`;
}}</script>"""

PICTURES = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" width="1000" height="4000" style="border:0" srcdoc="{page}"></iframe>
<p id="found"></p><script>
onload = () => {{
  const page = document.getElementById("page").contentDocument, images = [...page.querySelectorAll(".print img")];
  const bad = images.filter(e => !e.complete || !e.naturalWidth || e.getBoundingClientRect().width < 30
    || Math.abs(e.naturalWidth / e.naturalHeight - e.clientWidth / e.clientHeight) > 0.05);
  const apart = [...page.querySelectorAll(".print svg")].filter(e => {{
    const a = e.getBoundingClientRect(), b = e.parentElement.querySelector("img").getBoundingClientRect();
    return Math.abs(a.left - b.left) + Math.abs(a.top - b.top) + Math.abs(a.width - b.width) > 1;
  }});
  document.getElementById("found").textContent = `seen ${{images.length}} bad ${{bad.length}} apart ${{apart.length}}`;
}}</script>"""

# A player is asked for its length, and after that for a sound that lies elsewhere, which the page must refuse.
PLAYERS = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" width="1000" height="4000" style="border:0" srcdoc="{page}"></iframe>
<p id="found"></p><script>
onload = async () => {{
  const page = document.getElementById("page").contentDocument, players = [...page.querySelectorAll("audio")];
  const refused = [];
  page.addEventListener("securitypolicyviolation", e => refused.push(e.effectiveDirective));
  const known = e => e.readyState || e.error ? 0 : new Promise(done => e.onloadedmetadata = e.onerror = done);
  await Promise.all(players.map(known));
  const right = players.filter(e => e.controls && Math.abs(e.duration - {seconds}) < 0.05);
  const inside = refused.length, outside = page.body.appendChild(page.createElement("audio"));
  await new Promise(done => {{ outside.onerror = done; outside.src = "http://127.0.0.1:9/sound.wav"; }});
  await new Promise(done => setTimeout(done, 50));
  const told = `players ${{players.length}} right ${{right.length}} refused ${{inside}} then [${{refused}}]`;
  document.getElementById("found").textContent = told;
}}</script>"""


def browse(tmp_path: Path, *arguments: str) -> str:
    """Run Chromium once, in a fresh profile, and give what it prints."""
    profile = tmp_path / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}"]
    assert CHROMIUM is not None
    done = subprocess.run([CHROMIUM, *flags, *arguments], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


@pytest.mark.parametrize(("kind", "width"), [("classes", 1100), ("labels", PHONE), ("numbers", 1100)])
def test_it_draws(tmp_path: Path, kind: str, width: int) -> None:
    page = write_report(write_run(tmp_path / "run", kind))
    picture = tmp_path / "page.png"
    browse(tmp_path, f"--window-size={width},2400", f"--screenshot={picture}", page.as_uri())
    pixels = imread(picture)[..., :3]
    assert pixels.shape[0] == 2400
    assert pixels.reshape(-1, 3).std(axis=0).max() > 0.05
    assert len({tuple(pixel) for pixel in (pixels[::7, ::7].reshape(-1, 3) * 16).astype(int)}) > 12


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_on_a_phone_nothing_sticks_out(tmp_path: Path, kind: str) -> None:
    labels = (
        ["a label that is much longer than any phone is wide, and then some" * 2, "x" * 80]
        if kind == "classes"
        else None
    )
    run = write_run(tmp_path / ("run-" + "n" * 60), kind, labels=labels, texts=["y" * 500, "short"])
    assert widths(tmp_path, write_report(run)) == (PHONE, "")


@pytest.mark.parametrize("kind", ["classes", "numbers", "boxes", "masks"])
def test_on_a_phone_no_picture_sticks_out(tmp_path: Path, kind: str) -> None:
    labels = [f"{place} 一个很长的标签 " + "x" * 70 for place in range(1 if kind == "numbers" else 3)]
    run = write_image_run(tmp_path / "run", kind, labels=labels, name="p" * 120 + " {}.png")
    assert widths(tmp_path, write_report(run)) == (PHONE, "")


@pytest.mark.parametrize("kind", ["classes", "boxes", "masks"])
def test_pictures_are_decoded_and_boxes_lie_on_them(tmp_path: Path, kind: str) -> None:
    page = write_report(write_image_run(tmp_path / "run", kind)).read_text(encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(PICTURES.format(page=html.escape(page, quote=True)), encoding="utf-8")
    found = re.search(r'id="found">seen (\d+) bad (\d+) apart (\d+)<', browse(tmp_path, "--dump-dom", outer.as_uri()))
    assert found is not None
    assert int(found[1]) >= 14
    assert found.groups()[1:] == ("0", "0")


@pytest.mark.parametrize("kind", ["transcripts", "sounds", "speech"])
def test_sounds_can_be_played_and_none_come_from_elsewhere(tmp_path: Path, kind: str) -> None:
    page = write_report(write_text_run(tmp_path / "run", kind, seconds=0.4)).read_text(encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(PLAYERS.format(page=html.escape(page, quote=True), seconds=0.4), encoding="utf-8")
    dom = browse(tmp_path, "--virtual-time-budget=20000", "--dump-dom", outer.as_uri())
    found = re.search(r'id="found">players (\d+) right (\d+) refused 0 then \[media-src\]<', dom)
    assert found is not None
    assert int(found[1]) >= 12
    assert found[1] == found[2]


@pytest.mark.parametrize("kind", ["translations", "conversations", "transcripts", "sounds", "speech"])
def test_on_a_phone_no_text_or_player_sticks_out(tmp_path: Path, kind: str) -> None:
    true, told = ["w" * 300, "一" * 300, "many words " * 40], ["v" * 300, "二" * 300, "other words " * 40]
    run = write_text_run(tmp_path / "run", kind, true=true, told=told)
    assert widths(tmp_path, write_report(run)) == (PHONE, "")


def widths(tmp_path: Path, path: Path) -> tuple[int, str]:
    """How wide a page is on a phone, and what of it reaches beyond."""
    page = path.read_text(encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(FRAME.format(width=PHONE, page=html.escape(page, quote=True)), encoding="utf-8")
    found = re.search(
        r'id="found">width (\d+) sections (\d+) wide \[(.*?)\]', browse(tmp_path, "--dump-dom", outer.as_uri())
    )
    assert found is not None
    assert int(found[2]) >= 6
    return int(found[1]), found[3]
