"""The report as a browser shows and prints it, opened from the file system with the network off."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convscope.report.report import LARGEST_PAGE, write_report
from tests.planted import small
from tests.report.test_charts import run_events

A4_WIDTH, A4_HEIGHT = 673, 986  # pixels of 1/96 inch within the margins of 16 and 18 mm

COURSE_REPORTS = {  # each figure of the two course reports, and the words above or below it here
    "the structure of the network, printed": ("The network, layer by layer", "All parameters"),
    "train accuracy and loss with Adam, and with SGD": (
        "The training phase by phase",
        "Phase 1, Adam",
        "Phase 2, SGD",
    ),
    "train loss, train accuracy, test accuracy, against steps": ("Loss and accuracy while training",),
    "the filters of conv1": ("The filters of the first layer",),
    "an image and its maps in the first and the last layer": (
        "Feature maps",
        "Feature maps of 0, 8 channels of 10×10, image 1, which is shown with it",
        "Feature maps of 4, 6 channels of 8×8, image 2, which is shown with it",
    ),
    "patterns by gradient ascent": ("What excites channels of 0 most", "What excites channels of 4 most"),
    "a deconvolution network for every layer": ("From all channels of 0, 4 back to 4 images",),
    "reconstructions channel by channel": (
        "Deconvnet reconstructions from 0, 8 channels of 10×10, image 1",
        "Deconvnet reconstructions from 4, 6 channels of 8×8, image 2",
    ),
    "weights saved, loaded and named": ("SHA-256 c0ffee",),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network, dataset = small()
    dataset = replace(dataset, name="folder:/home/me/birds")
    return write_report(
        tmp_path_factory.mktemp("run"), network=network, dataset=dataset, events=run_events(), config={"seed": 3}
    )


@pytest.fixture(scope="module")
def opened(written: Path) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page, what it asked for beside itself, and what the console said."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = shutil.which("chromium") or driver.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        sandbox = ["--no-sandbox"] if os.name != "nt" and os.getuid() == 0 else []
        browser = driver.chromium.launch(executable_path=found, args=["--disable-gpu", *sandbox])
        page = browser.new_context(offline=True, viewport={"width": A4_WIDTH, "height": A4_HEIGHT}).new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(written.as_uri())
        page.wait_for_load_state("networkidle")
        yield page, asked, said
        browser.close()


def test_it_asks_for_nothing_says_nothing_and_shows_every_picture(opened, written):
    page, asked, said = opened
    assert [url for url in asked if not url.startswith("data:")] == [written.as_uri()]
    assert said == []
    assert (
        page.evaluate("[...document.images].filter(image => image.checkVisibility() && !image.naturalWidth).length")
        == 0
    )
    assert written.stat().st_size < LARGEST_PAGE


@pytest.mark.parametrize("figure", COURSE_REPORTS)
def test_it_has_every_figure_of_the_course_reports(opened, figure):
    page, _, _ = opened
    text = re.sub(r"\s+", " ", page.inner_text("body"))
    for words in COURSE_REPORTS[figure]:
        assert words in text


def test_a_folder_is_called_by_its_own_name(opened):
    page, _, _ = opened
    assert page.inner_text("h1").endswith("learned from birds")
    captions = " ".join(page.locator("figcaption").all_inner_texts())
    assert "images of birds" in captions
    assert "/home/me" not in captions


def test_each_method_s_section_says_how_to_read_it(opened):
    page, _, _ = opened
    for heading in page.query_selector_all("#learned h3"):
        readings = heading.evaluate(
            """heading => {
                const found = [];
                let next = heading.nextElementSibling;
                for (; next && next.tagName !== "H3"; next = next.nextElementSibling)
                    found.push(...next.querySelectorAll("figure + p"));
                return found.map(each => each.innerText.length);
            }"""
        )
        assert max(readings) > 80, heading.inner_text()


def test_on_paper_nothing_is_wider_or_higher_than_a_page(opened):
    page, _, _ = opened
    page.emulate_media(media="print", color_scheme="light")
    boxes = page.eval_on_selector_all(
        "figure, .shown",
        "all => all.map(each => each.getBoundingClientRect()).map(box => [box.right, box.height])",
    )
    assert len(boxes) > 30
    assert max(right for right, _ in boxes) <= A4_WIDTH + 1
    assert max(height for _, height in boxes) < A4_HEIGHT
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
