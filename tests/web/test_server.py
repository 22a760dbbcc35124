"""The server answers its own page and nobody else, and neither slow clients nor open streams keep it from ending."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from convscope.errors import UsageError
from convscope.web import guard, server
from convscope.web.dashboard import watch
from convscope.web.dashboard.routes import Dashboard
from convscope.web.dashboard.run_list import run_id
from convscope.web.guard import HEADERS, read_secret
from tests.patience import PATIENCE, soon
from tests.web.served import START, append, opened, port_of, read_stream, serving, train_event, write_run
from tests.web.strangers import FOREIGN_HOSTS, FOREIGN_ORIGINS, HOST, METHODS, PORT, TOKEN, ask, cookie


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Dashboard:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "one", [START, train_event(10)])
    return Dashboard(folder, warn=print)


def addresses(dashboard: Dashboard) -> list[str]:
    """An address for every route that there is."""
    routes = dashboard.app.routes
    assert all(isinstance(route, Route) for route in routes)
    key = run_id(dashboard.live.runs.folder / "one")
    values = {"{name:path}": "plotly.js", "{run}": key, "{step:number}": "0", "{number:number}": "0"}
    found: list[str] = []
    for route in routes:
        path = route.path  # pyright: ignore
        for name, value in values.items():
            path = path.replace(name, value)
        assert "{" not in path
        found.append(path)
    return found


def test_every_route_refuses_whoever_is_not_its_page(dashboard: Dashboard):
    known = cookie(dashboard.app)
    paths = [*addresses(dashboard), f"/?token={TOKEN}", "/nothing"]
    assert len(paths) >= 14
    for path in paths:
        for host in FOREIGN_HOSTS:
            assert ask(dashboard.app, path, {**known, "host": host}).status_code == 403, (path, host)
        for origin in FOREIGN_ORIGINS:
            assert ask(dashboard.app, path, {**known, "origin": origin}).status_code == 403, (path, origin)
        for site in ("cross-site", "same-site", "odd"):
            assert ask(dashboard.app, path, {**known, "sec-fetch-site": site}).status_code == 403, (path, site)
        twice = [*known.items(), ("host", f"127.0.0.1:{PORT}")]
        assert ask(dashboard.app, path, twice).status_code == 403
        for method in METHODS[2:]:
            status = 403 if "token" not in path else 303
            assert ask(dashboard.app, path, HOST, method=method).status_code == status, (path, method)
            assert ask(dashboard.app, path, known, method=method).status_code in (405, 303), (path, method)


@pytest.mark.parametrize("method", METHODS)
def test_every_route_refuses_who_has_no_cookie_or_a_forged_one(dashboard: Dashboard, method: str):
    name, _, value = cookie(dashboard.app)["cookie"].partition("=")
    issued, _, signature = value.partition(".")
    forged = [
        "", "x", ".", value[:-1], value + "0", f"{int(issued) + 1}.{signature}", f"{issued}.", f".{signature}",
        f"{issued}.{'0' * 64}", f"{issued} .{signature}", signature, f'"{value}"', value.upper(), f"{issued}.é",
    ]  # fmt: skip
    others = [f"{name}x={value}", f"x{name}={value}", f"{name.upper()}={value}", f"token={TOKEN}", f"{name}"]
    for path in [
        *addresses(dashboard),
        "/?token=wrong",
        "/?token=",
        "/?token=é",
        "/?Token=right",
        "/api/runs?token=right",
    ]:
        assert ask(dashboard.app, path, method=method).status_code == 403, path
        for text in [*(f"{name}={each}" for each in forged), *others]:
            headers = {**HOST, "cookie": text.encode("latin-1")}
            assert ask(dashboard.app, path, headers, method=method).status_code == 403, (path, text)


def test_a_cookie_is_of_one_port_one_user_and_a_month(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch):
    for other in ({"port": 9000}, {"secret": b"t" * 32}):
        given = cookie(dashboard.app, **other)
        name = f"convscope-{PORT}"
        moved = {**HOST, "cookie": f"{name}={given['cookie'].partition('=')[2]}"}
        assert ask(dashboard.app, "/", moved).status_code == 403
    known = cookie(dashboard.app)
    assert ask(dashboard.app, "/", known).status_code == 200
    now = time.time()
    monkeypatch.setattr(guard.time, "time", lambda: now + guard.COOKIE_SECONDS + 2)
    assert ask(dashboard.app, "/", known).status_code == 403


def test_the_address_with_the_token_opens_the_page(dashboard: Dashboard):
    answer = ask(dashboard.app, f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    flags = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/"} < set(flags)
    assert not any(flag.startswith("domain") for flag in flags)
    assert TOKEN not in answer.headers["set-cookie"]
    known = cookie(dashboard.app)
    assert ask(dashboard.app, "/", known).status_code == 200
    crowded = {**known, "cookie": f'a={{"b": 1}}; c=" ; {known["cookie"]}; d'}  # of other pages at this address
    assert ask(dashboard.app, "/", crowded).status_code == 200
    local = {"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}", "cookie": known["cookie"]}
    assert ask(dashboard.app, "/", {**local, "sec-fetch-site": "same-origin"}).status_code == 200
    # with an old token but a good cookie, as in a bookmark
    assert ask(dashboard.app, "/?token=old", known).status_code == 303
    # a click on another site: after a redirect the browser would keep the cookie back
    click = {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = ask(dashboard.app, f"/?token={TOKEN}", click)
    assert (answer.status_code, "location" in answer.headers) == (200, False)
    assert 'http-equiv="refresh" content="0; url=/"' in answer.text


def test_every_answer_says_what_a_page_may_do(dashboard: Dashboard):
    known = cookie(dashboard.app)
    asked = [
        (path, headers) for path in [*addresses(dashboard), "/nothing", "/?token=x"] for headers in (known, HOST)
    ]
    for path, headers in asked:
        if path == "/api/stream" and headers is known:
            continue  # never ends; looked at below, with a real server
        answer = ask(dashboard.app, path, headers)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
        is_asset = path.startswith("/assets/") and headers is known
        assert answer.headers["cache-control"] == ("no-cache" if is_asset else "no-store")
        assert "access-control-allow-origin" not in answer.headers
    policy = dict(part.split(" ", 1) for part in HEADERS["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert "unsafe" not in str(policy)


def test_assets_are_those_of_the_table(dashboard: Dashboard):
    known = cookie(dashboard.app)
    table = server.asset_table("dashboard", "shared")
    asked = re.findall(r"/assets/([^\"']+)", ask(dashboard.app, "/", known).text)
    assert asked
    assert set(asked) <= set(table)
    for name in table:
        answer = ask(dashboard.app, f"/assets/{name}", known)
        assert answer.content == table[name].read_bytes()
        assert answer.headers["content-type"].split(";")[0] == server.MEDIA_TYPES[table[name].suffix]
    again = {**known, "if-none-match": answer.headers["etag"]}
    assert ask(dashboard.app, f"/assets/{name}", again).status_code == 304


ATTACKS = [
    "..", "../", "%2e%2e", "..%2f", "..%5c", "....//", "/etc/passwd", "//etc/passwd", "%00", "dashboard/../plotly.js",
    "dashboard/../../guard.py", "dashboard%2f..%2f..%2fguard.py", "plotly.js%00", "plotly.js/", "/plotly.js", "C:\\",
    "dashboard", "dashboard/", "~", "file:///etc/passwd", "report.css", "%ff", "a" * 5000, "dashboard/.", "",
    "dashboard/%2e%2e/report.css", "dashboard/main.js/..", "dashboard//main.js", "./plotly.js", "PLOTLY.JS",
]  # fmt: skip


@pytest.fixture(scope="module")
def attack(dashboard: Dashboard, own_secret: Path) -> Iterator[Callable[[str], None]]:
    """Ask a real server for what may be a path, byte for byte, wherever an address has a place for it."""
    with serving(dashboard.live.runs.folder) as address, opened(address) as client:
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}

        def ask_all(text: str) -> None:
            connection = HTTPConnection("127.0.0.1", port_of(address), timeout=PATIENCE)
            for path in (f"/assets/{text}", f"/api/runs/{text}/series", f"/api/runs/{text}/film/0", f"/{text}"):
                if path != "/":
                    connection.request("GET", path, headers=headers)
                    answer = connection.getresponse()
                    said = answer.read()
                    assert answer.status == 404, path
                    assert list(json.loads(said)) == ["error"], path
            connection.close()

        yield ask_all


@pytest.mark.parametrize("text", ATTACKS)
def test_no_path_leads_out(attack: Callable[[str], None], text: str):
    attack(text)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.text(st.sampled_from("./\\%2e5cf~:a\0é "), min_size=1, max_size=12))
def test_no_path_that_chance_makes_leads_out(attack: Callable[[str], None], text: str):
    attack("".join(f"%{byte:02x}" for byte in text.encode()))


def test_the_secret_is_kept_and_only_its_owner_can_read_it(own_secret: Path):
    secret = read_secret()
    path = own_secret / "web-secret"
    assert len(secret) == 32
    assert read_secret() == secret == path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    other = read_secret()
    assert other != secret
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    assert read_secret() not in (b"short", other)
    assert [each.name for each in own_secret.iterdir()] == ["web-secret"]


def test_where_the_secret_cannot_be_kept_there_is_one_all_the_same(tmp_path: Path):
    (tmp_path / "file").touch()
    assert len(read_secret(tmp_path / "file" / "folder")) == 32
    assert read_secret(tmp_path / "file" / "folder") != read_secret(tmp_path / "file" / "folder")


def test_the_usual_port_is_the_next_that_is_free_and_a_named_one_is_refused(monkeypatch: pytest.MonkeyPatch):
    with server.listen(0) as first:
        taken = first.getsockname()[1]
        monkeypatch.setattr(server, "DEFAULT_PORT", taken)
        with server.listen(None) as second:
            assert second.getsockname()[0] == "127.0.0.1"
            assert second.getsockname()[1] != taken
        with pytest.raises(
            UsageError, match=f"port {taken} cannot be had: .*; allowed: one from 1024 to 65535, or 0"
        ):
            server.listen(taken)
    with pytest.raises(UsageError, match="port 99999 cannot be had"):
        server.listen(99999)


def test_watching_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match='no folder ".*missing"; runs go to runs/'):
        watch.watch(tmp_path / "missing", port=0, open_browser=False, say=print)


def test_the_page_s_address_is_opened_where_there_is_a_screen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not server.has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert server.has_screen()


def connect(port: int, request: bytes = b"") -> socket.socket:
    """A connection on which that was said."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall(request)
    return connection


def ends(connection: socket.socket) -> bool:
    """Whether the other side closes within the connection's timeout."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_who_does_not_say_what_it_wants_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", PATIENCE)
    run = write_run(tmp_path / "one", [START])
    with serving(tmp_path) as address, opened(address) as client:
        host = f"Host: 127.0.0.1:{port_of(address)}\r\n".encode()
        second = connect(port_of(address), b"GET / HTTP/1.1\r\n" + host + b"\r\n")
        assert second.recv(4096).startswith(b"HTTP/1.1 403")
        assert client.get("/").status_code == 200
        monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
        with client.stream("GET", "/api/stream") as answer:  # who only listens is not cut off
            silent = connect(port_of(address))
            slow = connect(port_of(address), b"GET / HTTP/1.1\r\nHos")
            second.sendall(b"GET / HT")
            assert ends(silent)
            assert ends(slow)
            assert ends(second)
            lines = answer.iter_lines()
            assert next(lines) == "retry: 1000"
            append(run, [train_event(70)])
            assert any('"step":[70' in line for line in lines)
        for each in (silent, slow, second):
            each.close()


def hear(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes, until that has come."""
    heard = b""
    while wanted not in heard:
        part = connection.recv(65536)
        assert part, heard
        heard += part
    return heard


def stream_request(client: httpx.Client, port: int) -> bytes:
    """The bytes with which a page asks for the stream."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookies}\r\n\r\n".encode()


@pytest.fixture
def impatient_with(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports of those that are cut off soon when they do not read; others are given all the time they want."""
    ports: set[int] = set()
    pause = server.ImpatientProtocol.pause_writing

    def pause_writing(self: server.ImpatientProtocol) -> None:
        _, port = self.transport.get_extra_info("peername")
        monkeypatch.setattr(server, "STALL_SECONDS", 0.3 if port in ports else PATIENCE)
        pause(self)

    monkeypatch.setattr(server.ImpatientProtocol, "pause_writing", pause_writing)
    return ports


def test_who_does_not_read_is_cut_off_and_the_others_get_everything(tmp_path: Path, impatient_with: set[int]):
    run = write_run(tmp_path / "one", [START])
    dashboard = Dashboard(tmp_path, warn=print)
    line = json.dumps(vars(train_event(10))).encode() + b"\n"
    with serving(dashboard) as address, opened(address) as client:
        port = port_of(address)
        stalled = [socket.socket() for _ in range(3)]
        for connection in stalled:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(PATIENCE)
            connection.connect(("127.0.0.1", port))
            impatient_with.add(connection.getsockname()[1])
            connection.sendall(stream_request(client, port))
        with client.stream("GET", "/api/stream") as answer:
            stream = read_stream(answer.iter_lines())
            position = next(points["end"] for kind, points, _ in stream if kind == "points")
            soon(lambda: len(dashboard.live.pages) == 4)
            for _ in range(100):
                with (run / "events.jsonl").open("ab") as log:
                    log.write(line * 15_000)
                while position < (run / "events.jsonl").stat().st_size:
                    kind, points, _ = next(stream)
                    if kind == "points":
                        assert points["start"] == position
                        position = points["end"]
                if len(dashboard.live.pages) == 1:
                    break
            soon(lambda: len(dashboard.live.pages) == 1)
        for connection in stalled:
            connection.close()


def test_streams_are_ended_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "CLOSING_SECONDS", PATIENCE)
    with serving(tmp_path) as address, opened(address) as client:
        page = connect(port_of(address), stream_request(client, port_of(address)))
        hear(page, b"event: runs")
    assert hear(page, b"0\r\n\r\n").endswith(b"0\r\n\r\n")  # the last chunk is empty
    page.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """Start `convscope watch` as a process; gives a function for that."""
    processes: list[subprocess.Popen[str]] = []

    def start(folder: Path, *flags: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "convscope", "watch", str(folder), "--port", "0", "--no-open", *flags]
        environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        processes.append(process)
        assert process.stdout
        return process, process.stdout.readline().removeprefix("url: ").strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_hundred_pages_of_which_twenty_never_read(tmp_path: Path, started: Any, number: int):
    run = write_run(tmp_path / "runs" / "one", [START])
    process, address = started(tmp_path / "runs")
    port = port_of(address)
    with opened(address) as client:
        request = stream_request(client, port)
        pages = [connect(port, request) for _ in range(180)]
        stalled = [connect(port, request) for _ in range(20)]
        before = psutil.Process(process.pid).memory_info().rss
        for page in pages:
            assert hear(page, b"\nid: ").startswith(b"HTTP/1.1 200 OK")
        append(run, [train_event(77)])
        for page in pages:
            hear(page, b'"step":[77.0]')
        assert psutil.Process(process.pid).memory_info().rss - before < 100e6
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, output, errors) == (0, "", "")
        for each in [*pages, *stalled]:
            each.close()


def test_a_server_beside_a_training_ends_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(watch, "FOLLOW_SECONDS", 0.05)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as training:
        ended = asyncio.run(followed(training, Dashboard(tmp_path, warn=print)))
    assert ended == ["training", "page", "server"]


async def followed(training: subprocess.Popen[bytes], dashboard: Dashboard) -> list[str]:
    """In which order the training, the last page and the server end."""
    ended: list[str] = []
    dashboard.live.pages.add(page := watch.Live(dashboard.live.runs.folder, warn=print))  # pyright: ignore
    server = asyncio.create_task(watch.end_after(training.pid, dashboard.live, lambda: ended.append("server")))
    await asyncio.sleep(0.3)
    ended.append("training")
    training.communicate(b"\n")
    await asyncio.sleep(0.4)
    ended.append("page")
    dashboard.live.pages.discard(page)  # pyright: ignore
    await asyncio.wait_for(server, PATIENCE)
    return ended


def test_the_dashboard_beside_a_training_is_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(watch, "START_SECONDS", PATIENCE)
    said: list[str] = []
    address = watch.start_beside(tmp_path / "runs", open_browser=False, say=said.append)
    assert said == []
    assert address
    found = [each for each in psutil.Process().children() if "watch" in each.cmdline()]
    assert len(found) == 1
    try:
        assert os.getsid(found[0].pid) == found[0].pid  # a Ctrl-C for the training is not for it
        assert found[0].nice() == min(psutil.Process().nice() + 5, 19)
        with opened(address) as client:
            assert client.get("/api/runs").json() == {"folder": str(tmp_path / "runs"), "runs": []}
    finally:
        found[0].kill()
        psutil.wait_procs(found)


def test_a_dashboard_that_does_not_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    (tmp_path / "file").touch()
    assert watch.start_beside(tmp_path / "file" / "runs", open_browser=False, say=said.append) is None
    assert "no dashboard: Not a directory; the training goes on; start it with: convscope watch" in said[0]
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'first line' >&2\necho 'convscope: no port left' >&2\nexit 2\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    assert watch.start_beside(tmp_path, open_browser=False, say=said.append) is None
    assert said[1].startswith("no dashboard: convscope: no port left; the training goes on")
    failing.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(watch, "START_SECONDS", 0.2)
    assert watch.start_beside(tmp_path, open_browser=False, say=said.append) is None
    assert said[2].startswith("no dashboard: it did not say its address")
    assert json.dumps(said)
