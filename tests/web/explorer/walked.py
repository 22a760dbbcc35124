"""How the tests of the explorer's page open it, and walk over it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import expect


@contextmanager
def opened(profile: Any, address: str, *, clean: bool = True, name: str = "tiny") -> Generator[Any]:
    """A page that asks no other address and, when clean, says nothing in the console."""
    own = address.partition("?")[0]
    told: list[str] = []
    asked: list[str] = []
    page = profile.new_page()
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(own)
    expect(page.locator("main h2")).to_have_text(name)
    try:
        yield page
    finally:
        page.close()
    elsewhere = [url for url in asked if not url.startswith((own, f"blob:{own}"))]
    assert elsewhere == [], elsewhere
    if clean:
        assert told == [], told


def go(page: Any, place: str) -> None:
    page.evaluate("(place) => { location.hash = place; }", place)


def click_cell(page: Any, *, layer: str, channel: int, y: int, x: int, size: int) -> None:
    """Click into the middle of one cell of the sheet; `size` is the maps' side."""
    page.locator(f'.sheet[data-layer="{layer}"]').wait_for()
    page.wait_for_function("() => document.querySelector('.sheet img').clientWidth > 0", polling=50)
    box = page.locator(".sheet").bounding_box()
    image = page.locator(".sheet img")
    columns = image.evaluate("(image) => image.naturalWidth") // size
    scale = box["width"] / (columns * size)
    place = {"x": (channel % columns * size + x + 0.5) * scale, "y": (channel // columns * size + y + 0.5) * scale}
    page.locator(".sheet").click(position=place)


def wait_for_unit(page: Any, said: str) -> None:
    page.locator(f'[data-drawn="{said}"]').wait_for()
