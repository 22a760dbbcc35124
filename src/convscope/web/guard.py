"""Who may ask: only pages of this server, opened by the person who started it. Everything else is refused."""

from __future__ import annotations

import hmac
import os
import secrets
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs

from platformdirs import user_state_dir
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convscope.web.place import HOME

COOKIE_SECONDS = 30 * 24 * 3600
"""As long a page that was opened once goes on by itself."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

OPENED = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/"><title>convscope</title>'
"""For a person who comes from another site: a redirect would still count as that site's, and get no cookie."""


class Guard:
    """Lets requests through to an app, or answers 403: nothing is allowed that is not allowed here.

    A request needs a Host that is this server's own address; no Origin, or the same; and the cookie that the
    address with the token gave. The token is of this start; the cookie outlives it, so that an open page goes on.
    Besides reading, a page may post to the paths `posts`, and must say its Origin.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        port: int,
        token: str,
        secret: bytes,
        posts: Collection[str] = (),
        hosts: Collection[str] = HOME.names,
    ) -> None:
        self._app = app
        self._posts = frozenset(posts)
        self._hosts = {f"{name}:{port}" for name in hosts}
        self._token = token
        self._cookie = f"convscope-{port}"  # an address's ports share their cookies
        self._sign: Callable[[str], str] = lambda text: hmac.digest(secret, f"{port} {text}".encode(), "sha256").hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._judge(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _judge(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let through."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return refuse("this server answers only to its own address")
        if origins and origins != [f"http://{hosts[0]}"]:
            return refuse("another site's page may not ask this server")
        navigating = headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not navigating:
            return refuse("another site's page may not ask this server")
        if scope["path"] == "/" and (token := _token(scope)) is not None:
            return self._open(headers, token)
        if not self._knows(headers):
            return refuse("open the address that convscope printed, with its token")
        if scope["method"] == "POST" and scope["path"] in self._posts:
            return None if origins else refuse("a page says where it is from when it posts")
        if scope["method"] not in ("GET", "HEAD"):
            return refuse("this server only shows: GET", status=405)
        return None

    def _open(self, headers: Headers, token: str) -> Response:
        """The answer to the address with a token: the page's own, without it, and a cookie."""
        right = hmac.compare_digest(token.encode(), self._token.encode())
        if not right and not self._knows(headers):
            return refuse("this token is not of this start: open the address that convscope printed last")
        from_elsewhere = headers.get("sec-fetch-site") in ("same-site", "cross-site")
        answer = Response(OPENED, media_type="text/html") if from_elsewhere else RedirectResponse("/", 303)
        if right:
            issued = str(int(time.time()))
            value = f"{issued}.{self._sign(issued)}"
            answer.set_cookie(self._cookie, value, max_age=COOKIE_SECONDS, httponly=True, samesite="strict")
        return answer

    def _knows(self, headers: Headers) -> bool:
        """Whether the request brings a cookie that this server, or an earlier one at this port, has given."""
        pairs = (pair.strip().partition("=") for line in headers.getlist("cookie") for pair in line.split(";"))
        return any(self._is_ours(value) for name, _, value in pairs if name == self._cookie)

    def _is_ours(self, value: str) -> bool:
        """Whether the cookie bears our signature, and is not too old."""
        issued, _, signature = value.partition(".")
        signed = hmac.compare_digest(signature.encode(), self._sign(issued).encode())
        return signed and time.time() - int(issued) <= COOKIE_SECONDS


def refuse(message: str, *, status: int = 403) -> Response:
    """An error as the page reads it."""
    return JSONResponse({"error": message.encode("utf-8", "replace").decode()}, status)


def _token(scope: Scope) -> str | None:
    """The token in the address, where there is one."""
    try:
        return parse_qs(scope["query_string"].decode("ascii"), keep_blank_values=True).get("token", [None])[0]
    except ValueError:
        return None


def read_secret(folder: Path | None = None) -> bytes:
    """The secret of this user, with which cookies are signed: 32 bytes in a file that only the user can read.

    Where there is none, or others could read it, a new one is written; where that fails, it lives as long as the
    process.
    """
    folder = folder or Path(user_state_dir("convscope", appauthor=False))
    path = folder / "web-secret"
    with suppress(OSError):
        private = os.name == "nt" or not path.stat().st_mode & 0o077
        if private and len(found := path.read_bytes()) == 32:
            return found
    secret = secrets.token_bytes(32)
    temporary = folder / f".web-secret.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
    return secret
