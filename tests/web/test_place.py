"""Other machines reach a live page only where a person asked for it twice, and is told what that means."""

from __future__ import annotations

import socket
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest

from convscope.errors import UsageError
from convscope.web.dashboard.routes import Dashboard
from convscope.web.place import HOME, find_place
from convscope.web.server import serve
from tests.patience import PATIENCE


@pytest.mark.parametrize("host", [None, "localhost", "LOCALHOST"])
def test_without_a_word_it_is_this_machine_alone(host: str | None):
    assert find_place(host, expose=False) == find_place(host, expose=True) == HOME
    assert HOME.at(80) == ("127.0.0.1", 80)
    assert not HOME.is_open


@pytest.mark.parametrize(
    ("host", "names"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "[::1]"), ("[::1]", "[::1]")]
)
def test_its_own_addresses_need_no_permission(host: str, names: str):
    place = find_place(host, expose=False)
    assert (place.names, place.is_open) == ((names,), False)


@pytest.mark.parametrize("host", ["192.0.2.7", "10.0.0.1", "example.org", "2001:db8::1", "::ffff:192.0.2.7"])
def test_others_need_it(host: str):
    with pytest.raises(UsageError, match="lets other machines ask for the pages, and nothing that is sent is encr"):
        find_place(host, expose=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0"])
def test_every_address_at_once_is_refused(host: str):
    with pytest.raises(UsageError, match="stands for every address; allowed: the one"):
        find_place(host, expose=True)


@pytest.mark.parametrize("host", ["", " ", "a b", "evil.com/", "a@b", "x:80", "-a", "a\nb", "é", "a" * 300, "<b>"])
def test_what_is_no_host_is_told(host: str):
    with pytest.raises(UsageError, match="no host"):
        find_place(host, expose=True)


def own_address() -> str:
    """An address by which other machines know this one."""
    for each in psutil.net_if_addrs().values():
        for found in each:
            if found.family == socket.AF_INET and not found.address.startswith("127."):
                return found.address
    pytest.skip("this machine has no address but its own")


def test_an_exposed_server_answers_to_that_name_alone_and_warns(tmp_path: Path):
    host, said, warned = own_address(), Queue[Any](), list[str]()
    dashboard = Dashboard(tmp_path, warn=print)
    given = {
        "port": 0, "open_browser": False, "say": said.put, "on_start": said.put, "host": host, "expose": True,
        "close_streams": dashboard.live.close, "warn": warned.append,
    }  # fmt: skip
    thread = Thread(target=serve, args=[dashboard.app], kwargs=given)
    thread.start()
    address, stop = said.get(timeout=PATIENCE), said.get(timeout=PATIENCE)
    try:
        where = address.partition("/?")[0]
        port = int(where.rpartition(":")[2])
        assert where == f"http://{host}:{port}"
        assert warned == [
            f"warning: other machines can reach {where}, and the connection is not encrypted: "
            "whoever listens on the way sees the token and every page"
        ]
        with httpx.Client(base_url=where, timeout=PATIENCE, trust_env=False) as client:
            assert client.get("/api/runs").status_code == 403  # without the token
            assert client.get(address).status_code == 303
            assert client.get("/api/runs").status_code == 200
            for other in (f"127.0.0.1:{port}", f"localhost:{port}", host, "evil.com", f"evil.com:{port}"):
                assert client.get("/api/runs", headers={"host": other}).status_code == 403, other
            assert client.get("/api/runs", headers={"origin": "http://evil.com"}).status_code == 403
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE)
    finally:
        stop()
        thread.join(PATIENCE)
