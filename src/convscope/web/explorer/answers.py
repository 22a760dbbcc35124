"""What the explorer's routes share: lanes to compute in, what addresses name, pictures as answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from convscope.errors import UsageError
from convscope.relu_rules import RULES, Rule
from convscope.types import Network, Progress
from convscope.web.answers import as_json, whole_number
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.looks import Drawn
from convscope.web.explorer.pictures import bare_png, whole_png
from convscope.web.explorer.stream import Stream
from convscope.web.explorer.work import Lane
from convscope.web.guard import refuse

Value = TypeVar("Value")


class Desk:
    """Takes what pages ask for to the thread that computes it."""

    def __init__(self, explored: Explored, network: Network, stream: Stream) -> None:
        self.explored = explored
        self._stream = stream
        self._clicks = Lane(network, name="clicks")
        self._asked = Lane(network, name="asked")

    async def click(self, request: Request, work: Callable[[Network], Value]) -> Value:
        """What is wanted at once."""
        return await self._clicks.do(work, gone=request.is_disconnected)

    async def ask(self, request: Request, work: Callable[[Network], Value]) -> Value:
        """What may take seconds, beside what is wanted at once."""
        return await self._asked.do(work, gone=request.is_disconnected)

    async def find(self, work: Callable[[], Value]) -> Value:
        """What takes no network, and so need not wait for what does."""
        return await run_sync(work)

    def telling(self, what: str) -> Progress:
        """What `ask` gives to long work: pages see how far it is, and what is asked meanwhile is done in between."""

        def tell(_: str, done: int, total: int | None) -> None:
            self._stream.progress(what, done, total)
            self._asked.catch_up()

        return tell

    def prepare(self, click: Callable[[Network], object], question: Callable[[Network], object]) -> None:
        """Do these before the first click and the first question."""
        self._clicks.put(click)
        self._asked.put(question)

    async def order(self, work: Callable[[Network], object], *, patience: float = 0.0) -> None:
        """What is to be found, though the answer waits for it no longer than so many seconds."""
        found = asyncio.wrap_future(self._asked.put(work))
        found.add_done_callback(lambda done: done.cancelled() or done.exception())  # the page asks again, or not
        await asyncio.wait({found}, timeout=patience)

    def close(self) -> None:
        """Take nothing more, and give up what is being done."""
        self._clicks.close()
        self._asked.close()

    def join(self) -> None:
        """Wait until the threads have ended."""
        self._clicks.join()
        self._asked.join()

    def layer(self, request: Request) -> str:
        """The layer that the address names. Raises Missing."""
        return self.explored.layer(request.path_params["layer"])

    def layer_and_channel(self, request: Request) -> tuple[str, int]:
        """The layer and channel that the address names. Raises Missing."""
        layer = self.layer(request)
        return layer, self.explored.channel(layer, request.path_params["channel"])

    def target(self, request: Request) -> int | None:
        """The class that the address names; None where it names none. Raises UsageError."""
        if "class" not in request.query_params:
            return None
        return whole_number(request, "class", 0, range(max(1, len(self.explored.class_names))))


def read_rule(request: Request, default: Rule) -> Rule:
    """The rule that the address names. Raises UsageError."""
    rule = request.query_params.get("rule", default)
    if rule not in RULES:
        raise UsageError(f'no rule "{rule[:30]}"; allowed: {", ".join(RULES)}')
    return rule


def waiting() -> Response:
    """The answer where a picture is not drawn yet; the page is told when it is."""
    return as_json({"waiting": True}, status=202)


async def tell_given_up(request: Request, error: Exception) -> Response:
    """The answer to what is not computed, though nothing is wrong with it."""
    return refuse(str(error), status=503)


async def drawn_answer(desk: Desk, request: Request, drawn: Drawn, *, name: str = "") -> Response:
    """A tile for the page, or the whole picture with captions to keep."""

    def paint() -> bytes:
        if "download" in request.query_params:
            return whole_png(drawn.picture, drawn.command)
        return bare_png(drawn.picture, [drawn.tile])

    return picture_answer(request, await desk.find(paint), name or drawn.picture.name)


def picture_answer(request: Request, data: bytes, name: str, *, kind: str = "png") -> Response:
    """A picture with a name to keep it under."""
    kept = "attachment" if "download" in request.query_params else "inline"
    safe = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:100]
    headers = {"content-disposition": f'{kept}; filename="{safe}.{kind}"'}
    return Response(data, media_type=f"image/{kind}", headers=headers)
