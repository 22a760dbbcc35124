"""The film on the dashboard's page, in a real Chromium: the slider, what it moves, and the play button."""

import re
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

from tests.web.browsed import choose, pixels, wait_until  # noqa: E402 - it needs playwright


def test_slider_changes_filters(page: Any) -> None:
    choose(page, "filmed")
    filters = page.locator(".filters img")
    expect(filters).to_have_attribute("alt", re.compile("step 100"))
    last = pixels(page, ".filters img")
    page.locator("#step").focus()
    page.keyboard.press("Home")
    expect(filters).to_have_attribute("alt", re.compile("step 0"))
    first = pixels(page, ".filters img")
    assert first != last
    page.keyboard.press("ArrowRight")
    expect(filters).to_have_attribute("alt", re.compile("step 1 "))
    assert pixels(page, ".filters img") not in (first, last)
    assert page.locator("#step").get_attribute("aria-valuetext") == "step 1 · epoch 0"
    shape = "document.getElementById('plot-loss').layout.shapes[0]"
    wait_until(page, f"{shape}.x0 === 1 && {shape}.visible")
    expect(page.locator(".says")).to_contain_text("It says b (88 %): it is a.")
    expect(page.locator(".layers tbody tr")).to_have_text(["relu25 %1 of 4"])
    expect(page.locator("#film-cost")).to_have_text("Film: 2.0 % of the training time.")


def test_film_plays_to_its_end(page: Any) -> None:
    choose(page, "filmed")
    page.select_option("#speed", "20")
    expect(page.locator("#step")).to_have_attribute("max", "3")
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    assert page.locator("#step").input_value() == "3"
    assert not page.locator("#live").is_checked()


def test_confusion_is_that_of_the_step(page: Any) -> None:
    choose(page, "filmed")
    says = page.locator(".confusion .note")
    expect(says).to_have_text("100 of 200 test images right; most often a is taken for b (100)")
    page.locator("#step").focus()
    page.keyboard.press("Home")  # before the first evaluation
    expect(page.locator(".confusion")).to_be_hidden()
