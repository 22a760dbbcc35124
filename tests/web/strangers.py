"""Who may not ask a live page's server, and how a test asks it without one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import httpx

from convscope.web.guard import Guard

PORT, TOKEN, SECRET = 8765, "right", b"s" * 32
HOST = {"host": f"127.0.0.1:{PORT}"}


def ask(
    app: Any,
    path: str,
    headers: Any = HOST,
    *,
    method: str = "GET",
    port: int = PORT,
    secret: bytes = SECRET,
    posts: Collection[str] = (),
    content: bytes | None = None,
) -> httpx.Response:
    """The answer of the guarded app, without a server."""

    async def request() -> httpx.Response:
        guarded = Guard(app, port=port, token=TOKEN, secret=secret, posts=posts)
        transport = httpx.ASGITransport(guarded, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://nowhere") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(request())


def cookie(app: Any, *, port: int = PORT, secret: bytes = SECRET) -> dict[str, str]:
    """The headers of somebody who has opened the address with the token."""
    host = {"host": f"127.0.0.1:{port}"}
    given = ask(app, f"/?token={TOKEN}", host, port=port, secret=secret).headers["set-cookie"]
    return {**host, "cookie": given.partition(";")[0]}


FOREIGN_HOSTS = [
    "", "evil.com", "127.0.0.1", "localhost", "127.0.0.1:80", "127.0.0.1:8766", "localhost.evil.com:8765",
    "evil.com:8765", "127.0.0.1.evil.com:8765", "127.0.0.1:8765.evil.com", "127.0.0.1:8765@evil.com",
    "0.0.0.0:8765", "[::1]:8765", "127.1:8765", "2130706433:8765", "0x7f000001:8765", "LOCALHOST:8765",
    "127.0.0.1:08765", "127.0.0.1 :8765", "localhost:8765,evil.com", "localhost:8765/", "xn--localhost:8765",
]  # fmt: skip
FOREIGN_ORIGINS = [
    "null", "", "http://evil.com", "https://127.0.0.1:8765", "http://127.0.0.1", "http://127.0.0.1:8766",
    "http://localhost:8765", "http://127.0.0.1:8765.evil.com", "http://127.0.0.1:8765/",
    "http://127.0.0.1:8765, null", "file://", "http://127.0.0.1:8765@evil.com", "HTTP://127.0.0.1:8765", "chrome-extension://abc",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "WHATEVER"]
