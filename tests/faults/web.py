"""Strangers, paths that lead out, slow and stalled clients, and five hundred open streams, at the live pages."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Generator, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import psutil
from starlette.applications import Starlette

from convscope.web import guard
from convscope.web.dashboard.routes import Dashboard
from convscope.web.server import REQUEST_SECONDS
from tests.faults.harness import Tally, complaints, until
from tests.patience import PATIENCE
from tests.web.served import START, append, opened, port_of, serving, serving_app, train_event, write_run
from tests.web.strangers import FOREIGN_HOSTS, FOREIGN_ORIGINS, HOST, PORT, TOKEN, ask, cookie
from tests.web.tiny_explorer import POSTS, tiny_explorer

SECRET = "what-no-path-may-show"
"""It stands in files beside those that the pages may show."""

SLOW, STALLED, STREAMS = 200, 50, 500
STREAM_SECONDS = 20.0
POINTS_A_SECOND = 10


class App(NamedTuple):
    """One of the live pages."""

    name: str
    app: Starlette
    posts: Collection[str]


@contextlib.contextmanager
def apps(folder: Path) -> Generator[list[App]]:
    """The dashboard of a run, and the explorer of a tiny network, with a secret beside each."""
    write_run(folder / "runs" / "one", [START, train_event(10)])
    for place in ("secret.txt", "runs/secret.txt", "runs/one/secret.txt", "runs-secret/secret.txt"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(SECRET)
    with mock.patch.object(guard, "user_state_dir", return_value=str(folder / "state")):
        explorer = tiny_explorer(folder / "store")
        dashboard = Dashboard(folder / "runs", warn=lambda text: None)
        try:
            yield [App("dashboard", dashboard.app, ()), App("explorer", explorer.app, POSTS)]
        finally:
            explorer.close()


def addresses(app: Starlette) -> list[tuple[str, str]]:
    """A method and an address for every route that there is, and one for none."""
    found = [("GET", "/nothing")]
    for route in app.routes:
        path = re.sub(r"\{name:path\}", "plotly.js", route.path)  # pyright: ignore
        method = "POST" if "POST" in (route.methods or ()) else "GET"  # pyright: ignore
        found.append((method, re.sub(r"\{[^}]+\}", "0", path)))
    return found


def strangers(page: App, *, every: int = 1) -> Iterator[tuple[str, int]]:
    """Ask for every route as one who may not, or as every n-th of them: who asked for what, and the status."""
    known = {**cookie(page.app), "origin": f"http://{HOST['host']}"}
    asked = [({**known, "host": host}, f"Host {host!r}") for host in FOREIGN_HOSTS]
    asked += [({**known, "origin": origin}, f"Origin {origin!r}") for origin in FOREIGN_ORIGINS]
    asked += [({**known, "sec-fetch-site": site}, f"site {site}") for site in ("cross-site", "same-site", "odd")]
    asked += [
        ({**HOST, **more}, f"no token, {more}")
        for more in (
            {},
            {"origin": known["origin"]},
            {"cookie": f"convscope-{PORT}=1.0"},
            {"cookie": f"token={TOKEN}"},
        )
    ]
    trials = [(method, path, headers, who) for method, path in addresses(page.app) for headers, who in asked]
    for method, path, headers, who in trials[::every]:
        answer = ask(page.app, path, headers, method=method, posts=page.posts)
        yield f"{page.name}: {who} for {method} {path}", answer.status_code


PIECES = (
    "..", "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", "%252e%252e%252f", "..%c0%af", "..;/",
    "%00", "/", "//", "%2f", "./", "~", "secret.txt", "etc/passwd", "/etc/passwd", "C:\\", "file:///", "runs", "one",
    "runs-secret", "plotly.js", "dashboard", "explorer", "shared", "main.js", "checkpoints", "run.json", "guard.py",
    "%ff", "?", "#", "api", "assets", "a" * 300, "\xe2\x80\xae", "index.html", ".git/config", "proc/self/environ",
)  # fmt: skip
PLACES = (
    "/{}", "/assets/{}", "/assets/dashboard/{}", "/api/{}", "/api/runs/{}", "/api/runs/{}/series",
    "/api/runs/{}/film/0", "/api/layers/{}", "/api/layers/{}/channels/0", "/api/images/{}", "/api/images/{}.png",
)  # fmt: skip
GIVEN_AWAY = (SECRET.encode(), b"root:x:0", b"from __future__", b"XDG_STATE_HOME=", b"Traceback (most recent")


def attack(dice: random.Random) -> str:
    """A path that may lead out."""
    text = "".join(dice.choices(PIECES, k=dice.randint(1, 6)))
    return dice.choice(PLACES).format(text) if dice.random() < 0.95 else f"http://127.0.0.1/{text}"


def attacks(address: str, *, count: int, dice: random.Random) -> Iterator[tuple[str, str]]:
    """Send so many to a real server, byte for byte: each with what went wrong."""
    with opened(address) as client:
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        connection = HTTPConnection("127.0.0.1", port_of(address), timeout=PATIENCE)
        connection._validate_path = lambda url: None  # pyright: ignore - what it would refuse is to be sent as well
        connection._encode_request = lambda text: text.encode("latin-1")  # pyright: ignore
        for _ in range(count):
            path = attack(dice)
            try:
                connection.request("GET", path, headers={"Cookie": cookies})
                answer = connection.getresponse()
                if answer.getheader("content-type", "").startswith("text/event-stream"):
                    connection.close()
                    yield path, ""
                    continue
                said, status = answer.read(), answer.status
            except (HTTPException, OSError) as error:
                connection.close()
                yield path, f"{type(error).__name__}: {error}"
                continue
            shown = [each for each in GIVEN_AWAY if each in said]
            yield path, complaints((not shown, f"shows {shown}"), (status < 500, f"status {status}: {said[:200]!r}"))
        connection.close()


@contextlib.contextmanager
def watching(folder: Path) -> Generator[tuple[psutil.Process, str]]:
    """`convscope watch` of a folder as a process, and its address."""
    command = [sys.executable, "-m", "convscope", "watch", str(folder), "--port", "0", "--no-open"]
    environment = os.environ | {"XDG_STATE_HOME": str(folder.parent / "state-of-watch")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as started:
        assert started.stdout
        try:
            yield psutil.Process(started.pid), started.stdout.readline().removeprefix("url: ").strip()
        finally:
            started.terminate()
            started.communicate(timeout=PATIENCE)


def request(address: str, path: str) -> bytes:
    """The bytes with which a page asks."""
    with opened(address) as client:
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port_of(address)}\r\nCookie: {cookies}\r\n\r\n".encode()


def slow_clients(folder: Path, tally: Tally) -> None:
    """Clients that never finish asking, and clients that never read, while another asks for the runs."""
    run = write_run(folder / "slow" / "one", [START, *(train_event(10 * step) for step in range(2000))])
    with watching(run.parent) as (process, address), opened(address) as client:
        port, stream = port_of(address), request(address, "/api/stream")
        before, seconds = process.memory_info().rss, []
        slow = [_connect(port, b"GET / HTTP/1.1\r\nHos") for _ in range(SLOW)]
        stalled = [_connect(port, stream, small=True) for _ in range(STALLED)]
        began = time.monotonic()
        while time.monotonic() - began < REQUEST_SECONDS + 3:
            asked = time.monotonic()
            fine = client.get("/api/runs").status_code == 200
            seconds.append(time.monotonic() - asked)
            tally.count("another page is answered beside them", "" if fine else "not answered")
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.send(b"t")
            append(run, [train_event(30_000 + 10 * len(seconds))])
            time.sleep(0.2)
        for connection in slow:
            tally.count("who never finishes asking is cut off", "" if _is_closed(connection) else "still open")
        grown = process.memory_info().rss - before
        tally.count("memory stays below 100 MB more", "" if grown < 100e6 else f"{grown / 1e6:.0f} MB")
        for connection in (*slow, *stalled):
            connection.close()
        ordered = sorted(seconds)
        tally.remarks.append(
            f"beside {SLOW} slow and {STALLED} stalled clients memory grew by {grown / 1e6:.0f} MB; a request took "
            f"{1000 * ordered[len(ordered) * 95 // 100]:.0f} ms in 95 % of {len(ordered)}"
        )


def many_streams(folder: Path, tally: Tally) -> None:
    """Five hundred pages listen to a training; what that costs the server in seconds of a core."""
    run = write_run(folder / "many" / "one", [START, train_event(10)])
    with watching(run.parent) as (process, address):
        port, asked = port_of(address), request(address, "/api/stream")
        pages = [_connect(port, asked) for _ in range(STREAMS)]
        heard = dict.fromkeys(pages, b"")
        listening = until(lambda: _hear(heard) or all(b"\nid: " in each for each in heard.values()))
        tally.count(f"{STREAMS} streams are open", "" if listening else "some were not answered")
        before, began, step = process.cpu_times(), time.monotonic(), 20
        while time.monotonic() - began < STREAM_SECONDS:
            append(run, [train_event(step)])
            step += 10
            _hear(heard)
            time.sleep(1 / POINTS_A_SECOND)
        passed, after = time.monotonic() - began, process.cpu_times()
        last = f'"step":[{float(step - 10)}'.encode()
        last_alone = f"{float(step - 10)}]".encode()
        until(lambda: _hear(heard) or all(last in each or last_alone in each for each in heard.values()), seconds=20)
        for data in heard.values():
            tally.count("each hears the last point", "" if last in data or last_alone in data else "did not")
        used = after.user + after.system - before.user - before.system
        share = used / passed / (os.cpu_count() or 1)
        tally.count("it takes less than 2 % of the machine", "" if share < 0.02 else f"{100 * share:.1f} %")
        for page in pages:
            page.close()
        each = 1e6 * used / STREAMS / (step / 10 - 2)
        tally.remarks.append(
            f"{STREAMS} streams at {POINTS_A_SECOND} points a second took the server {used:.2f} s of a core in "
            f"{passed:.0f} s: {100 * share:.1f} % of {os.cpu_count()} cores, {each:.0f} µs a stream and point"
        )


def _connect(port: int, data: bytes, *, small: bool = False) -> socket.socket:
    connection = socket.socket()
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", port))
    connection.sendall(data)
    return connection


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed."""
    connection.settimeout(2)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def _hear(heard: dict[socket.socket, bytes]) -> None:
    """Read what has come, and remember the end of it."""
    poll = select.poll()
    numbers = {page.fileno(): page for page in heard}
    for number in numbers:
        poll.register(number, select.POLLIN)
    for number, _ in poll.poll(0):
        page = numbers[number]
        heard[page] = (heard[page] + page.recv(65536))[-6000:]


def soak(folder: Path, *, count: int = 10_000, seed: int = 0) -> Tally:
    """Strangers at every route, so many paths, slow clients, and many streams."""
    tally, dice = Tally("the live pages"), random.Random(seed)
    with apps(folder) as pages:
        for page in pages:
            for who, status in strangers(page):
                tally.count("strangers get 403", "" if status == 403 else f"{who}: {status}")
        explorer = tiny_explorer(folder / "attacked")
        with serving(folder / "runs") as dashboard, serving_app(explorer.app, explorer.close, posts=POSTS) as other:
            for address in (dashboard, other):
                for path, fault in attacks(address, count=count // 2, dice=dice):
                    tally.count("paths that lead nowhere", f"{path!r}: {fault}" if fault else "")
        explorer.join()
    slow_clients(folder, tally)
    many_streams(folder, tally)
    return tally
