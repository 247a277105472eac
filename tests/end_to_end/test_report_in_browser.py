"""The report opens in a real browser without a network, and its charts are drawn."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.report import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = ("shoe", "<b>bag</b>")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")


def share(value: float) -> Measure:
    return Measure(value, "share", "higher")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    data = {"name": "toys", "count": 60, "shape": [1, 8, 8], "labelled": True}
    (folder / "run.json").write_text(json.dumps({"name": "toy", "status": "finished", "seconds": 3.0, "data": data}))
    rows = [{"step": k, "loss": 1 / k, "lr": 0.1 / k, "std": 0.8} for k in range(1, 41)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = np.random.default_rng(0)
    points = tuple((float(x), float(y), NAMES[k % 2], k) for k, (x, y) in enumerate(numbers.normal(size=(60, 2))))
    columns = ("eps", "robust accuracy", "robust accuracy ±")
    units = {"robust accuracy": "share"}
    curve = Table(columns, ((0.0, 0.8, 0.02), (8 / 255, 0.1, 0.03)), x="eps", units=units)
    heads = tuple(f"column number {k}" for k in range(20))
    wide = Table(heads, (tuple(float(k) for k in range(20)),))
    for finding in (
        Finding("map", tables={"map": Table(("x", "y", "label", "index"), points)}),
        Finding("knn", {"accuracy": replace(share(0.8), control=share(0.6))}, headline="accuracy"),
        Finding(
            "audit",
            figures={"clean accuracy": share(0.8), "robust accuracy, linf 8/255": share(0.1)},
            headline="robust accuracy, linf 8/255",
            tables={"accuracy against eps": curve, "wide": wide},
            checks=(Check("gradients are there", True, "all of them"),),
            protocol={"headline": {"against": "clean accuracy", "ball": "linf 8/255"}},
            pictures={"clean": numbers.integers(0, 255, (4, 8, 8, 1)).astype(np.uint8)},
        ),
    ):
        finding.save(folder / "findings")
    return render(folder)


def browse(report, tmp_path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(CHROMIUM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=30000",
        *arguments,
        report.resolve().as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.thorough
def test_charts_are_drawn_under_the_page_s_own_policy(report, tmp_path):
    done = browse(report, tmp_path, "--dump-dom", "--window-size=500,900")
    assert 'data-charts="drawn"' in done.stdout
    figures = done.stdout.count('type="application/json"')
    assert figures == 6  # loss, learning rate, spread, map, probes, eps
    assert len(re.findall(r'<svg class="main-svg"[^>]*>(?=<defs id="defs)', done.stdout)) == figures
    assert done.stdout.count('class="trace scatter') == 8  # two classes on the map, encoder and control
    # What is too wide says so, and the keyboard reaches it; what fits is no stop on the keyboard's way.
    places = re.findall(r'<div class="scroll"[^>]*>', done.stdout)
    wide = [place for place in places if "data-more" in place]
    assert len(places) > len(wide) == 1
    assert all('tabindex="0" role="region" aria-label="Wide"' in place for place in wide)
    assert done.stdout.count('<button type="button" aria-pressed="true"') == 4  # keys of the map and of the probes
    assert "&lt;b&gt;bag&lt;/b&gt;" in done.stdout
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []  # no error, and nothing that the content security policy had to refuse


@pytest.mark.thorough
@pytest.mark.parametrize("width", [1400, 500])
def test_it_can_be_seen(report, tmp_path, width):
    picture = tmp_path / "report.png"
    browse(report, tmp_path, f"--screenshot={picture}", f"--window-size={width},2400")
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape == (2400, width, 3)
    ink = np.abs(pixels - pixels[0, 0]).sum(2) > 60
    assert 0.01 < ink.mean() < 0.5
    assert ink.any(1).mean() > 0.3  # spread over the page, not in one corner
    blue = (pixels[..., 2] - pixels[..., 0] > 100).sum()
    assert blue > 500  # lines of the charts
