"""The explorer's door: the page is there at once; what it asks is answered when the network has been opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from convscope.errors import ConvscopeError
from convscope.web.answers import as_json, tell_http_error
from convscope.web.explorer.ending import ENDS, JOIN_SECONDS, Closed, interrupt
from convscope.web.guard import refuse
from convscope.web.server import HERE, answer_asset, asset_table

if TYPE_CHECKING:
    from convscope.web.explorer.routes import Explorer

POSTS = ("/api/images",)
"""Where a page may post to."""


class Front:
    """The page itself, its files and what is known early, for which no network is needed."""

    def __init__(self, describe_early: Callable[[], dict[str, Any]] = dict) -> None:
        self._describe_early = describe_early
        self._assets = asset_table("explorer", "shared")
        pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
        self._page = pages.get_template("explorer.html.j2").render()
        self.routes = [
            Route("/", self.show_page),
            Route("/assets/{name:path}", self.send_asset),
            Route("/api/early", self.send_early),
        ]

    async def show_page(self, request: Request) -> Response:
        """The page itself, which asks for all the rest."""
        return HTMLResponse(self._page)

    async def send_asset(self, request: Request) -> Response:
        """One of the page's files."""
        return answer_asset(self._assets, request)

    async def send_early(self, request: Request) -> Response:
        """What is known of the network before it is open; empty where nothing is, and afterwards."""
        return as_json(await run_sync(self._describe_early))


class Doorway:
    """An app that shows the page while an explorer is being opened in a thread, since importing torch takes seconds.

    Until then the page shows what `describe_early` tells, and all else that it asks waits. Where opening fails, it is
    refused with the reason, what `on_failure` was given is called, and `join` raises the error.
    """

    def __init__(
        self, open_explorer: Callable[[], Explorer], describe_early: Callable[[], dict[str, Any]] = dict
    ) -> None:
        self._open_explorer = open_explorer
        self._front = Starlette(
            routes=Front(describe_early).routes,
            lifespan=self._begin,
            exception_handlers={HTTPException: tell_http_error},
        )
        self._front.router.redirect_slashes = False
        self._thread = Thread(target=self._open, name="explorer opening", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._decided = asyncio.Event()  # it is open, or never will be
        self._explorer: Explorer | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._give_up: Callable[[], None] = lambda: None

    def on_failure(self, call: Callable[[], None]) -> None:
        """Call this where the explorer cannot be opened, also where that is known already."""
        self._give_up = call
        if self._decided.is_set() and self._error is not None:
            call()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or wait until it can be answered."""
        if scope["type"] == "lifespan" or (not self._decided.is_set() and _needs_no_network(scope["path"])):
            await self._front(scope, receive, send)
            return
        await self._decided.wait()
        if self._explorer is not None:
            await self._explorer.app(scope, receive, send)
        else:
            why = str(self._error) if isinstance(self._error, ConvscopeError) else "see the terminal"
            said = ENDS if self._error is None else f"the network could not be opened: {why}"
            await refuse(said, status=503)(scope, receive, send)

    def close(self) -> None:
        """Answer nothing more, and give up what is being done."""
        if self._closed:
            return
        self._closed = True
        self._decided.set()
        if self._explorer is not None:
            self._explorer.close()
        elif self._error is None and self._thread.is_alive():
            interrupt(self._thread)

    def join(self) -> None:
        """Wait until nothing is done any more, once it is closed. Raises what opening raised."""
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)
        if self._error is not None:
            raise self._error
        if self._explorer is not None:
            self._explorer.close()  # it may have been opened since
            self._explorer.join()

    @asynccontextmanager
    async def _begin(self, app: Starlette) -> AsyncGenerator[None]:
        """Open the explorer as soon as the server runs."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        yield
        self.close()

    def _open(self) -> None:
        """What the thread does."""
        with suppress(Closed):
            try:
                self._explorer = self._open_explorer()
            except BaseException as error:  # whoever waits must be told, whatever it is
                self._error = None if self._closed else error
            if self._loop is not None:
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._decide)

    def _decide(self) -> None:
        """Let in who waits, in the server's loop."""
        if self._explorer is not None and not self._closed:
            self._explorer.start()
        self._decided.set()
        if self._error is not None:
            self._give_up()


def _needs_no_network(path: str) -> bool:
    """Whether this is the page, one of its files, or what is known early.

    >>> _needs_no_network("/"), _needs_no_network("/assets/explorer/main.js"), _needs_no_network("/api/network")
    (True, True, False)
    """
    return path in ("/", "/api/early") or path.startswith("/assets/")
