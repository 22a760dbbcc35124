"""The server of the live pages: for one person on this machine, and gone within seconds when it is told to."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from convscope.errors import UsageError
from convscope.types import Say, say_nothing
from convscope.web.guard import Guard, read_secret
from convscope.web.place import HOME, Place, find_place, warning

HERE = Path(__file__).parent
DEFAULT_PORT = 8765
PORTS_TRIED = 100

REQUEST_SECONDS = 10.0
"""A connection has so long to say what it wants."""

STALL_SECONDS = 15.0
"""A client that reads nothing for so long is cut off."""

CLOSING_SECONDS = 2
"""Connections have so long to close when the server ends."""

CONNECTIONS = 1000

MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}


def serve(
    app: ASGIApp,
    *,
    port: int | None,
    open_browser: bool,
    say: Say,
    close_streams: Callable[[], None],
    on_start: Callable[[Callable[[], None]], None] = lambda stop: None,
    posts: Collection[str] = (),
    host: str | None = None,
    expose: bool = False,
    warn: Say = say_nothing,
) -> None:
    """Serve the app until Ctrl-C or SIGTERM, or until `stop`, which `on_start` is handed, is called.

    It answers on 127.0.0.1, or on another `host` instead, which needs `expose` where other machines reach it; `warn`
    is then told so. `port` None is DEFAULT_PORT or the next that is free, 0 any that is free. `say` is called with
    the address, the token in it, once the server answers; `close_streams` when it is to end. A page may post to the
    paths `posts`. Raises UsageError where the port is taken, and for hosts that `place.find_place` refuses.
    """
    place = find_place(host, expose=expose)
    listener = listen(port, place)
    number = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    guarded = Guard(app, port=number, token=token, secret=read_secret(), posts=posts, hosts=place.names)
    config = uvicorn.Config(
        guarded,
        http=ImpatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # what is asked, tokens among it, stands in no log
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    address = f"http://{place.names[0]}:{number}/?token={token}"

    def started(stop: Callable[[], None]) -> None:
        if place.is_open:
            warn(warning(address))
        say(address)
        if open_browser and has_screen():
            Thread(target=webbrowser.open, args=[address], daemon=True).start()
        on_start(stop)

    with listener:
        EndingServer(config, close_streams, started).run(sockets=[listener])


def has_screen() -> bool:
    """Whether a browser can be shown; where not, Python would open one that draws in the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def listen(port: int | None, place: Place = HOME) -> socket.socket:
    """A socket of the place that listens at the port. Raises UsageError where it is taken."""
    tried = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED), 0]
    reason = ""
    for number in tried:
        # Only of a socket whose protocol is named does asyncio know that small answers are to be sent at once.
        listener = socket.socket(place.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name != "nt":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place.at(number))
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            listener.close()
            reason = str(error)
        else:
            return listener
    raise UsageError(
        f"port {port} cannot be had: {reason}; allowed: one from 1024 to 65535, or 0 for any that is free"
    )


class EndingServer(uvicorn.Server):
    """Ends its streams before it waits for its connections, and takes a signal as its normal end."""

    def __init__(
        self,
        config: uvicorn.Config,
        close_streams: Callable[[], None],
        started: Callable[[Callable[[], None]], None],
    ) -> None:
        super().__init__(config)
        self._close_streams = close_streams
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._tell_started(self.stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then what uvicorn does."""
        self._close_streams()
        await super().shutdown(sockets=sockets)

    def stop(self) -> None:
        """Ask the server to end."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal as the server's normal end, not raised again as uvicorn does; the second does not wait."""
        self.force_exit = self.should_exit
        self.should_exit = True


class ImpatientProtocol(H11Protocol):
    """HTTP for clients that ask in time and read what they asked for; others are cut off."""

    _asked: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._asked = self.loop.call_later(REQUEST_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Wait no longer once a request is whole; a later one has as long from its first byte on."""
        if self._asked is None:
            self._asked = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:
            self._asked = _cancelled(self._asked)

    def pause_writing(self) -> None:
        """The client reads slower than we write, or not at all."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stalled = _cancelled(self._stalled)

    def shutdown(self) -> None:
        """Close; what waits for a stalled client is dropped."""
        if self.flow.write_paused:
            self.transport.abort()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._asked, self._stalled = _cancelled(self._asked), _cancelled(self._stalled)
        super().connection_lost(exc)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer:
        timer.cancel()


def asset_table(*folders: str) -> dict[str, Path]:
    """The files that /assets/ may serve, by name: the package's own in those folders, and plotly's JavaScript.

    >>> asset_table("dashboard")["plotly.js"].name
    'plotly.min.js'
    """
    plotly = find_spec("plotly")
    assert plotly is not None, "plotly is a dependency"
    table = {"plotly.js": Path(str(plotly.origin)).parent / "package_data" / "plotly.min.js"}
    for folder in folders:
        for path in sorted((HERE / "assets" / folder).iterdir()):
            if path.suffix in MEDIA_TYPES:
                table[f"{folder}/{path.name}"] = path
    return table


def answer_asset(table: Mapping[str, Path], request: Request) -> Response:
    """The file of the table that the address names; 404 for any other."""
    path = table.get(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    answer = FileResponse(path, media_type=MEDIA_TYPES[path.suffix], stat_result=path.stat())
    answer.headers["cache-control"] = "no-cache"  # asked for again, but not sent again
    if request.headers.get("if-none-match") == answer.headers["etag"]:
        return Response(status_code=304, headers={"etag": answer.headers["etag"], "cache-control": "no-cache"})
    return answer
