"""The explorer's page in other hands: names that are scripts, a thousand classes, keys, drops, the clipboard."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

expect = pytest.importorskip("playwright.sync_api").expect

import torch  # noqa: E402
from torch import nn  # noqa: E402

from tests.web.browsed import CLOSE_AND_PRESS, wait_until  # noqa: E402 - it needs playwright
from tests.web.explorer.walked import go, opened  # noqa: E402
from tests.web.strangers import INJECTIONS  # noqa: E402
from tests.web.tiny_explorer import serving_explorer, tiny_explorer, tiny_network  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

NAMES = (
    *INJECTIONS,
    *(f"a class with a name as long as that, number {number}" for number in range(len(INJECTIONS), 1000)),
)
NAME = '<img src=x onerror="ran(0)">'
SPY = "window.hits = 0; window.ran = () => { window.hits += 1; };"


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An explorer of a network with a thousand classes, and of a folder of images; a hundred of each are scripts."""
    images = tmp_path_factory.mktemp("images")
    for number, name in enumerate(INJECTIONS):
        with suppress(OSError):  # a name that this system does not have
            file = images / f"{number:03}{name.replace('/', '_').replace(chr(0), '')[:100]}.png"
            Image.new("RGB", (8, 8), (number, 255 - number, 9)).save(file)
    network = tiny_network()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(*list(network.model)[:-1], nn.Linear(4, len(NAMES))).eval()
    network = replace(network, model=model, class_names=NAMES, name=NAME)
    store = tmp_path_factory.mktemp("explored")
    explorer = tiny_explorer(store, network=network, dataset=None, images=images, arguments=[NAME])
    with serving_explorer(explorer) as address:
        yield address


@pytest.fixture(scope="module")
def profile(profile: Any) -> Any:
    """The same, in which whatever runs is counted."""
    profile.add_init_script(SPY)
    return profile


@pytest.fixture
def page(profile: Any, address: str) -> Iterator[Any]:
    """A page that must stay clean, and in which no name may run."""
    with opened(profile, address, name=NAME) as page:
        yield page
        assert page.evaluate("window.hits") == 0


def test_no_class_name_runs_or_breaks_the_page(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for number in range(1, len(INJECTIONS), 3):  # each shows those beside it as well
        go(page, f"#/class/{number}")
        wait_until(page, f"document.querySelector('.class h2 b')?.textContent === {_quoted(NAMES[number])}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), NAMES[number]
    assert page.locator("main :is(script, style, svg:not(.histogram), iframe, [onload], [onerror])").count() == 0


def test_no_file_name_runs_or_breaks_the_page(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    total = page.evaluate("fetch('/api/images').then((answer) => answer.json())")["total"]
    assert total > 0.9 * len(INJECTIONS)
    for number in range(0, total, 8):
        go(page, f"#/image/folder-{number}")
        expect(page.locator(".image h2")).to_contain_text(".png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("main :is(script, style, iframe, [onload], [onerror])").count() == 0


def test_one_of_a_thousand_classes_is_found_by_a_part_of_its_name(page: Any) -> None:
    page.locator(".chip", has_text="all 1,000").click()
    finder = page.get_by_label("Another class")
    finder.fill("number 777")
    finder.press("Enter")
    wait_until(page, "location.hash === '#/class/777'")
    expect(page.locator("main h2 b")).to_have_text(NAMES[777])
    finder.fill(NAMES[500])  # as from the list
    wait_until(page, "location.hash === '#/class/500'")
    go(page, "#/layer/6")
    page.get_by_label("Find").fill("990-")
    expect(page.locator(".grid .tile")).to_have_count(0)
    page.get_by_label("Find").fill("990-999")
    expect(page.locator(".grid .tile")).to_have_count(10)


def test_keys_go_on_where_one_was(page: Any) -> None:
    go(page, "#/layer/1")
    tiles = page.locator(".grid.channels .tile")
    expect(tiles).to_have_count(6)
    expect(tiles.nth(0)).to_have_attribute("title", re.compile("highest"))  # measured: the tiles stay what they are
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("main h2")).to_have_text("1 · channel 2")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Escape")
    expect(tiles.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main h2")).to_have_text("1 · channel 2")
    page.keyboard.press("]")
    expect(page.locator("main h2")).to_have_text("1 · channel 3")
    page.go_back()
    page.go_back()
    expect(tiles.nth(2)).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.locator("#help").evaluate(CLOSE_AND_PRESS, "ArrowRight")
    expect(tiles.first).to_be_focused()
    page.keyboard.press("?")
    page.locator("#help").evaluate(CLOSE_AND_PRESS, "i")
    wait_until(page, "location.hash === '#/images'")


def test_command_is_copied_or_shown_to_be_copied(page: Any, profile: Any, address: str) -> None:
    go(page, "#/layer/1/channel/2")
    copy = page.locator(".channel-top").get_by_role("button", name="copy command")
    expect(copy).to_be_visible()
    wanted = page.evaluate("fetch('/api/layers/1/channels/2').then((answer) => answer.json())")["commands"]["pattern"]
    page.evaluate(
        """() => {
            const clipboard = { writeText: async (text) => { window.copied = text; } };
            Object.defineProperty(navigator, "clipboard", { value: clipboard });
        }"""
    )
    copy.click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    assert page.evaluate("window.copied") == wanted
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden')); }")
    copy.click()
    shown = page.locator(".channel-top input.command")
    expect(shown).to_have_value(wanted)
    assert page.evaluate("(input => input.selectionEnd - input.selectionStart)(document.activeElement)") == len(
        wanted
    )


def test_image_is_dropped_on_any_view(page: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)).save(file, "PNG")
    page.evaluate(
        """(encoded) => {
            const raw = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([raw], "<img src=x onerror=ran(1)>.png", { type: "image/png" }));
            const told = { dataTransfer: data, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("dragover", told));
            window.wasDropping = document.body.classList.contains("dropping");
            document.body.dispatchEvent(new DragEvent("drop", told));
        }""",
        base64.b64encode(file.getvalue()).decode(),
    )
    assert page.evaluate("window.wasDropping")
    wait_until(page, "location.hash.startsWith('#/image/upload-')")
    expect(page.locator("main h2")).to_have_text("Uploaded image")


def test_film_is_played_and_gone_through_by_hand(page: Any) -> None:
    strip = io.BytesIO()
    Image.new("RGB", (24, 8), (9, 99, 199)).save(strip, "PNG")
    film = {
        "steps": [0, 10, 200],
        "epochs": [0, 0.5, 10],
        "phases": ["adam", "adam", "sgd"],
        "waiting": False,
        "command": "convscope film",
    }

    def tell(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        route.fulfill(response=answer, json={**told, "commands": {**told["commands"], "film": "convscope film"}})

    page.route("**/api/layers/1/channels/2", tell)
    page.route("**/channels/2/film", lambda route: route.fulfill(json=film))
    page.route("**/channels/2/film.png", lambda route: route.fulfill(body=strip.getvalue(), content_type="image/png"))
    go(page, "#/layer/1/channel/2")
    part = page.locator("section", has=page.get_by_role("heading", name="How it formed"))
    part.scroll_into_view_if_needed()
    expect(part.get_by_role("status")).to_have_text("step 200, epoch 10, sgd")  # nothing moves by itself
    part.get_by_label("Step of the training").fill("1")
    expect(part.get_by_role("status")).to_have_text("step 10, epoch 0.5, adam")
    part.get_by_role("button", name="play").click()
    expect(part.get_by_role("status")).to_have_text("step 200, epoch 10, sgd")
    part.get_by_role("button", name="pause").click()
    expect(part.get_by_role("button", name="play")).to_be_visible()
    assert part.get_by_role("link", name="download").get_attribute("href").endswith("/film.webp?download=1")


def test_two_tabs_look_at_two_things(profile: Any, address: str) -> None:
    with opened(profile, address, name=NAME) as one, opened(profile, address, name=NAME) as other:
        go(one, "#/layer/1/channel/1")
        go(other, "#/image/folder-3/layer/1?unit=2,3,3&rule=gradient")
        other.locator('[data-drawn="1 2,3,3 gradient"]').wait_for()
        expect(one.locator("main h2")).to_have_text("1 · channel 1")
        other.reload()
        other.locator('[data-drawn="1 2,3,3 gradient"]').wait_for()


def _quoted(text: str) -> str:
    """The text as JavaScript, in any alphabet."""
    return '"' + "".join(f"\\u{unit:04x}" for unit in memoryview(text.encode("utf-16-le")).cast("H")) + '"'
