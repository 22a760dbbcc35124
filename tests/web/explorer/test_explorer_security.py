"""The explorer answers only its own page, and whatever an address names, with one line at worst."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.routing import Route
from torch import nn

from convscope.web.explorer.answers import picture_answer
from convscope.web.explorer.doorway import POSTS
from convscope.web.explorer.routes import Explorer
from tests.patience import PATIENCE
from tests.web.served import opened
from tests.web.strangers import (
    FOREIGN_HOSTS,
    FOREIGN_ORIGINS,
    HOST,
    INJECTIONS,
    METHODS,
    PORT,
    TOKEN,
    ask,
    cookie,
)  # fmt: skip
from tests.web.tiny_explorer import tiny_explorer, tiny_network

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OWN = {"origin": f"http://{HOST['host']}"}


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    explorer = tiny_explorer(tmp_path_factory.mktemp("store"))
    yield explorer
    explorer.close()


VALUES = {
    "{name:path}": "plotly.js", "{layer}": "0", "{channel:number}": "1", "{image}": "test-1", "{how}": "saliency",
    "{y:number}": "0", "{x:number}": "0", "{target:number}": "1",
}  # fmt: skip


def addresses(explorer: Explorer) -> list[tuple[str, str]]:
    """A method and an address for every route that there is."""
    found: list[tuple[str, str]] = []
    for route in explorer.app.routes:
        assert isinstance(route, Route)
        path = route.path
        for name, value in VALUES.items():
            path = path.replace(name, value)
        assert "{" not in path
        found.append(("POST" if "POST" in (route.methods or ()) else "GET", path))
    return found


def test_every_route_refuses_whoever_is_not_its_page(explorer: Explorer):
    known = {**cookie(explorer.app), **OWN}
    asked = [*addresses(explorer), ("GET", "/nothing")]
    assert len(asked) > 31

    def status(method: str, path: str, headers: dict[str, str]) -> int:
        return ask(explorer.app, path, headers, method=method, posts=POSTS).status_code

    for method, path in asked:
        for host in FOREIGN_HOSTS:
            assert status(method, path, {**known, "host": host}) == 403, (path, host)
        for origin in FOREIGN_ORIGINS:
            assert status(method, path, {**known, "origin": origin}) == 403, (path, origin)
        for site in ("cross-site", "same-site"):
            assert status(method, path, {**known, "sec-fetch-site": site}) == 403, (path, site)
        for headers in (HOST, {**HOST, **OWN}, {**HOST, "cookie": f"convscope-{PORT}=1.0"}):
            assert status(method, f"{path}?token={TOKEN}" if path != "/" else path, headers) == 403, path
        for other in METHODS[2:]:
            if (other, path) != ("POST", *POSTS):
                assert status(other, path, known) == 405, (other, path)


def test_only_a_page_that_says_where_it_is_from_may_post(explorer: Explorer):
    known, data = cookie(explorer.app), png(np.zeros((8, 8, 3), np.uint8))
    assert ask(explorer.app, "/api/images", known, method="POST", posts=POSTS, content=data).status_code == 403
    assert ask(explorer.app, "/api/images", {**known, **OWN}, method="POST", content=data).status_code == 405
    assert explorer_count(explorer) == 0
    answer = ask(explorer.app, "/api/images", {**known, **OWN}, method="POST", posts=POSTS, content=data)
    assert answer.status_code == 201
    assert explorer_count(explorer) == 1


def explorer_count(explorer: Explorer) -> int:
    return ask(explorer.app, "/api/images?split=uploaded", cookie(explorer.app)).json()["total"]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


HOSTILE = [
    "../..", "../0", "<script>alert(1)</script>", "'; drop", "0\0", "é", "a" * 3000, "x.png", "%2e", "0/..", "６",
    "-1",
]  # fmt: skip
LAYER, CHANNEL, IMAGE = "/api/layers/{}", "/api/layers/0/channels/{}", "/api/images/{}"
PLACES = [
    LAYER, LAYER + "/channels/0", LAYER + "/channels/0/pattern.png", CHANNEL, CHANNEL + "/ablation", IMAGE,
    IMAGE + ".png", IMAGE + "/decisive", "/api/images/test-0/maps/{}", "/api/images/test-0/maps/{}.png",
    "/api/images/test-0/units/{}/0/0,0.png", "/api/images/test-0/units/0/{}/0,0", "/api/images/test-0/units/0/0/{}",
    "/api/images/test-0/attributions/{}", "/api/classes/{}", "/api/classes/{}/pattern.png", "/{}x", "/assets/{}",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_is_none_is_told_in_one_line(explorer: Explorer, place: str):
    known = cookie(explorer.app)
    for text in HOSTILE:
        answer = ask(explorer.app, place.format(quote(text, safe="")), known)
        assert answer.status_code in (400, 404), (place, text)
        told = json.loads(answer.content)
        assert list(told) == ["error"]
        assert "\n" not in told["error"]
        assert len(told["error"]) < 500


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/layers/0/channels/6", 404, "no channel 6 in 0; allowed: 0 to 5"),
        ("/api/layers/4", 404, 'layer "4" of tiny has no page: it gives no maps, or those of its input'),
        ("/api/layers/0/channels/99999999999999999999", 404, "there is nothing at this address"),
        ("/api/classes/3", 404, "no class 3 in tiny; allowed: 0 to 2"),
        ("/api/images/test-12", 404, "there is no such image"),
        ("/api/images/test-012", 404, "there is no such image"),
        ("/api/images/folder-0", 404, "there is no such image"),
        ("/api/images/upload-0", 404, "there is no such image"),
        ("/api/images/test-0/units/2/0/4,0", 404, "no unit 4,0 in 2; allowed: 0,0 to 3,3"),
        (
            "/api/images/test-0/units/2/0/0,0?rule=x",
            400,
            'no rule "x"; allowed: deconvnet, guided, gradient',
        ),
        ("/api/images?class=3", 400, 'class "3"; allowed: a whole number from 0 to 2'),
        ("/api/images?split=all", 400, 'no split "all"; allowed: test, train, folder, uploaded'),
        ("/api/images?count=1001", 400, 'count "1001"; allowed: a whole number from 1 to 1000'),
        ("/api/images/test-0/maps/0.png?first=6", 400, 'first "6"; allowed: a whole number from 0 to 5'),
        ("/api/images/test-0/maps/0.png?columns=0", 400, 'columns "0"; allowed: a whole number from 1 to 4096'),
        ("/api/images/test-0/decisive?class=-1", 400, 'class "-1"; allowed: a whole number from 0 to 2'),
    ],
)
def test_what_is_out_of_range_is_told_in_one_line(explorer: Explorer, path: str, status: int, told: str):
    answer = ask(explorer.app, path, cookie(explorer.app))
    assert (answer.status_code, answer.json()["error"]) == (status, told)


def test_hostile_names_stay_text_in_answers_and_headers(tmp_path: Path):
    """Classes, files and runs of a hundred hostile names: in JSON as they are, in headers and commands harmless."""
    folder = tmp_path / "images"
    folder.mkdir()
    files = sorted({each.replace("/", "_").replace("\0", "")[:80].lstrip(".") + ".png" for each in INJECTIONS})
    for name in files:
        (folder / name).write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    network = tiny_network()
    head = nn.Linear(4, len(INJECTIONS))
    network.model[6] = head.eval()  # pyright: ignore
    network = replace(network, class_names=tuple(INJECTIONS), name=INJECTIONS[0])
    explorer = tiny_explorer(
        tmp_path / "store",
        network=network,
        dataset=None,
        images=folder,
        arguments=[INJECTIONS[50], "--x", INJECTIONS[90]],
    )
    try:
        known = cookie(explorer.app)
        told = ask(explorer.app, "/api/network", known)
        assert told.headers["content-type"] == "application/json"
        assert told.json()["classes"] == INJECTIONS
        page = ask(explorer.app, "/", known).text
        assert not any(each in page for each in INJECTIONS if "ran" in each)
        for number in range(len(files)):
            image = ask(explorer.app, f"/api/images/folder-{number}", known)
            assert image.headers["content-type"] == "application/json"
            assert Path(image.json()["name"]).name == image.json()["name"]
            unit = ask(explorer.app, f"/api/images/folder-{number}/units/2/1/0,0", known).json()
            words = shlex.split(unit["command"])
            assert words[:5] == ["convscope", "reconstruct", INJECTIONS[50], "--x", INJECTIONS[90]]
            assert f"{folder}/{image.json()['name']}" in words
        for number in range(0, len(INJECTIONS), 7):
            command = ask(explorer.app, f"/api/classes/{number}", known).json()["commands"]["pattern"]
            assert shlex.split(command)[-4:] == ["--layer", "6", "--channel", str(number)]
    finally:
        explorer.close()


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_header_takes_no_hostile_name(name: str):
    request = Request({"type": "http", "query_string": b"download=1", "headers": []})
    header = picture_answer(request, b"", name).headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9_.-]{0,100}\.png"', header)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_seconds_though_pages_are_open(tmp_path: Path, number: int):
    code = (
        "from pathlib import Path; import sys; from tests.web.tiny_explorer import *; "
        "from convscope.web.explorer.explore import explore; "
        "explore(lambda: (tiny_network(), tiny_dataset()), Path(sys.argv[1]), port=0, open_browser=False, "
        "say=lambda text: print(text, flush=True), warn=lambda text: None)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with opened(address) as client, ExitStack() as streams:
            for _ in range(20):
                answer = streams.enter_context(client.stream("GET", "/api/stream"))
                assert answer.status_code == 200
            process.send_signal(number)
            _, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, "")
