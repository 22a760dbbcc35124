"""The dashboard: the page that watches the runs of a folder, and what it may ask for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from convscope.errors import ConvscopeError, UsageError
from convscope.training.log_parts import AXES
from convscope.training.log_table import write_csv
from convscope.types import Say
from convscope.web.answers import (
    EVERYWHERE,
    Missing,
    as_json,
    as_png,
    number,
    tell_bug,
    tell_error,
    tell_http_error,
    whole_number,
)
from convscope.web.dashboard.film_answers import (
    FilmScales,
    describe_film,
    describe_frame,
    draw_filters,
    draw_maps,
    draw_probe,
)
from convscope.web.dashboard.live import Live
from convscope.web.dashboard.run_answers import answer_series, find_confusion, open_log
from convscope.web.dashboard.run_list import WatchedRun
from convscope.web.server import HERE, answer_asset, asset_table

Value = TypeVar("Value")

PING_SECONDS = 5
POINTS = range(10, 20_001)
"""How many points of each column a page may ask for."""

STEPS = range(10**15)


class Dashboard:
    """The app that shows the runs of a folder to any number of pages."""

    def __init__(self, folder: Path, *, warn: Say) -> None:
        self.live = Live(folder, warn=warn)
        self._scales = FilmScales()
        self._one_at_a_time = CapacityLimiter(1)  # what takes memory and processor time, which training needs too
        self._assets = asset_table("dashboard", "shared")
        pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
        self._page = pages.get_template("dashboard.html.j2").render()
        self.app = Starlette(
            routes=[
                Route("/", self.show_page),
                Route("/assets/{name:path}", self.send_asset),
                Route("/api/runs", self.send_runs),
                Route("/api/stream", self.send_stream),
                Route("/api/runs/{run}/series", self.send_series),
                Route("/api/runs/{run}/confusion", self.send_confusion),
                Route("/api/runs/{run}/numbers.csv", self.send_numbers),
                Route("/api/runs/{run}/film", self.send_film),
                Route("/api/runs/{run}/film/{step:number}", self.send_frame),
                Route("/api/runs/{run}/film/{step:number}/filters.png", self.send_filters),
                Route("/api/runs/{run}/film/{step:number}/maps.png", self.send_maps),
                Route("/api/runs/{run}/probes/{number:number}.png", self.send_probe),
            ],
            lifespan=self._follow,
            exception_handlers={ConvscopeError: tell_error, HTTPException: tell_http_error, Exception: tell_bug},
        )
        self.app.router.redirect_slashes = False

    @asynccontextmanager
    async def _follow(self, app: Starlette) -> AsyncGenerator[None]:
        """Follow the runs as long as the server runs."""
        following = asyncio.create_task(self.live.follow())
        yield
        self.live.close()
        following.cancel()

    async def show_page(self, request: Request) -> Response:
        """The page itself, which asks for all the rest."""
        return HTMLResponse(self._page)

    async def send_asset(self, request: Request) -> Response:
        """One of the page's files."""
        return answer_asset(self._assets, request)

    async def send_runs(self, request: Request) -> Response:
        """The list of runs."""
        await self.live.refresh()
        return Response(self.live.described, media_type="application/json")

    async def send_stream(self, request: Request) -> Response:
        """What is new, as server-sent events, from where the page was when it was cut off."""
        last_id = request.headers.get("last-event-id", "")
        return EventSourceResponse(self.live.stream(last_id), ping=PING_SECONDS, sep="\n")

    async def send_series(self, request: Request) -> Response:
        """A run's curves, thinned."""
        run = await self._find(request)
        axis = request.query_params.get("axis", "step")
        if axis not in AXES:
            raise UsageError(f'axis "{axis[:30]}"; allowed: {", ".join(AXES)}')
        points = whole_number(request, "points", 1500, POINTS)
        low, high = number(request, "from", -EVERYWHERE), number(request, "to", EVERYWHERE)
        await self.live.caught_up(run)
        answer = await self._work(lambda: answer_series(run, axis, points, low, high))
        return Response(answer, media_type="application/json")

    async def send_confusion(self, request: Request) -> Response:
        """What was taken for what at a step."""
        run = await self._find(request)
        step = whole_number(request, "step", STEPS[-1], STEPS)
        await self.live.caught_up(run)
        return as_json(await self._work(lambda: find_confusion(run, step)))

    async def send_numbers(self, request: Request) -> Response:
        """A run's numbers, all of them, as a file."""
        run = await self._find(request)
        name = re.sub(r"[^\w.-]+", "-", run.path.name, flags=re.ASCII)[:80]
        headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
        return StreamingResponse(write_csv(open_log(run)), media_type="text/csv", headers=headers)

    async def send_film(self, request: Request) -> Response:
        """The frames of a run's film."""
        run = await self._find(request)
        await self.live.caught_up(run)
        return as_json(await self._work(lambda: describe_film(run, self._scales)))

    async def send_frame(self, request: Request) -> Response:
        """What was measured at a frame."""
        run = await self._find(request)
        return as_json(await self._work(lambda: describe_frame(run, request.path_params["step"])))

    async def send_filters(self, request: Request) -> Response:
        """The filters at a frame."""
        run = await self._find(request)
        return as_png(await self._work(lambda: draw_filters(run, request.path_params["step"], self._scales)))

    async def send_maps(self, request: Request) -> Response:
        """A layer's maps of a probe image at a frame."""
        run = await self._find(request)
        layer, probe = request.query_params.get("layer", ""), whole_number(request, "probe", 0, range(10**6))
        step = request.path_params["step"]
        return as_png(await self._work(lambda: draw_maps(run, step, layer, probe, self._scales)))

    async def send_probe(self, request: Request) -> Response:
        """A probe image."""
        run = await self._find(request)
        return as_png(await self._work(lambda: draw_probe(run, request.path_params["number"])))

    async def _work(self, work: Callable[[], Value]) -> Value:
        """Do what takes a while beside the server, one after the other."""
        return await run_sync(work, limiter=self._one_at_a_time)

    async def _find(self, request: Request) -> WatchedRun:
        """The run that the address names. Raises Missing."""
        key, known = request.path_params["run"], self.live.runs
        if key not in known.runs:
            await self.live.refresh()
        if key in known.runs:
            return known.runs[key]
        name = known.gone.get(key)
        raise Missing(f'the folder of the run "{name}" is gone' if name else "there is no such run in this folder")
