"""The explorer's page is there before its network is, and what goes wrong meanwhile is told."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from types import SimpleNamespace

import pytest

from convscope.errors import DataError
from convscope.web.explorer.doorway import POSTS, Doorway
from convscope.web.explorer.ending import Closed, interrupt
from convscope.web.explorer.explore import explore
from tests.patience import PATIENCE
from tests.web.served import opened, serving_app
from tests.web.tiny_explorer import tiny_explorer

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_the_page_is_there_at_once_and_the_rest_when_the_network_is_open(tmp_path: Path):
    let_in = Event()

    def open_slowly():
        assert let_in.wait(PATIENCE)
        return tiny_explorer(tmp_path)

    doorway = Doorway(open_slowly)
    with serving_app(doorway, doorway.close, posts=POSTS) as address, opened(address) as client:
        page = client.get("/")
        assert "Opening the network" in page.text
        assert client.get("/assets/explorer/main.js").status_code == 200
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(client.get, path) for path in ("/api/network", "/api/images", "/api/nothing")]
            time.sleep(0.1)
            assert not any(each.done() for each in asked)
            let_in.set()
            network, images, nothing = (each.result() for each in asked)
        assert network.json()["name"] == "tiny"
        assert images.json()["total"] == 12
        assert nothing.status_code == 404
        assert client.get("/").text == page.text
    doorway.join()


def test_a_network_that_cannot_be_opened_ends_it_with_the_reason(tmp_path: Path):
    said: list[str] = []

    def fail():
        raise DataError("the images are gone")

    with pytest.raises(DataError, match="the images are gone"):
        explore(fail, tmp_path, port=0, open_browser=False, say=said.append, warn=print)
    assert len(said) == 1


def test_a_page_that_waits_is_told_why_there_is_nothing(tmp_path: Path):
    fail = Event()

    def refuse():
        assert fail.wait(PATIENCE)
        raise DataError("the images are gone")

    doorway = Doorway(refuse)
    with serving_app(doorway, doorway.close) as address, opened(address) as client:
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(client.get, "/api/network")
            time.sleep(0.1)
            fail.set()
        assert asked.result().status_code == 503
        assert asked.result().json() == {"error": "the network could not be opened: the images are gone"}
    with pytest.raises(DataError):
        doorway.join()


def test_it_ends_while_the_network_is_being_opened():
    begun = Event()

    def open_for_ever():
        begun.set()
        while True:
            time.sleep(0.01)

    doorway = Doorway(open_for_ever)
    with serving_app(doorway, doorway.close):
        assert begun.wait(PATIENCE)
    doorway.join()
    assert not any(thread.name == "explorer opening" for thread in enumerate_threads())


def test_a_thread_that_imports_is_let_finish_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Python's import lock would stay held for ever, and the import below wait for it."""
    begun, done = Event(), list[str]()
    monkeypatch.setitem(sys.modules, "what_waits_for_it", SimpleNamespace(begun=begun))
    (tmp_path / "slowly_imported.py").write_text(
        "import time, what_waits_for_it\nwhat_waits_for_it.begun.set()\nfor _ in range(30):\n    time.sleep(0.01)\n"
    )
    (tmp_path / "another_import.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        try:
            import_module("slowly_imported")
            done.append("imported")
            while True:
                time.sleep(0.01)
        except Closed:
            done.append("closed")

    thread = Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(PATIENCE)
    interrupt(thread)
    thread.join(PATIENCE)
    import_module("another_import")
    assert done == ["imported", "closed"]


def test_the_page_needs_no_torch():
    code = "import sys; import convscope.web.explorer.explore; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
