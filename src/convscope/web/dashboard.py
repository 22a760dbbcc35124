"""The dashboard: the page that watches the runs of a folder, and what it asks for."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from convscope.errors import ConvscopeError, UsageError
from convscope.web.film_answers import (
    FilmScales,
    Missing,
    describe_film,
    describe_frame,
    draw_filters,
    draw_maps,
    draw_probe,
)
from convscope.web.live import JSON, Live
from convscope.web.run_list import WatchedRun
from convscope.web.run_log import AXES, MEASURED, read_rows
from convscope.web.guard import refuse
from convscope.web.server import HERE, answer_asset, asset_table
from convscope.web.thinning import thin_rows

PING_SECONDS = 5
POINTS = range(10, 20_001)
"""How many points of each column a page may ask for."""


def make_dashboard(folder: Path) -> tuple[Starlette, Live]:
    """The app that shows the runs of a folder, and what follows them."""
    live = Live(folder)
    scales = FilmScales()
    assets = asset_table("dashboard")
    pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    page = pages.get_template("dashboard.html.j2").render()

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page)

    async def send_asset(request: Request) -> Response:
        return answer_asset(assets, request)

    async def list_runs(request: Request) -> Response:
        await live.refresh()
        return Response(live.described, media_type="application/json")

    async def send_stream(request: Request) -> Response:
        last_id = request.headers.get("last-event-id", "")
        return EventSourceResponse(live.stream(last_id), ping=PING_SECONDS, sep="\n")

    async def send_series(request: Request) -> Response:
        run = await find(request)
        query = request.query_params
        points = whole_number(query.get("points", "1500"), "points", POINTS)
        axis = query.get("axis", "step")
        if axis not in AXES:
            raise UsageError(f'axis "{axis}"; allowed: {", ".join(AXES)}')
        low, high = number(query.get("from"), "from", -1e300), number(query.get("to"), "to", 1e300)
        await live.caught_up(run)
        return as_json(await run_in_threadpool(series, run, axis, points=points, low=low, high=high))

    async def send_confusion(request: Request) -> Response:
        run = await find(request)
        step = whole_number(request.query_params.get("step", "999999999999"), "step", range(10**15))
        await live.caught_up(run)
        return as_json(await run_in_threadpool(confusion, run, step))

    async def send_numbers(request: Request) -> Response:
        run = await find(request)
        name = re.sub(r"[^\w.-]+", "-", run.path.name, flags=re.ASCII)[:80] or "run"
        headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
        return StreamingResponse(numbers_csv(run.log.path), media_type="text/csv", headers=headers)

    async def send_film(request: Request) -> Response:
        run = await find(request)
        await live.caught_up(run)
        return as_json(await run_in_threadpool(describe_film, run, scales))

    async def send_frame(request: Request) -> Response:
        return as_json(await run_in_threadpool(describe_frame, await find(request), request.path_params["step"]))

    async def send_filters(request: Request) -> Response:
        run = await find(request)
        return as_png(await run_in_threadpool(draw_filters, run, request.path_params["step"], scales))

    async def send_maps(request: Request) -> Response:
        run, query = await find(request), request.query_params
        probe = whole_number(query.get("probe", "0"), "probe", range(10**6))
        layer = query.get("layer", "")
        return as_png(await run_in_threadpool(draw_maps, run, request.path_params["step"], layer, probe, scales))

    async def send_probe(request: Request) -> Response:
        return as_png(await run_in_threadpool(draw_probe, await find(request), request.path_params["number"]))

    async def find(request: Request) -> WatchedRun:
        """The run that the address names. Raises Missing."""
        key = request.path_params["run"]
        if not live.runs.runs:
            await live.refresh()
        if key in live.runs.runs:
            return live.runs.runs[key]
        if key in live.runs.gone:
            raise Missing(f"the run {live.runs.gone[key]} is gone: its folder was deleted or moved")
        raise Missing("no such run in this folder")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(live.follow())
        yield
        live.close()
        following.cancel()

    routes = [
        Route("/", show_page),
        Route("/assets/{name:path}", send_asset),
        Route("/api/runs", list_runs),
        Route("/api/stream", send_stream),
        Route("/api/runs/{run}/series", send_series),
        Route("/api/runs/{run}/confusion", send_confusion),
        Route("/api/runs/{run}/numbers.csv", send_numbers),
        Route("/api/runs/{run}/film", send_film),
        Route("/api/runs/{run}/film/{step:int}", send_frame),
        Route("/api/runs/{run}/film/{step:int}/filters.png", send_filters),
        Route("/api/runs/{run}/film/{step:int}/maps.png", send_maps),
        Route("/api/runs/{run}/probes/{number:int}.png", send_probe),
    ]
    handlers: dict[Any, Any] = {ConvscopeError: tell_error, HTTPException: tell_http_error, Exception: tell_bug}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers), live


def series(run: WatchedRun, axis: str, *, points: int, low: float, high: float) -> dict[str, Any]:
    """The run's numbers, thinned to about so many points a column."""
    generation, position, columns = run.log.snapshot()
    answer: dict[str, Any] = {"generation": generation, "position": position, "total": len(columns["train"]["step"])}
    for kind, names in MEASURED.items():
        found = columns[kind]
        rows = thin_rows(found[axis], {name: found[name] for name in names}, points=points, low=low, high=high)
        answer[kind] = {name: values[rows] for name, values in found.items()}
    return answer


def confusion(run: WatchedRun, step: int) -> dict[str, Any]:
    """The confusion matrix of the newest evaluation at or before a step. Raises Missing."""
    for at, matrix in run.log.confusions(step):
        if matrix is not None:
            return {"step": at, "matrix": matrix}
    raise Missing(f"no confusion matrix at or before step {step}")


def numbers_csv(log: Path) -> Iterator[str]:
    """All "train" and "eval" events as CSV, a part at a time."""
    columns = ("kind", "step", "time")
    measured = ("epoch", "phase", *MEASURED["train"], *MEASURED["eval"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*columns, *measured))
    for rows in read_rows(log):
        for row in rows:
            if row["kind"] in MEASURED:
                values = (row["data"].get(name) for name in measured)
                shown = (value if isinstance(value, int | float) else None for value in values)
                writer.writerow([*(row[name] for name in columns), *shown])
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def whole_number(text: str, name: str, allowed: range) -> int:
    """A whole number of the address. Raises UsageError."""
    if text.isascii() and text.isdecimal() and len(text) < 19 and int(text) in allowed:
        return int(text)
    raise UsageError(f'{name} "{text[:30]}"; allowed: a whole number from {allowed[0]} to {allowed[-1]}')


def number(text: str | None, name: str, default: float) -> float:
    """A number of the address. Raises UsageError."""
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if value != value:
        raise UsageError(f'{name} "{str(text)[:30]}"; allowed: a number')
    return value


def as_json(values: Any) -> Response:
    """An answer as JSON; NaN becomes null."""
    return Response(orjson.dumps(values, option=JSON), media_type="application/json")


def as_png(data: bytes) -> Response:
    """An answer as PNG."""
    return Response(data, media_type="image/png")


async def tell_error(request: Request, error: Exception) -> Response:
    """An error that was foreseen."""
    return refuse(str(error), status=404 if isinstance(error, Missing) else 400)


async def tell_http_error(request: Request, error: Exception) -> Response:
    """An address or a method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refuse("no such address" if status == 404 else "this server only shows: GET", status=status)


async def tell_bug(request: Request, error: Exception) -> Response:
    """An error that was not."""
    return refuse(f"unforeseen {type(error).__name__}; please report it", status=500)
