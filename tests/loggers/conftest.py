"""A run that was interrupted and goes on, played to loggers as `start_run` and `resume_run` would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from convscope.durable import to_json
from convscope.loggers import follow as following
from convscope.training.folder import FORMAT, EventLog
from convscope.types import Event
from tests.patience import PATIENCE

CONFIG = {
    "format": FORMAT,
    "command": "convscope train planted",
    "report": False,
    "started": "2026-01-02T03:04:05+00:00",
    "recipe": {"name": "tiny", "model": "tiny", "phases": [{"optimizer": "adam", "steps": None}], "batch_size": 8},
    "model": {"name": "tiny", "parameters": 7},
    "weights": None,
    "dataset": {"name": "planted", "fingerprint": "f" * 64, "train_images": 50, "class_names": ["dark", "bright"]},
    "seed": 3,
    "device": "cpu",
    "precision": "fp32",
    "versions": {"torch": "2"},
    "machine": {},
}
LAST = 100
CUT = 60
"""The step of the checkpoint that the resumption goes on from; the first session came farther."""


def events_between(first: int, last: int, *, resumed: bool) -> Iterator[Event]:
    """What a training tells from one step to another: a loss of 1 / step, an evaluation and a frame all 20 steps."""
    phase = {"optimizer": "adam", "learning_rate": 0.1, "schedule": "constant", "first_step": 0, "last_step": LAST}
    yield Event("start", first, first / 10, {"resumed": resumed, "steps": LAST})
    if not resumed:
        yield Event("phase", 0, 0.0, {"index": 0, **phase})
        yield Event("film", 0, 0.0, {"weights": False})
    for step in range(first + 10, last + 1, 10):
        values = {"loss": 1 / step, "accuracy": step / 200, "learning_rate": 0.1, "images_per_second": 9.0}
        yield Event("train", step, step / 10, {"epoch": step / 50, "phase": 0, **values})
        if step == 40:
            silent = {"what": "silent channels", "layer": "relu", "message": "3 of the 4 channels of relu are silent"}
            yield Event("alarm", step, step / 10, silent)
        if step % 20 == 0:
            values = {
                "train_loss": 2 / step,
                "test_loss": 3 / step,
                "train_accuracy": 0.5,
                "test_accuracy": step / 400,
            }
            yield Event("eval", step, step / 10, {"epoch": step / 50, "phase": 0, "confusion": None, **values})
            yield Event("film", step, step / 10, {"weights": False})
            yield Event("checkpoint", step, step / 10, {})


def final_event() -> Event:
    figures = {"train_loss": 0.02, "test_loss": 0.03, "train_accuracy": 1.0, "test_accuracy": 0.25}
    return Event("end", LAST, LAST / 10, {"reason": "finished", **figures})


LOSSES = [(step, 1 / step) for step in range(10, LAST + 1, 10)]
TEST_LOSSES = [(step, 3 / step) for step in range(20, LAST + 1, 20)]
FRAMES = list(range(0, LAST + 1, 20))


def frame_pixels(step: int) -> dict[str, np.ndarray]:
    """A picture as grey as the step is late."""
    return {"filters": np.full((6, 8, 3), step, np.uint8)}


class PlayedRun:
    """A run folder and its log, written before each event is passed on, as in a training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.kept_bytes = 0
        path.mkdir()
        (path / "run.json").write_bytes(to_json(CONFIG))

    def first_session(self, *names: str, last: int = 80) -> list[Event]:
        """From the beginning to beyond the checkpoint, where it is interrupted."""
        return self._play(events_between(0, last, resumed=False), names, keep_bytes=0)

    def second_session(self, *names: str) -> list[Event]:
        """From the checkpoint to the end."""
        events = [*events_between(CUT, LAST, resumed=True), final_event()]
        return self._play(iter(events), names, keep_bytes=self.kept_bytes)

    def follow(self, events: Iterator[Event], *names: str) -> Iterator[Event]:
        return following.follow(events, names, self.path, frame_pixels=frame_pixels, say=self.said.append)

    def _play(self, events: Iterator[Event], names: tuple[str, ...], *, keep_bytes: int) -> list[Event]:
        log = EventLog(self.path, keep_bytes=keep_bytes)

        def logged() -> Iterator[Event]:
            for event in events:
                log.append(event)
                if event.kind == "checkpoint" and event.step == CUT:
                    self.kept_bytes = log.sync()
                yield event
            log.close()

        return list(self.follow(logged(), *names))


@pytest.fixture
def run(tmp_path, monkeypatch) -> PlayedRun:
    monkeypatch.setattr(following, "PAUSE", 0.01)
    monkeypatch.setattr(following, "PATIENCE", PATIENCE)
    monkeypatch.chdir(tmp_path)
    return PlayedRun(tmp_path / "planted-tiny")


class StandIn:
    """What a Visdom server does with the requests of its own client (recorded from versions 0.2.4 and 0.3.0)."""

    def __init__(self) -> None:
        self.windows: dict[str, dict] = {}  # of the one environment
        self.requests: list[tuple[str, dict]] = []
        self.refuses = False
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(500 if stand_in.refuses else 200)
                self.end_headers()
                self.wfile.write(stand_in.answer(self.path.removeprefix("/"), message).encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, endpoint: str, message: dict) -> str:
        self.requests.append((endpoint, message))
        if endpoint == "win_exists":
            return "true" if message["win"] in self.windows else "false"
        if endpoint == "update":
            self.windows[message["win"]]["data"] += message["data"]
        if endpoint == "events":
            self.windows[message["win"]] = message
        return message.get("win", "")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def visdom_server(monkeypatch):
    server = StandIn()
    monkeypatch.setenv("VISDOM_SERVER", "http://127.0.0.1")
    monkeypatch.setenv("VISDOM_PORT", str(server.port))
    yield server
    server.close()


@pytest.fixture(scope="session")
def mlflow_address(tmp_path_factory) -> str:
    """MLflow's own kind of local database, made once: its tables take seconds."""
    pytest.importorskip("mlflow")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def tools(monkeypatch, mlflow_address, visdom_server, tmp_path):
    """Every tool where a test can read it back, whatever this machine's own settings are."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "WANDB_NAME", "WANDB_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_address)
    return visdom_server
