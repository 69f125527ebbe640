"""The report in headless Chromium: nothing on the console, everything visible and inside its card, light and dark."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from report.pages import epochs, full, images, labels, numbers, texts

from dlcore.report import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium; CI installs it")

# what a page says about itself: boxes of its drawings, texts that leave their card, overlapping ticks, width beyond the window
PROBE = """<script>
const out = {boxes: [], outside: [], overlapping: [], wide: document.documentElement.scrollWidth - innerWidth};
for (const e of document.querySelectorAll('svg,img,table,.tile')) {
  const r = e.getBoundingClientRect(); out.boxes.push([e.tagName, r.width, r.height]); }
for (const card of document.querySelectorAll('.card')) {
  const c = card.getBoundingClientRect();
  for (const svg of card.querySelectorAll('svg')) {
    const rects = [];
    for (const t of svg.querySelectorAll('text')) {
      const r = t.getBoundingClientRect();
      if (r.left < c.left - 1 || r.right > c.right + 1 || r.top < c.top - 1 || r.bottom > c.bottom + 1)
        out.outside.push(t.textContent);
      for (const [q, words] of rects)
        if (r.left < q.right - 2 && q.left < r.right - 2 && r.top < q.bottom - 3 && q.top < r.bottom - 3)
          out.overlapping.push([words, t.textContent]);
      rects.push([r, t.textContent]); } } }
const pre = document.createElement('pre'); pre.id = 'probe'; pre.textContent = JSON.stringify(out);
document.body.appendChild(pre);
</script>"""


def chromium(folder, page, *flags, dark=False):
    """Runs Chromium on a page; (stdout, lines of the page's console)."""
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            *scheme,
            *flags,
            page.as_uri(),
        ],
        capture_output=True,
        timeout=180,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), [line for line in done.stderr.decode().splitlines() if ":CONSOLE" in line]


def probed(folder, text, name, width):
    """What the page says about itself at a window's width."""
    page = folder / f"{name}.html"
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    dom, console = chromium(folder, page, f"--window-size={width},900", "--dump-dom")
    return json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S).group(1))), console, dom


def all_kinds():
    """One page with the parts of every kind of run, so that one visit sees them all."""
    pages = [
        full(labels(10), images()).html(),
        full(labels(2, names=["<=50K", ">50K"]), texts()).html(),
        full(labels(31, names=[f"a long name of a label {i}" for i in range(31)]), ()).html(),
        full(numbers(), texts()).html(),
        Report(name="one epoch", task="tabular", rows=epochs(1), best_epoch=1).html(),
    ]
    bodies = [re.search(r"<main>(.*)</main>", page, re.S).group(1) for page in pages]
    return re.sub(r"<main>.*</main>", lambda _: "<main>" + "".join(bodies) + "</main>", pages[0], flags=re.S)


@pytest.mark.parametrize("width", [1280, 500])
def test_everything_is_visible_and_in_its_place(tmp_path, width):
    found, console, dom = probed(tmp_path, all_kinds(), "all", width)
    assert console == []
    assert found["wide"] <= 0 and found["outside"] == [] and found["overlapping"] == []
    assert all(w > 30 and h > 20 for _, w, h in found["boxes"])
    assert (
        sum(kind == "svg" for kind, _, _ in found["boxes"]) > 25
        and sum(kind == "IMG" for kind, _, _ in found["boxes"]) == 6
    )
    for heading in ("Training", "Confusion matrix", "ROC curve", "Calibration", "Worst examples", "Cost and machine"):
        assert heading in dom


def test_a_fault_of_a_page_would_be_seen(tmp_path):
    faults = """<script>missing()</script><div style="width:9999px">.</div><div class="card"><svg viewBox="0 0 100 20">
        <text x="5" y="10">one</text><text x="8" y="10">two</text><text x="9000" y="10">three</text></svg></div></body>"""
    text = full(labels(3), ()).html().replace("</body>", faults)
    found, console, _ = probed(tmp_path, text, "faulty", 1280)
    assert console and found["wide"] > 0
    assert found["outside"] == ["three"] and found["overlapping"] == [["one", "two"]]


def test_light_and_dark(tmp_path):
    page = tmp_path / "report.html"
    page.write_text(full(labels(10), images()).html())
    pixels = {}
    for name in ("light", "dark"):
        shot = tmp_path / f"{name}.png"
        flags = ("--window-size=1280,1400", f"--screenshot={shot}")
        assert chromium(tmp_path, page, *flags, dark=name == "dark")[1] == []
        pixels[name] = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    light, dark = pixels["light"], pixels["dark"]
    assert light.shape == dark.shape == (1400, 1280, 3)
    assert np.median(light) > 235 and np.median(dark) < 40
    for shot in (light, dark):
        assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 200  # drawn, not blank
        coloured = shot.max(2) - shot.min(2) > 80
        assert 0.005 < coloured.mean() < 0.3
