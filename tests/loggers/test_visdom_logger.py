"""Visdom's own server, where it installs, and everywhere a stand-in that takes the requests of its own client."""

import html
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from convscope.loggers.visdom import POINTS
from convscope.types import Event
from tests.loggers.conftest import FRAMES, LAST, LOSSES, TEST_LOSSES, events_between
from tests.patience import PATIENCE, soon

CLIENT = {  # what the client of Visdom 0.2.4 and of 0.3.0 sends for a line, a text and a picture with history
    "scatter": {"x": [10.0, 20.0], "y": [2.0, 1.0], "name": "train", "type": "scatter", "mode": "lines"},
    "text": {"content": "hello", "type": "text"},
    "image_history": {"content": {"src": "data:image/png;base64,iVBO", "caption": "1"}, "type": "image_history"},
}


def test_requests_have_the_form_of_its_own_client(run, visdom_server):
    run.first_session("visdom")
    kinds = set()
    for endpoint, message in visdom_server.requests:
        assert message["eid"] == "planted-tiny"
        if endpoint in ("events", "update"):
            for one in message["data"]:
                kinds.add(one["type"])
                assert one.keys() == CLIENT[one["type"]].keys()
            assert message.keys() - {"layout"} == {"eid", "win", "data", "opts"}
    assert kinds == CLIENT.keys()
    assert visdom_server.requests[-1] == ("save", {"eid": "planted-tiny", "data": ["planted-tiny"]})


def test_texts_are_texts(run, visdom_server):
    attack = Event("alarm", 40, 4.0, {"what": "silent channels", "message": "<script>alert(1)</script>"})
    list(run.follow(iter([*events_between(0, 20, resumed=False), attack]), "visdom"))
    told = visdom_server.windows["phases and alarms"]["data"][0]["content"]
    assert "<script>" not in told
    assert html.unescape(told).splitlines()[-1] == "step 40: <script>alert(1)</script></pre>"


def test_of_a_long_curve_some_points_are_sent_and_the_extremes_among_them(run, visdom_server):
    losses = [1.0] * 20_000
    losses[12_345], losses[777] = 50.0, 0.01
    values = {"accuracy": 0.5, "learning_rate": 0.1, "images_per_second": 1.0, "epoch": 0.0}
    events = [Event("train", step, 0.0, {"loss": loss, **values}) for step, loss in enumerate(losses)]
    list(run.follow(iter([Event("start", 0, 0.0, {}), *events[:9000]]), "visdom"))  # as many as may wait
    (trace,) = visdom_server.windows["loss"]["data"]
    points = dict(zip(trace["x"], trace["y"], strict=True))
    assert len(points) <= POINTS + 2
    assert points[777] == 0.01
    assert points.keys() >= {0, 8999}


def test_every_second_phase_is_shaded(run, visdom_server):
    phases = [
        Event(
            "phase",
            first,
            0.0,
            {"index": index, "optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant"}
            | {"first_step": first, "last_step": first + 50},
        )
        for index, first in enumerate((0, 50))
    ]
    list(run.follow(iter([*events_between(0, LAST, resumed=True), *phases]), "visdom"))
    (shade,) = visdom_server.windows["accuracy"]["layout"]["shapes"]
    assert (shade["x0"], shade["x1"]) == (50, 100)


def test_no_server_is_said_with_how_to_start_one(run, monkeypatch):
    monkeypatch.setenv("VISDOM_SERVER", "127.0.0.1:9")
    assert run.first_session("visdom")[-1].step == 80
    (line,) = run.said
    assert "no Visdom server at http://127.0.0.1:9 (" in line
    assert line.endswith("start one with: visdom; or set VISDOM_SERVER and VISDOM_PORT")


def test_a_server_that_refuses_is_said_once(run, visdom_server):
    visdom_server.refuses = True
    assert run.first_session("visdom")[-1].step == 80
    assert run.said == [
        f"visdom failed and is left out from here on: the Visdom server at http://127.0.0.1:{visdom_server.port} "
        "refuses events: HTTP Error 500: Internal Server Error"
    ]


@pytest.fixture
def real_server(monkeypatch, tmp_path):
    pytest.importorskip(
        "visdom.server",
        reason="Visdom's package is not installed: 0.3 needs Python 3.12; 0.2.4 builds with setuptools<81 only",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (  # the command `visdom` would first download scripts
        "import sys; from visdom.server.run_server import start_server; "
        "start_server(port=int(sys.argv[1]), env_path=sys.argv[2], base_url='', bind_local=True)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(port), str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("VISDOM_SERVER", "127.0.0.1")
    monkeypatch.setenv("VISDOM_PORT", str(port))

    def answers() -> bool:
        assert server.poll() is None
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        return True

    soon(answers)
    yield port
    server.terminate()
    server.wait()


def test_a_real_server_receives_the_curves_and_the_pictures(run, real_server):
    run.first_session("visdom")
    run.second_session("visdom")
    assert run.said == [f"visdom: http://127.0.0.1:{real_server}/env/planted-tiny"] * 2

    def window(name):
        data = json.dumps({"eid": "planted-tiny", "win": name}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{real_server}/win_data", data, PATIENCE) as answer:
            return json.load(answer)

    traces = {trace["name"]: trace for trace in window("loss")["content"]["data"]}
    assert list(zip(traces["batches"]["x"], traces["batches"]["y"], strict=True)) == LOSSES
    assert list(zip(traces["test"]["x"], traces["test"]["y"], strict=True)) == TEST_LOSSES
    assert [picture["caption"] for picture in window("filters")["content"]] == [f"step {step}" for step in FRAMES]
    assert "test_accuracy: 0.25" in window("final figures")["content"]
