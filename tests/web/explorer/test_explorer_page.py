"""The explorer's page in a real Chromium: the walk from the network to a unit, and what a person sees on the way."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

expect = pytest.importorskip("playwright.sync_api").expect

from tests.web.browsed import pixels, wait_until  # noqa: E402 - it needs playwright
from tests.web.explorer.walked import click_cell, go, opened, wait_for_unit  # noqa: E402
from tests.web.tiny_explorer import (  # noqa: E402
    CLASSES,
    serving_explorer,
    tiny_dataset,
    tiny_explorer,
    tiny_network,
)

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SCRIPT, ATTRIBUTE = CLASSES[1], CLASSES[2]


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    explorer = tiny_explorer(tmp_path_factory.mktemp("explored"))
    with serving_explorer(explorer) as address:
        yield address


def test_walk_from_the_network_to_a_unit_and_back(page: Any) -> None:
    page.locator(".door", has_text="2").filter(has_text="stride 2").click()
    expect(page.locator(".grid.channels .tile")).to_have_count(4)
    page.locator(".tile").nth(3).click()
    expect(page.locator("main h2")).to_have_text("2 · channel 3")
    expect(page.locator("section", has_text="Top images").locator("a.tile").first).to_be_visible()
    page.locator("section", has_text="Top images").locator("a.tile").first.click()
    wait_until(page, "location.hash.includes('/layer/2?unit=3,')")
    expect(page.locator(".unit-words")).to_contain_text("2, channel 3")
    go(page, "#/image/test-4/layer/1")
    click_cell(page, layer="1", channel=5, y=6, x=2, size=8)
    wait_for_unit(page, "1 5,6,2 deconvnet")
    page.locator(".choice").get_by_text("gradient", exact=True).click()
    wait_for_unit(page, "1 5,6,2 gradient")
    page.locator(".seen .bars a").first.click()
    expect(page.locator("main h2")).to_contain_text("Class")
    expect(page.locator("section", has_text="Most typical")).to_be_visible()
    page.go_back()
    wait_for_unit(page, "1 5,6,2 gradient")
    for _ in range(2):
        page.go_back()
    expect(page.locator("main h2")).to_have_text("2 · channel 3")
    page.go_forward()
    wait_until(page, "location.hash.includes('/layer/2?unit=3,')")


def test_a_network_of_other_rectifiers_is_walked_without_a_refusal(browser: Any, tmp_path: Path) -> None:
    network = tiny_network()
    network.model[1] = nn.Hardswish()  # pyright: ignore[reportIndexIssue]
    with serving_explorer(tiny_explorer(tmp_path, network=network)) as address, browser.new_context() as profile:
        profile.new_page().goto(address)
        with opened(profile, address) as page:
            go(page, "#/layer/2/channel/3")
            top = page.locator("section", has_text="Top images")
            expect(top.locator(".choice")).to_be_hidden()  # there is nothing to choose
            expect(top.locator(".tops img").first).to_be_visible()
            go(page, "#/image/test-4/layer/2?unit=3,1,1")
            wait_for_unit(page, "2 3,1,1 gradient")


def test_click_asks_for_the_cell_that_was_clicked(page: Any) -> None:
    go(page, "#/image/test-4/layer/2")  # 4 maps of 4×4
    for channel, y, x in ((0, 0, 0), (3, 3, 1), (1, 2, 3)):
        click_cell(page, layer="2", channel=channel, y=y, x=x, size=4)
        wait_for_unit(page, f"2 {channel},{y},{x} deconvnet")
        expect(page.locator(".unit-words")).to_contain_text(f"2, channel {channel}, y {y}, x {x}, value")
        whole = page.evaluate("fetch('/api/images/test-4/maps/2').then((answer) => answer.json())")
        assert (whole["channels"], whole["height"], whole["width"]) == (4, 4, 4)


def test_picture_of_a_unit_is_the_one_that_the_server_draws(page: Any) -> None:
    go(page, "#/image/test-4/layer/3?unit=2,1,2&rule=guided")
    wait_for_unit(page, "3 2,1,2 guided")
    shown = pixels(page, ".pair section:nth-child(2) img")
    other = "document.querySelector('.pair section:nth-child(2) img')"
    page.locator(".choice").get_by_text("deconvnet", exact=True).click()
    wait_for_unit(page, "3 2,1,2 deconvnet")
    assert pixels(page, ".pair section:nth-child(2) img") != shown
    assert page.evaluate(f"() => getComputedStyle({other}).imageRendering") == "pixelated"
    page.locator(".choice").get_by_text("guided", exact=True).click()
    wait_for_unit(page, "3 2,1,2 guided")
    assert pixels(page, ".pair section:nth-child(2) img") == shown


def test_arrows_move_the_cell_and_enter_opens_its_channel(page: Any) -> None:
    go(page, "#/image/test-0/layer/1")
    click_cell(page, layer="1", channel=0, y=7, x=7, size=8)
    wait_for_unit(page, "1 0,7,7 deconvnet")
    page.keyboard.press("ArrowUp")
    wait_for_unit(page, "1 0,6,7 deconvnet")
    page.keyboard.press("ArrowRight")  # into the map beside
    wait_for_unit(page, "1 1,6,0 deconvnet")
    page.keyboard.press("Enter")
    expect(page.locator("main h2")).to_have_text("1 · channel 1")
    page.keyboard.press("Escape")
    expect(page.locator("main h2")).to_have_text("1")
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("main h2")).to_have_text("1 · channel 1")


def test_channels_are_sorted_filtered_and_found(page: Any) -> None:
    go(page, "#/layer/1")
    expect(page.locator(".tools select").first).to_be_enabled()
    rows = page.evaluate("fetch('/api/layers/1').then((answer) => answer.json())")["rows"]
    numbers = page.locator(".grid .tile b")
    assert numbers.all_inner_texts() == ["0", "1", "2", "3", "4", "5"]
    page.get_by_label("Sort by").select_option("maximum")
    wanted = [str(row["channel"]) for row in sorted(rows, key=lambda row: -row["maximum"])]
    expect(numbers).to_have_text(wanted)
    page.get_by_label("Show").select_option("dead")
    dead = [row["channel"] for row in rows if row["dead"]]
    expect(page.locator(".grid .tile")).to_have_count(len(dead))
    page.get_by_label("Show").select_option("all")
    page.get_by_label("Find").fill("1, 4-5")
    expect(page.locator(".grid .tile")).to_have_count(3)
    assert set(numbers.all_inner_texts()) == {"1", "4", "5"}
    page.reload()
    expect(numbers).to_have_text([number for number in wanted if number in "145"])
    page.get_by_label("Find").fill("script")
    favoured = [row for row in rows if row["favourite"] == 1 and not row["dead"]]
    expect(page.locator(".grid .tile")).to_have_count(len(favoured))


def test_images_are_browsed_by_class_and_mistake(page: Any) -> None:
    go(page, "#/images")
    tiles = page.locator(".grid.images .tile")
    expect(tiles).to_have_count(len(tiny_dataset().test.labels))
    expect(page.locator(".under", has_text="cat").first).to_be_visible()  # predicted by now
    page.get_by_label("Class").select_option(label=SCRIPT)
    expect(tiles).to_have_count(int((tiny_dataset().test.labels == 1).sum()))
    page.get_by_label("Class").select_option("")
    page.get_by_label("mistakes only").check()
    wait_until(page, "document.querySelectorAll('.grid.images .tile:not(.wrong)').length === 0")
    expect(tiles.first).to_contain_text("→")


def test_image_is_uploaded(page: Any) -> None:
    go(page, "#/images")
    file = io.BytesIO()
    random = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(random).save(file, "PNG")
    given = {"name": "<b>mine</b>.png", "mimeType": "image/png", "buffer": file.getvalue()}
    page.locator("#upload").set_input_files(given)
    wait_until(page, "location.hash.startsWith('#/image/upload-')")
    expect(page.locator("main h2")).to_have_text("Uploaded image")
    click_cell(page, layer="1", channel=1, y=0, x=0, size=8)
    wait_for_unit(page, "1 1,0,0 deconvnet")


def test_file_that_is_no_image_is_refused_in_one_line(profile: Any, address: str) -> None:
    with opened(profile, address, clean=False) as page:
        go(page, "#/images")
        given = {"name": "<img src=x onerror=alert(1)>.png", "mimeType": "image/png", "buffer": b"no image"}
        page.locator("#upload").set_input_files(given)
        expect(page.locator(".drop")).to_contain_text("<img src=x onerror=alert(1)>.png:")


def test_attribution_covers_the_image(page: Any) -> None:
    go(page, "#/image/test-1")
    page.locator(".attribution select").first.select_option("input-x-gradient")
    page.locator('.overlay[data-method="input-x-gradient"] img').wait_for()
    page.get_by_label("Opacity of the attribution").fill("30")
    assert page.locator(".overlay").evaluate("(node) => node.style.opacity") == "0.3"
    expect(page.locator("section", has_text="What changes the answer").locator(".bars li").first).to_be_visible()


@pytest.mark.parametrize(
    "place", ["#/", "#/layer/1", "#/layer/0/channel/2", "#/images", "#/image/test-1", "#/class/1"]
)
def test_every_view_fits_a_phone_and_says_names_as_text(page: Any, place: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    go(page, place)
    seen = "document.body.scrollHeight"  # what lies further down is asked for when it is seen
    wait_until(page, f"(scrollTo(0, {seen}), !document.querySelector('main .waiting'))")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("main script, main [onload], main [onerror], main .trouble:not([hidden])").count() == 0
    if place == "#/class/1":
        expect(page.locator("main h2")).to_have_text(f"Class {SCRIPT}")
        expect(page.locator(".chip", has_text=ATTRIBUTE)).to_be_visible()
    assert re.search("convscope$", page.title())


def test_what_is_not_there_is_said(profile: Any, address: str) -> None:
    with opened(profile, address, clean=False) as page:
        for place in (
            "#/layer/%3Cb%3E",
            "#/layer/1/channel/99",
            "#/image/test-999",
            "#/class/99",
            "#/layer/%E0%A4%A",
        ):
            go(page, place)
            expect(page.locator("main .trouble").first).to_be_visible()
            expect(page.locator("main .waiting")).to_have_count(0)
        go(page, "#/nothing/of/this")
        expect(page.locator("main h2")).to_have_text("tiny")


def test_stylesheets_hold_no_address_elsewhere() -> None:
    import convscope.web as web

    folder = Path(web.__file__).parent
    found = [
        *folder.glob("assets/explorer/*"),
        *folder.glob("assets/shared/*"),
        folder / "templates/explorer.html.j2",
    ]
    assert len(found) > 20
    outside = re.compile(r"https?://(?!www\.w3\.org/)|innerHTML|insertAdjacentHTML|document\.write|\beval\(")
    assert [path.name for path in found if outside.search(path.read_text(encoding="utf-8"))] == []
