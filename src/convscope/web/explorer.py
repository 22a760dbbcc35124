"""The explorer: the page that opens a network, and what it may ask for."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from convscope.errors import ConvscopeError, UsageError
from convscope.methods.attributions import HOWS, How
from convscope.methods.needs import slug
from convscope.relu_rules import RULES, Rule
from convscope.types import Network
from convscope.web.answers import as_json, tell_bug, tell_error, tell_http_error, whole_number
from convscope.web.explored import Explored
from convscope.web.explorer_looks import Drawn, Looks
from convscope.web.explorer_pictures import bare_png, draw_heat, draw_sheet, encode_png, told, whole_png
from convscope.web.explorer_work import Lane
from convscope.web.run_answers import Missing
from convscope.web.server import HERE, answer_asset, asset_table
from convscope.web.uploads import Refused, Uploads, tell_refused

Value = TypeVar("Value")

MOST_TILES = 4096


class Explorer:
    """The app that shows one network."""

    def __init__(self, explored: Explored, network: Network) -> None:
        self._explored = explored
        self._looks = Looks(explored)
        self._clicks = Lane(network, name="clicks")
        self._asked = Lane(network, name="asked")
        self._uploads = Uploads(explored.gallery.side)
        self._assets = asset_table("explorer", "shared")
        pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
        self._page = pages.get_template("explorer.html.j2").render()
        image = "/api/images/{image}"
        unit, whole = "/units/{layer}/{channel:number}/{y:number},{x:number}", "/channels/{layer}/{channel:number}"
        self.app = Starlette(
            routes=[
                Route("/", self.show_page),
                Route("/assets/{name:path}", self.send_asset),
                Route("/api/network", self.send_network),
                Route("/api/images", self.send_images, methods=["GET"]),
                Route("/api/images", self.take_image, methods=["POST"]),
                Route(image + ".png", self.send_image),
                Route(image, self.send_description),
                Route(image + "/maps/{layer}.png", self.send_sheet),
                Route(image + "/maps/{layer}", self.send_maps),
                *(Route(image + which + ".png", self.send_unit) for which in (unit, whole)),
                *(Route(image + which, self.tell_unit) for which in (unit, whole)),
                Route(image + "/attributions/{how}.png", self.send_attribution),
                Route(image + "/attributions/{how}", self.tell_attribution),
                Route(image + "/decisive", self.send_decisive),
            ],
            lifespan=self._live,
            exception_handlers={
                Refused: tell_refused,
                ConvscopeError: tell_error,
                HTTPException: tell_http_error,
                Exception: tell_bug,
            },
        )
        self.app.router.redirect_slashes = False

    @asynccontextmanager
    async def _live(self, app: Starlette) -> AsyncGenerator[None]:
        yield
        self.close()

    def close(self) -> None:
        """End what is computed, and the streams."""
        self._clicks.close()
        self._asked.close()
        self._uploads.close()

    async def show_page(self, request: Request) -> Response:
        """The page itself, which asks for all the rest."""
        return HTMLResponse(self._page)

    async def send_asset(self, request: Request) -> Response:
        """One of the page's files."""
        return answer_asset(self._assets, request)

    async def send_network(self, request: Request) -> Response:
        """The network, its layers, and what it is said to be good for."""
        return as_json(self._explored.describe())

    async def send_images(self, request: Request) -> Response:
        """Some of the images of a split."""
        gallery = self._explored.gallery
        split = request.query_params.get("split", gallery.splits[0])
        total = gallery.count(split)
        offset = whole_number(request, "offset", 0, range(10**9))
        count = whole_number(request, "count", 60, range(1, 1001))
        ids = gallery.ids(split, range(min(offset, total), min(offset + count, total)))
        images = [{"id": each, "label": gallery.label(each), "predicted": None, "probability": None} for each in ids]
        return as_json({"total": total, "images": images})

    async def take_image(self, request: Request) -> Response:
        """Keep an image that a person brings."""
        pixels = await self._uploads.take(request)
        return as_json({"id": self._explored.gallery.add(pixels.transpose(2, 0, 1))}, status=201)

    async def send_image(self, request: Request) -> Response:
        """An image as the network takes it."""
        image = request.path_params["image"]

        def draw(network: Network) -> bytes:
            pixels = self._explored.gallery.pixels(image).mul(255).round().byte()
            return encode_png(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())

        return picture_answer(request, await self._click(request, draw), image)

    async def send_description(self, request: Request) -> Response:
        """What the network says of an image."""
        image = request.path_params["image"]
        return as_json(await self._click(request, lambda network: self._looks.describe(network, image)))

    async def send_maps(self, request: Request) -> Response:
        """How large a layer's maps of an image are."""
        image, layer = self._image_and_layer(request)
        maps = await self._click(request, lambda network: self._looks.maps(network, image, layer))
        command = self._explored.command("maps", layer=layer, image=self._explored.gallery.argument(image))
        channels, height, width = maps.shape
        peak = abs(maps).max(axis=(1, 2))
        return as_json(
            {"channels": channels, "height": height, "width": width, "peak": float(peak.max()), "peaks": peak}
            | {"signed": bool((maps < 0).any()), "command": command}
        )

    async def send_sheet(self, request: Request) -> Response:
        """A layer's maps of an image, side by side."""
        image, layer = self._image_and_layer(request)
        columns = whole_number(request, "columns", 8, range(1, MOST_TILES + 1))
        first = whole_number(request, "first", 0, range(self._explored.by_name[layer]["channels"]))
        count = whole_number(request, "count", 64, range(1, MOST_TILES + 1))

        def draw(network: Network) -> bytes:
            return encode_png(draw_sheet(self._looks.maps(network, image, layer), first, count, columns))

        return picture_answer(request, await self._click(request, draw), f"maps-{slug(layer)}-{image}")

    async def send_unit(self, request: Request) -> Response:
        """What of an image one unit, or a whole channel, answers to."""
        drawn = await self._draw_unit(request)
        return drawn_answer(request, drawn, request.path_params["image"])

    async def tell_unit(self, request: Request) -> Response:
        """The same in numbers."""
        drawn = await self._draw_unit(request)
        numbers = drawn.picture.numbers
        value = numbers.get("value", numbers["maximum"])[0]
        dark = bool(numbers["dark_channels"])
        return as_json({"value": value, "dark": dark, **told(drawn.picture, drawn.command)})

    async def _draw_unit(self, request: Request) -> Drawn:
        image, layer = self._image_and_layer(request)
        values = request.path_params
        channel = self._explored.channel(layer, values["channel"])
        at = (values["y"], values["x"]) if "y" in values else None
        rule = request.query_params.get("rule", "deconvnet")
        if rule not in RULES:
            raise UsageError(f'no rule "{rule[:30]}"; allowed: {", ".join(RULES)}')
        return await self._click(
            request, lambda network: self._looks.unit(network, image, layer, channel, at, cast("Rule", rule))
        )

    async def send_attribution(self, request: Request) -> Response:
        """Which pixels speak for a class, to lay over the image."""
        drawn = await self._draw_attribution(request)
        if "download" in request.query_params:
            return drawn_answer(request, drawn, request.path_params["image"])
        return picture_answer(request, encode_png(draw_heat(drawn.picture)), drawn.picture.name)

    async def tell_attribution(self, request: Request) -> Response:
        """The same in numbers."""
        drawn = await self._draw_attribution(request)
        return as_json(told(drawn.picture, drawn.command))

    async def _draw_attribution(self, request: Request) -> Drawn:
        image, how = request.path_params["image"], request.path_params["how"]
        if how not in HOWS:
            raise Missing(f'no method "{how[:30]}"; allowed: {", ".join(HOWS)}')
        target = self._target(request)
        return await self._ask(
            request, lambda network: self._looks.attribution(network, image, cast("How", how), target)
        )

    async def send_decisive(self, request: Request) -> Response:
        """The channels whose removal changes the answer most."""
        image, target = request.path_params["image"], self._target(request)
        return as_json(await self._ask(request, lambda network: self._looks.decisive(network, image, target)))

    def _image_and_layer(self, request: Request) -> tuple[str, str]:
        return request.path_params["image"], self._explored.layer(request.path_params["layer"])

    def _target(self, request: Request) -> int | None:
        """The class that the address names; None for the predicted one."""
        if "class" not in request.query_params:
            return None
        return whole_number(request, "class", 0, range(max(1, len(self._explored.class_names))))

    async def _click(self, request: Request, work: Callable[[Network], Value]) -> Value:
        """What is wanted at once."""
        return await self._clicks.do(work, gone=request.is_disconnected)

    async def _ask(self, request: Request, work: Callable[[Network], Value]) -> Value:
        """What may take seconds, beside what is wanted at once."""
        return await self._asked.do(work, gone=request.is_disconnected)


def drawn_answer(request: Request, drawn: Drawn, image: str) -> Response:
    """A tile for the page, or the whole picture with captions to keep."""
    download = "download" in request.query_params
    data = whole_png(drawn.picture, drawn.command) if download else bare_png(drawn.picture, [drawn.tile])
    return picture_answer(request, data, f"{drawn.picture.name}-{image}")


def picture_answer(request: Request, data: bytes, name: str) -> Response:
    """A PNG with a name to keep it under."""
    kept = "attachment" if "download" in request.query_params else "inline"
    safe = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:100]
    headers = {"content-disposition": f'{kept}; filename="{safe}.png"'}
    return Response(data, media_type="image/png", headers=headers)
