"""Of a run the page tells at once what is known without torch, and goes over to the network when it is open."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from convscope.types import Event
from convscope.web.explorer.doorway import POSTS, Doorway
from convscope.web.explorer.early import PLACE, describe_early, keep_description
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.routes import Explorer
from tests.patience import PATIENCE
from tests.web.served import append, end_event, serving_app, write_run
from tests.web.tiny_explorer import tiny_dataset, tiny_network

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DATASET = {"name": "noise", "class_names": ["cat", "<b>dog</b>"], "image_size": [8, 8]}
CONFIG = {
    "dataset": {**DATASET, "train_images": 1200, "test_images": 300},
    "model": {"name": "resnet10-narrow", "parameters": 1234567},
}
KEPT = {"name": "kept", "weights_sha256": "c0ffee", "layers": [{"name": "conv1", "shape": [6, 8, 8]}]}


def checkpoint(step: int, weights: str) -> Event:
    return Event("checkpoint", step, 1.0, {"name": f"step-{step}", "weights_sha256": weights})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", [checkpoint(10, "bad"), checkpoint(20, "c0ffee"), end_event(20)], CONFIG)


def test_what_the_record_says_is_told(run: Path):
    told = describe_early(run, "runs/mine")
    assert told == {
        "opening": True,
        "name": "resnet10-narrow",
        "source": "runs/mine",
        "dataset": {"name": "noise", "train": 1200, "test": 300},
        "classes": ["cat", "<b>dog</b>"],
        "input_size": [8, 8],
        "parameters": 1234567,
        "figures": {"train_accuracy": 0.9, "test_accuracy": 0.8},
        "layers": [],
        "weights_sha256": "c0ffee",
    }


def test_what_was_kept_holds_for_those_weights_only(run: Path):
    keep_description(run, KEPT)
    assert describe_early(run, "runs/mine") == KEPT
    append(run, [checkpoint(30, "f00d")])
    told = describe_early(run, "runs/mine")
    assert (told["name"], told["weights_sha256"]) == ("resnet10-narrow", "f00d")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[1]",
        "null",
        '{"convscope"}',
        '{"convscope": "0.1.0", "network": {"weights_sha256": "c0ffee"}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:30] or "empty",
)
def test_a_kept_description_that_is_none_is_left(run: Path, text: str):
    (run / PLACE).parent.mkdir()
    (run / PLACE).write_text(text, encoding="utf-8")
    assert describe_early(run, "runs/mine")["opening"]


@pytest.mark.parametrize(
    "change",
    [{"dataset": 3}, {"dataset": {}}, {"recipe": []}, {"format": 99}, {"dataset": {**DATASET, "train_images": "x"}}],
)
def test_a_damaged_record_is_told_by_whoever_opens_the_network(run: Path, change: dict[str, Any]):
    config = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps(config | change), encoding="utf-8")
    assert describe_early(run, "runs/mine") == {}


def test_nothing_is_kept_where_the_disk_refuses(run: Path):
    (run / PLACE.parent).write_text("a file", encoding="utf-8")
    keep_description(run, KEPT)
    assert describe_early(run, "runs/mine")["opening"]


@pytest.mark.parametrize("again", [False, True], ids=["for the first time", "again"])
def test_the_page_tells_of_a_network_that_is_being_opened(browser: Any, tmp_path: Path, run: Path, again: bool):
    expect = pytest.importorskip("playwright.sync_api").expect
    let_in, network = Flag(), tiny_network()
    explored = Explored(network, None, tiny_dataset(), images=None, store=tmp_path / "store", arguments=["runs/mine"])
    explorer = Explorer(explored, network, warn=print)
    early = json.loads(json.dumps(explored.description)) if again else describe_early(run, "runs/mine")

    def open_slowly() -> Explorer:
        assert let_in.wait(PATIENCE)
        return explorer

    doorway = Doorway(open_slowly, lambda: early)
    with serving_app(doorway, doorway.close, posts=POSTS) as address:
        page = browser.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(address)
        doors, chip = page.locator(".flow .door"), page.locator(".chip").nth(1)
        if again:
            doors.first.evaluate("door => { door.dataset.seen = 'before'; }")
        else:
            expect(page.locator("main h2")).to_have_text("resnet10-narrow")
            expect(page.locator("main")).to_contain_text("1,234,567")
            expect(page.locator("main .waiting")).to_contain_text("Opening the network")
            expect(chip).to_have_text("<b>dog</b>")
            chip.click()
        with page.expect_request("**/api/stream"):  # for which it asks once all is there
            let_in.set()
        if again:
            assert page.locator(".flow .door[data-seen]").count() == 1
        else:
            expect(page.locator("main h2 b")).to_have_text(
                "<script>alert(1)</script>"
            )  # of the class that was clicked
        page.close()
        assert told == []
    doorway.join()
