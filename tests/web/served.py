"""What the tests of the live pages share: runs written by hand, a real server, and a page that is no browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import httpx
from starlette.applications import Starlette

from convscope.training.folder import EventLog
from convscope.training.log_parts import AXES, MEASURED
from convscope.types import Event
from convscope.web.dashboard.routes import Dashboard
from convscope.web.server import serve
from tests.patience import PATIENCE

CONFIG: dict[str, Any] = {
    "format": 1,
    "command": "convscope run digits",
    "started": "2026-03-01T10:00:00+00:00",
    "recipe": {
        "name": "adam-then-sgd",
        "model": "resnet10-narrow",
        "seed": 3,
        "phases": [
            {"optimizer": "adam", "epochs": 2, "steps": None},
            {"optimizer": "sgd", "epochs": None, "steps": 60},
        ],
    },
    "dataset": {"name": "digits", "class_names": ["0", "1"]},
    "weights": None,
    "device": "cpu",
    "precision": "fp32",
    "versions": {},
    "machine": {},
    "report": False,
}

START = Event("start", 0, 0.0, {"resumed": False, "steps": 140, "steps_per_epoch": 40, "optimizers": ["adam", "sgd"]})


def train_event(step: int, *, seconds: float = 0.1) -> Event:
    """A "train" event whose numbers say which it is."""
    data = {"epoch": step / 40, "phase": 0, "loss": 3 / (step + 1), "accuracy": step / 1000}
    return Event("train", step, step * seconds, {**data, "learning_rate": 0.01, "images_per_second": 500.0})


def eval_event(step: int) -> Event:
    """An "eval" event with a confusion matrix that says at which step it was made."""
    figures = {"train_loss": 0.5, "train_accuracy": 0.6, "test_loss": 0.7, "test_accuracy": step / 1000}
    return Event("eval", step, step * 0.1, {"epoch": step / 40, **figures, "confusion": [[step, 0], [1, 2]]})


def end_event(step: int, reason: str = "finished") -> Event:
    """The event that ends a run."""
    figures = {"train_loss": 0.1, "train_accuracy": 0.9, "test_loss": 0.2, "test_accuracy": 0.8}
    return Event("end", step, step * 0.1, {"reason": reason, **(figures if reason == "finished" else {})})


def write_run(path: Path, events: list[Event], config: Mapping[str, Any] | None = None) -> Path:
    """A run folder with these events."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({**CONFIG, **(config or {})}), encoding="utf-8")
    append(path, events, keep_bytes=0)
    return path


def append(run: Path, events: list[Event], *, keep_bytes: int | None = None) -> None:
    """Write events as a training does; with `keep_bytes`, as a resumption does that cuts the log before."""
    size = (run / "events.jsonl").stat().st_size if keep_bytes is None else keep_bytes
    log = EventLog(run, keep_bytes=size)
    for event in events:
        log.append(event)
    log.close()


def columns_by_hand(log: bytes) -> dict[str, dict[str, list[Any]]]:
    """The columns of a log, the slow way."""
    found: dict[str, dict[str, list[Any]]] = {
        kind: {name: [] for name in (*AXES, *MEASURED[kind])} for kind in MEASURED
    }
    for line in log.splitlines(keepends=True):
        event = json.loads(line) if line.endswith(b"\n") else {"kind": ""}
        if event["kind"] in found:
            for name, values in found[event["kind"]].items():
                values.append({**event, **event["data"]}[name])
    return found


@contextmanager
def serving(shown: Path | Dashboard, *, port: int = 0) -> Generator[str]:
    """A real server of a dashboard or of a folder's, in a thread; gives the address that it says."""
    dashboard = shown if isinstance(shown, Dashboard) else Dashboard(shown, warn=print)
    with serving_app(dashboard.app, dashboard.live.close, port=port) as address:
        yield address


@contextmanager
def serving_app(
    app: Starlette, close_streams: Callable[[], None], *, port: int = 0, posts: Collection[str] = ()
) -> Generator[str]:
    """A real server of an app, in a thread; gives the address that it says."""
    said: Queue[Any] = Queue()
    thread = Thread(
        target=serve,
        args=[app],
        kwargs={
            "port": port,
            "open_browser": False,
            "say": said.put,
            "close_streams": close_streams,
            "on_start": said.put,
            "posts": posts,
        },
    )
    thread.start()
    address, stop = said.get(timeout=PATIENCE), said.get(timeout=PATIENCE)
    try:
        yield address
    finally:
        stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@contextmanager
def opened(address: str) -> Generator[httpx.Client]:
    """A client that has been to the address, and so has its cookie."""
    where, _, _ = address.partition("/?")
    with httpx.Client(base_url=where, timeout=PATIENCE, trust_env=False) as client:
        assert client.get(address).status_code == 303
        yield client


def port_of(address: str) -> int:
    """The port in an address."""
    return int(address.partition("/?")[0].rpartition(":")[2])


def read_stream(lines: Iterator[str]) -> Iterator[tuple[str, Any, str | None]]:
    """The (event, data, id) of a stream of server-sent events; comments are left out."""
    kind, data, last = "message", "", None
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            data = value
        elif name == "id":
            last = value
        elif not line:
            if data:
                yield kind, json.loads(data), last
            kind, data, last = "message", "", None


class PageModel:
    """What a page does with a run's series and the stream, without a browser."""

    def __init__(self, client: httpx.Client, run: str) -> None:
        self.client, self.run = client, run
        self.last_id = ""
        self.fetched = 0
        self.fetch()
        self.listen(until=self.series["position"])

    def fetch(self) -> None:
        """Ask for the series."""
        self.series = self.client.get(f"/api/runs/{self.run}/series?points=20000").json()
        self.fetched += 1

    def listen(self, *, until: int, events: int | None = None) -> None:
        """Listen until the log's position is reached, or so many events of the run have come."""
        headers = {"last-event-id": self.last_id} if self.last_id else {}
        with self.client.stream("GET", "/api/stream", headers=headers) as answer:
            assert answer.status_code == 200
            seen = 0
            for kind, data, last in read_stream(answer.iter_lines()):
                if kind == "points" and data["run"] == self.run:
                    self.apply(data)
                    seen += 1
                self.last_id = last or self.last_id
                if self.last_id and (self.series["position"] >= until or seen == events):
                    return

    def apply(self, points: dict[str, Any]) -> None:
        """Add what joins, leave out what is known, and ask anew for the rest."""
        same = points["generation"] == self.series["generation"]
        if same and points["end"] <= self.series["position"]:
            return
        if not same or points["start"] != self.series["position"]:
            self.fetch()
            return
        for kind in MEASURED:
            for name, values in self.series[kind].items():
                values.extend(points[kind][name])
        self.series["position"] = points["end"]
