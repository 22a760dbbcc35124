"""The explorer: the page that opens a network, and what it may ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convscope.errors import ConvscopeError
from convscope.types import Network, Say
from convscope.web.answers import as_json, tell_bug, tell_error, tell_http_error
from convscope.web.explorer.answers import Desk, tell_given_up
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.channel_routes import ChannelRoutes
from convscope.web.explorer.classes import Classes
from convscope.web.explorer.doorway import Front
from convscope.web.explorer.ending import GivenUp
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.image_routes import ImageRoutes
from convscope.web.explorer.looks import Looks
from convscope.web.explorer.stream import Stream
from convscope.web.explorer.uploads import Refused, tell_refused

PING_SECONDS = 5


class Explorer:
    """The app that shows one network; its routes name layers, channels, classes and images, and never files."""

    def __init__(self, explored: Explored, network: Network, *, warn: Say) -> None:
        self._explored = explored
        self._stream = Stream()
        self._desk = Desk(explored, network, self._stream)
        self._behind = Behind(explored, network, self._stream, warn=warn)
        self._looks = Looks(explored)
        classes = Classes(explored, self._behind)
        self._images = ImageRoutes(self._desk, self._looks, classes)
        channels = ChannelRoutes(self._desk, self._behind, classes, self._stream)
        self.app = Starlette(
            routes=[
                *Front().routes,
                Route("/api/network", self.send_network),
                Route("/api/stream", self.send_stream),
                *self._images.routes,
                *channels.routes,
            ],
            lifespan=self._compute,
            exception_handlers={
                Refused: tell_refused,
                GivenUp: tell_given_up,
                ConvscopeError: tell_error,
                HTTPException: tell_http_error,
                Exception: tell_bug,
            },
        )
        self.app.router.redirect_slashes = False

    @asynccontextmanager
    async def _compute(self, app: Starlette) -> AsyncGenerator[None]:
        """Compute as long as the server runs."""
        self.start()
        yield
        self.close()

    def start(self) -> None:
        """Begin to compute, in the server's loop."""
        self._stream.open()
        self._desk.prepare(self._looks.prepare, self._looks.prepare_questions)
        self._behind.start()

    def close(self) -> None:
        """End the streams, and give up what is computed."""
        self._stream.close()
        self._desk.close()
        self._behind.close()
        self._images.close()

    def join(self) -> None:
        """Wait until nothing is computed any more, once it is closed."""
        self._desk.join()
        self._behind.join()

    async def send_network(self, request: Request) -> Response:
        """The network, its layers, and how good it is."""
        return as_json(self._explored.description)

    async def send_stream(self, request: Request) -> Response:
        """What is computed meanwhile, as server-sent events."""
        return EventSourceResponse(self._stream.messages(), ping=PING_SECONDS, sep="\n")
