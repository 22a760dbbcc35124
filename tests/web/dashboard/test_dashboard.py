"""The dashboard tells what the files hold, once each, to pages that come, go and come back."""

from __future__ import annotations

import csv
import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from convscope.training.frames import FilmInfo, Frame, frame_path, write_frame, write_info
from convscope.types import Event
from convscope.web.dashboard import live
from convscope.web.dashboard.routes import Dashboard
from convscope.web.dashboard.run_list import run_id
from tests.patience import soon
from tests.web.served import (
    START,
    PageModel,
    append,
    columns_by_hand,
    end_event,
    eval_event,
    opened,
    port_of,
    read_stream,
    serving,
    train_event,
    write_run,
)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch):
    """A run that is new, gone or damaged is noticed soon."""
    monkeypatch.setattr(live, "SCAN_SECONDS", 0.1)
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events = [START, *(train_event(step) for step in range(10, 100, 10)), eval_event(40), eval_event(80)]
    write_run(tmp_path / "runs" / "one", events)
    return tmp_path / "runs"


@pytest.fixture
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(folder) as address, opened(address) as client:
        soon(lambda: client.get("/api/runs").json()["runs"])
        yield client


def lines_of(events: list[Event], place: Path) -> bytes:
    """What a log has of these events."""
    return (write_run(place / "elsewhere", events) / "events.jsonl").read_bytes()


def assert_like_file(page: PageModel, log: Path) -> None:
    for kind, table in columns_by_hand(log.read_bytes()).items():
        for name, values in table.items():
            assert page.series[kind][name] == pytest.approx(values, rel=1e-6), (kind, name)


def test_the_series_are_the_log(client: httpx.Client, folder: Path):
    run = run_id(folder / "one")
    page = PageModel(client, run)
    assert_like_file(page, folder / "one" / "events.jsonl")
    assert page.series["position"] == (folder / "one" / "events.jsonl").stat().st_size
    assert page.series["total"] == 9
    part = client.get(f"/api/runs/{run}/series?axis=epoch&from=1.1&to=1.6&points=10").json()
    assert part["train"]["step"] == [40, 50, 60, 70]
    assert part["eval"]["step"] == [40, 80]


def test_a_long_series_is_thinned_and_keeps_its_spike(client: httpx.Client, folder: Path):
    events = [train_event(step) for step in range(10, 30_000, 10)]
    events[1234] = replace(events[1234], data={**events[1234].data, "loss": 99.0})
    write_run(folder / "long", [START, *events])
    run = run_id(folder / "long")
    soon(lambda: client.get(f"/api/runs/{run}/series").status_code == 200)
    series = client.get(f"/api/runs/{run}/series?points=100").json()
    assert series["total"] == 2999
    assert 100 <= len(series["train"]["step"]) <= 400
    assert max(series["train"]["loss"]) == 99
    assert [series["train"]["step"][place] for place in (0, -1)] == [10, 29_990]


UNANSWERED = [
    ("series?points=5", 400, 'points "5"; allowed: a whole number from 10 to 20000'),
    ("series?points=x", 400, 'points "x"; allowed: a whole number from 10 to 20000'),
    ("series?points=٣٠", 400, 'points "٣٠"; allowed: a whole number from 10 to 20000'),
    ("series?axis=loss", 400, 'axis "loss"; allowed: step, epoch, time'),
    ("series?from=nan", 400, 'from "nan"; allowed: a number'),
    ("series?to=inf", 400, 'to "inf"; allowed: a number'),
    ("confusion?step=-1", 400, 'step "-1"; allowed: a whole number from 0 to 999999999999999'),
    ("film", 404, "this run was not filmed"),
    ("film/0", 404, "cannot be read"),
    ("film/0/filters.png", 404, "this run was not filmed"),
    ("film/0/maps.png", 404, "this run was not filmed"),
    ("film/x", 404, "there is nothing at this address"),
    (f"film/{'9' * 5000}", 404, "there is nothing at this address"),  # Python reads no number of so many digits
    (f"probes/{'9' * 5000}.png", 404, "there is nothing at this address"),
    ("probes/0.png", 404, "this run was not filmed"),
    ("nothing", 404, "there is nothing at this address"),
    ("", 404, "there is nothing at this address"),
]


def test_what_cannot_be_answered_is_said_in_one_line(client: httpx.Client, folder: Path):
    for asked, status, message in UNANSWERED:
        answer = client.get(f"/api/runs/{run_id(folder / 'one')}/{asked}")
        assert answer.status_code == status, asked[:40]
        assert list(answer.json()) == ["error"]
        assert message in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


def test_confusion_matrices_are_of_the_newest_evaluation_before_the_step(client: httpx.Client, folder: Path):
    address = f"/api/runs/{run_id(folder / 'one')}/confusion"
    assert client.get(address).json() == {"step": 80, "matrix": [[80, 0], [1, 2]]}
    assert client.get(f"{address}?step=79").json() == {"step": 40, "matrix": [[40, 0], [1, 2]]}
    assert client.get(f"{address}?step=39").json() == {"step": None, "matrix": None}


def test_the_csv_has_every_number_as_it_was_written(client: httpx.Client, folder: Path):
    with (folder / "one" / "events.jsonl").open("ab") as file:
        file.write(b'{torn\n{"kind": "train", "step": 5, "time": 1, "data": {"phase": "=1+1", "loss": 0.1}}\n{"kind')
    answer = client.get(f"/api/runs/{run_id(folder / 'one')}/numbers.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="one.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 9 + 2 + 1
    assert [float(row["loss"]) for row in rows if row["kind"] == "train"][:9] == [
        3 / (s + 1) for s in range(10, 100, 10)
    ]
    assert rows[-1] == {**dict.fromkeys(rows[-1], ""), "kind": "train", "step": "5", "time": "1", "loss": "0.1"}


def test_a_deleted_run_is_said_to_be_gone(client: httpx.Client, folder: Path):
    run = run_id(folder / "one")
    assert client.get("/api/runs").json()["runs"][0]["name"] == "one"
    shutil.rmtree(folder / "one")
    soon(lambda: not client.get("/api/runs").json()["runs"])
    for what in ("series", "confusion", "numbers.csv", "film", "film/0"):
        answer = client.get(f"/api/runs/{run}/{what}")
        assert (answer.status_code, answer.json()) == (404, {"error": 'the folder of the run "one" is gone'})
    assert client.get("/api/runs/123/series").json() == {"error": "there is no such run in this folder"}


def test_a_script_in_a_name_stays_a_name(client: httpx.Client, folder: Path):
    name = "<img src=x onerror=alert(1)><script>"
    write_run(folder / name, [START], {"dataset": {"name": name, "class_names": [name]}})
    row = soon(lambda: [row for row in client.get("/api/runs").json()["runs"] if row["name"] == name])[0]
    assert (row["dataset"], row["class_names"]) == (name, [name])
    answer = client.get("/api/runs")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert name not in client.get("/").text
    disposition = client.get(f"/api/runs/{row['id']}/numbers.csv").headers["content-disposition"]
    assert disposition == 'attachment; filename="-img-src-x-onerror-alert-1-script-.csv"'


def test_new_events_come_on_the_stream_as_they_are_written(client: httpx.Client, folder: Path):
    run = run_id(folder / "one")
    with client.stream("GET", "/api/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = read_stream(answer.iter_lines())
        listed = next(stream)
        assert (listed[0], listed[1]["runs"][0]["id"]) == ("runs", run)
        before = (folder / "one" / "events.jsonl").stat().st_size
        head = next(stream)[1]
        assert (head["start"], head["end"], head["train"]["step"]) == (before, before, [])
        new = [train_event(100), eval_event(100), Event("film", 100, 10.0, {"weights": False})]
        with (folder / "one" / "events.jsonl").open("ab") as log:
            log.write(lines_of(new, folder.parent))  # all at once: the server may look at any moment
        frame, told = next(stream), next(stream)
        assert frame[:2] == ("frame", {"run": run, "step": 100})
        points = told[1]
        assert (told[0], points["run"], points["start"]) == ("points", run, before)
        assert points["end"] == (folder / "one" / "events.jsonl").stat().st_size
        assert points["train"]["step"] == points["eval"]["step"] == [100]
        assert told[2] == f"{run}:{points['generation']}:{points['end']}"
        changed = next(stream)
        assert (changed[0], changed[1]["runs"][0]["step"]) == ("runs", 100)


@pytest.fixture
def restarts(folder: Path) -> Iterator[Restarts]:
    with Restarts(folder) as restarts:
        yield restarts


class Restarts(ExitStack):
    """A server that can be stopped and started again at the same port, and a page's client that stays."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._server = self.enter_context(ExitStack())
        address = self._server.enter_context(serving(folder))
        self._port = port_of(address)
        self.client = self.enter_context(opened(address))
        soon(lambda: self.client.get("/api/runs").json()["runs"])

    def stop(self) -> None:
        self._server.close()

    def start(self) -> None:
        self._server.enter_context(serving(self.folder, port=self._port))


def test_a_page_that_was_cut_off_misses_nothing_and_gets_nothing_twice(restarts: Restarts, folder: Path):
    log = folder / "one" / "events.jsonl"
    steps = iter(range(100, 10_000, 10))
    page = PageModel(restarts.client, run_id(folder / "one"))
    for _ in range(3):  # cut off by the page
        append(folder / "one", [train_event(next(steps)), train_event(next(steps))])
        page.listen(until=10**9, events=1)
        append(folder / "one", [train_event(next(steps)), eval_event(next(steps))])
    page.listen(until=log.stat().st_size)
    assert_like_file(page, log)
    restarts.stop()
    append(folder / "one", [train_event(next(steps))])
    restarts.start()
    append(folder / "one", [train_event(next(steps))])
    page.listen(until=log.stat().st_size)  # with the cookie of the first server
    append(folder / "one", [train_event(next(steps)), end_event(999)])
    page.listen(until=log.stat().st_size)
    assert page.fetched == 1
    assert_like_file(page, log)


def test_a_torn_line_is_told_once_when_it_is_whole(client: httpx.Client, folder: Path):
    log = folder / "one" / "events.jsonl"
    page = PageModel(client, run_id(folder / "one"))
    before, position = log.read_bytes(), page.series["position"]
    more = lines_of([train_event(100), train_event(110)], folder.parent)
    whole = len(more.splitlines(keepends=True)[0])
    for end in (whole + 30, whole + 31, len(more) - 1, len(more)):
        with log.open("ab") as file:
            file.write((before + more)[file.tell() : len(before) + end])
        page.listen(until=position + (whole if end < len(more) else end))
    assert page.fetched == 1
    assert_like_file(page, log)


@pytest.mark.parametrize("restart", [False, True])
def test_after_a_resumption_cut_the_log_the_page_has_the_new_one(restarts: Restarts, folder: Path, restart: bool):
    log = folder / "one" / "events.jsonl"
    page = PageModel(restarts.client, run_id(folder / "one"))
    append(folder / "one", [train_event(100)])
    page.listen(until=log.stat().st_size)
    if restart:
        restarts.stop()
    kept = sum(map(len, log.read_bytes().splitlines(keepends=True)[:5]))
    resumed = Event("start", 50, 5.0, {**START.data, "resumed": True})
    other = [train_event(step, seconds=0.2) for step in range(50, 300, 10)]
    with log.open("rb+") as file:  # all at once: the server may look at any moment
        file.seek(kept)
        file.write(lines_of([resumed, *other], folder.parent))
    if restart:
        restarts.start()
    page.listen(until=log.stat().st_size)
    assert page.fetched == 2
    assert_like_file(page, log)


def test_a_log_that_is_shorter_than_a_page_knows_it_is_asked_for_again(restarts: Restarts, folder: Path):
    log = folder / "one" / "events.jsonl"
    page = PageModel(restarts.client, run_id(folder / "one"))
    append(folder / "one", [train_event(100), train_event(110)])
    page.listen(until=log.stat().st_size)
    restarts.stop()
    with log.open("rb+") as file:
        file.truncate(sum(map(len, log.read_bytes().splitlines(keepends=True)[:-2])))
    restarts.start()
    page.listen(until=10**9, events=1)
    assert page.fetched == 2
    assert_like_file(page, log)


def test_a_page_that_missed_too_much_asks_again(client: httpx.Client, folder: Path, monkeypatch: pytest.MonkeyPatch):
    log = folder / "one" / "events.jsonl"
    page = PageModel(client, run_id(folder / "one"))
    append(folder / "one", [train_event(100)])
    page.listen(until=log.stat().st_size)
    monkeypatch.setattr(live, "REPLAY_BYTES", 1000)
    append(folder / "one", [train_event(step) for step in range(110, 400, 10)])
    page.listen(until=log.stat().st_size)
    assert page.fetched == 2
    assert_like_file(page, log)


def test_many_pages_get_every_point_while_all_come_and_go(client: httpx.Client, folder: Path):
    log = folder / "one" / "events.jsonl"
    pages = [PageModel(client, run_id(folder / "one")) for _ in range(8)]
    written = threading.Event()

    def come_and_go(page: PageModel, events: int) -> None:
        while not written.is_set():
            page.listen(until=10**12, events=events)

    threads = [threading.Thread(target=come_and_go, args=[page, 1 + number % 3]) for number, page in enumerate(pages)]
    for thread in threads:
        thread.start()
    for step in range(100, 400, 10):
        append(folder / "one", [train_event(step)])
        time.sleep(0.02)
    written.set()
    while any(thread.is_alive() for thread in threads):
        append(folder / "one", [train_event(1000)])  # which ends the listening
        time.sleep(0.1)
    for page in pages:
        page.listen(until=log.stat().st_size)
        assert page.fetched == 1
        assert_like_file(page, log)


def film(run: Path, *, steps: tuple[int, ...] = (0, 10)) -> None:
    """A film of two frames, whose second has values twice as large."""
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    write_info(run, FilmInfo("conv1", ["conv1", "layer1"], images, [5, 9], [1, 0]))
    for number, step in enumerate(steps, 1):
        maps = {layer: np.full((2, 4, 4, 4), number, np.float16) for layer in ("conv1", "layer1")}
        layers = [{"name": "conv1", "kind": "Conv2d", "channels": 4, "weight_norm": 1.5}]
        logits = np.array([[0, 0], [0, np.log(3)]], np.float16)
        write_frame(run, Frame(step, np.full((4, 3, 3, 3), number / 10, np.float16), maps, logits, layers))


def test_the_film_is_told_and_drawn(client: httpx.Client, folder: Path):
    films = [Event("film", step, step / 10 + 1, {"weights": not step, "seconds": 0.1}) for step in (0, 10, 20)]
    run = write_run(folder / "filmed", [START, *films])
    film(run)
    address = f"/api/runs/{run_id(run)}"
    told = soon(lambda: (answer := client.get(f"{address}/film")).status_code == 200 and answer.json())
    assert told["frames"] == [  # the frame of step 20 is not there
        {"step": 0, "epoch": 0.0, "time": 1.0, "weights": True},
        {"step": 10, "epoch": 0.25, "time": 2.0, "weights": False},
    ]
    assert (told["filter_layer"], told["map_layers"]) == ("conv1", ["conv1", "layer1"])
    assert told["probes"] == [{"index": 5, "label": 1}, {"index": 9, "label": 0}]
    assert told["share"] == pytest.approx(0.3 / 3)
    frame = client.get(f"{address}/film/10").json()
    assert frame["layers"][0]["weight_norm"] == 1.5
    assert frame["probabilities"] == [[0.5, 0.5], pytest.approx([0.25, 0.75], abs=1e-3)]
    filters = {}
    for step in (0, 10):
        answer = client.get(f"{address}/film/{step}/filters.png?scale={told['scale']}")
        assert answer.headers["content-type"] == "image/png"
        filters[step] = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert filters[0].shape == filters[10].shape
    assert (filters[0] != filters[10]).any()  # one scale for both
    assert client.get(f"{address}/film/10/maps.png?layer=layer1&probe=1&scale=anything").status_code == 200
    assert "no layer" in client.get(f"{address}/film/10/maps.png?layer=fc").json()["error"]
    assert "allowed: 0 to 1" in client.get(f"{address}/film/10/maps.png?layer=conv1&probe=2").json()["error"]
    probe = client.get(f"{address}/probes/1.png")
    assert np.asarray(Image.open(io.BytesIO(probe.content))).tolist() == (
        np.arange(48, 96, dtype=np.uint8).reshape(3, 4, 4).transpose(1, 2, 0).tolist()
    )
    assert client.get(f"{address}/probes/2.png").json()["error"].endswith("allowed: 0 to 1")
    assert soon(lambda: client.get("/api/runs").json()["runs"][0]["has_film"]) is True


def test_a_damaged_film_is_said(client: httpx.Client, folder: Path):
    run = write_run(folder / "filmed", [START, Event("film", 0, 1.0, {}), Event("film", 10, 2.0, {})])
    film(run)
    frame_path(run, 10).write_bytes(b"torn")
    address = f"/api/runs/{run_id(run)}"
    soon(lambda: client.get(f"{address}/film").status_code == 200)
    assert client.get(f"{address}/film/0/filters.png").status_code == 200
    for what in ("film/10", "film/10/filters.png", "film/10/maps.png"):
        answer = client.get(f"{address}/{what}")
        assert answer.status_code == 404
        assert "cannot be read" in answer.json()["error"]
    (run / "film" / "film.json").write_text("{")
    assert "is damaged" in client.get(f"{address}/film").json()["error"]


def test_an_oddity_in_the_tailer_is_told_and_the_watching_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    warnings: list[str] = []
    real, failed = live.read_new, []

    def fails_once(run: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("odd")
        return real(run)

    monkeypatch.setattr(live, "read_new", fails_once)
    with serving(Dashboard(folder, warn=warnings.append)) as address, opened(address) as client:
        assert soon(lambda: client.get("/api/runs").json()["runs"])[0]["step"] == 80
    assert warnings == ["unforeseen RuntimeError: odd; please report it"]


def test_memory_is_given_back_by_the_logs_that_nobody_asks_for(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "ROWS", 20)
    for name in ("two", "three"):
        write_run(folder / name, [START, *(train_event(step) for step in range(10, 110, 10))])
    dashboard = Dashboard(folder, warn=print)
    with serving(dashboard) as address, opened(address) as client:
        soon(lambda: len(client.get("/api/runs").json()["runs"]) == 3)
        for name in ("one", "two", "three", "one"):
            page = PageModel(client, run_id(folder / name))
            assert_like_file(page, folder / name / "events.jsonl")
            append(folder / name, [train_event(500)])
            page.listen(until=(folder / name / "events.jsonl").stat().st_size)
            assert_like_file(page, folder / name / "events.jsonl")
        soon(lambda: sum(run.log.remembers for run in dashboard.live.runs.runs.values()) == 1)
        assert dashboard.live.runs.runs[run_id(folder / "one")].log.remembers


@pytest.mark.parametrize(("pages", "seconds"), [(1, 0.25), (125, 0.25), (500, 1.0)])
def test_where_pages_are_hundreds_each_is_told_less_often(tmp_path: Path, pages: int, seconds: float):
    live = Dashboard(tmp_path, warn=print).live
    live.pages = set(range(pages))  # pyright: ignore
    assert live._pause() == seconds
