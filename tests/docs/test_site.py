"""The site builds without a warning; in a browser no link is broken, nothing is said, nothing foreign asked for."""

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("sphinx")
sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = "/usr/bin/chromium"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # the browser went on before it had all


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Of the built site, served as `python -m http.server` does."""
    work = tmp_path_factory.mktemp("docs")
    built = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs", work], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    handler = functools.partial(Handler, directory=str(work / "site"))
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *QUIET])


def test_every_link_leads_to_its_place_in_silence(address, browser):
    page = browser.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(f"{page.url} says {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"{page.url} fails: {error}"))
    page.on("request", lambda request: foreign(request.url))
    page.on("response", lambda answer: faults.append(f"{page.url}: {answer.url}") if answer.status >= 400 else None)

    def foreign(url: str) -> None:
        if not url.startswith((address, "data:")):
            faults.append(f"{page.url} asks for {url}")

    linked: set[tuple[str, str]] = set()  # page, anchor
    anchors: dict[str, set[str]] = {}
    waiting = [f"{address}index.html"]
    while waiting:
        here = waiting.pop()
        if here in anchors:
            continue
        page.goto(here)
        anchors[here] = set(page.eval_on_selector_all("[id]", "all => all.map(each => each.id)"))
        for link in page.eval_on_selector_all("a[href]", "all => all.map(each => each.href)"):
            place, _, anchor = link.partition("#")
            if place.startswith(address):
                waiting.append(place)
                linked.add((place, anchor))
    broken = [f"{place}#{anchor}" for place, anchor in linked if anchor and anchor not in anchors[place]]
    assert (faults, broken) == ([], [])
    assert len(anchors) > 30, "the walk ended early"
    page.close()


def test_the_search_finds_a_page(address, browser):
    page = browser.new_page()
    page.goto(f"{address}search.html?q=deconvnet")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "all => all.map(each => each.href)")
    assert any("methods/reconstruct" in each for each in found)
    page.close()


@pytest.mark.parametrize(
    "path", ["index.html", "methods/attribute.html", "reference/commands.html", "extending.html"]
)
def test_no_page_is_wider_than_a_telephone(address, browser, path):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(address + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
