"""A browser and a server for a module of tests; what they share is in browsed.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from convscope.web import guard

if TYPE_CHECKING:
    from tests.web.browsed import Watched

FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(autouse=True, scope="module")
def own_secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the secret that servers have in tests, which is not the user's."""
    folder = tmp_path_factory.mktemp("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "user_state_dir", lambda *_, **__: str(folder))
        yield folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = shutil.which("chromium") or driver.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        sandbox = ["--no-sandbox"] if os.name != "nt" and os.getuid() == 0 else []
        browser = driver.chromium.launch(executable_path=found, args=[*FLAGS, *sandbox])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def watched(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    from tests.web.browsed import Watched, write_run

    watched = Watched(tmp_path_factory.mktemp("watched"), browser)
    write_run(watched.folder / "first", range(10, 210, 10), loss=2.0)
    write_run(watched.folder / "second", range(10, 110, 10), loss=1.0)
    write_run(watched.folder / "filmed", range(10, 110, 10), frames=(0, 1, 10, 100))
    try:
        watched.start()
        yield watched
    finally:
        watched.kill()


@pytest.fixture(scope="module")
def profile(watched: Watched) -> Iterator[Any]:
    """One profile of the browser for most pages: plotly is large, and only loaded once."""
    context = watched.browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(watched: Watched, profile: Any) -> Iterator[Any]:
    """A page that must stay clean."""
    from tests.web.browsed import opened

    with opened(watched, profile) as page:
        yield page
