"""A server of convscope's own in a process of its own, asked as a browser asks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

Fetch = Callable[[str], bytes]


@contextmanager
def serving(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The process of `convscope watch …` or `explore …`, and its address once it has said it."""
    command = [sys.executable, "-m", "convscope", *arguments, "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("url: "):
                raise SystemExit(f"no address from: convscope {' '.join(arguments)}")
            yield process, line.removeprefix("url: ").strip()
        finally:
            process.terminate()


@contextmanager
def page(address: str) -> Generator[Fetch]:
    """What fetches paths, once it has the cookie that the address's token gives."""
    where = urlsplit(address)
    connection = HTTPConnection(where.netloc, timeout=60)
    connection.request("GET", f"/?{where.query}")
    answer = connection.getresponse()
    answer.read()
    cookie = (answer.getheader("set-cookie") or "").partition(";")[0]

    def fetch(path: str) -> bytes:
        connection.request("GET", path, headers={"cookie": cookie})
        got = connection.getresponse()
        body = got.read()
        if got.status != 200:
            raise SystemExit(f"{path} answers {got.status}: {body[:200]!r}")
        return body

    try:
        yield fetch
    finally:
        connection.close()
