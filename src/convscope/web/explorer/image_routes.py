"""What the explorer's page may ask about images."""

from __future__ import annotations

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convscope.methods.attributions import HOWS
from convscope.methods.needs import slug
from convscope.relu_rules import Rule
from convscope.types import Network
from convscope.web.answers import Missing, as_json, whole_number
from convscope.web.explorer.answers import Desk, drawn_answer, picture_answer, read_rule
from convscope.web.explorer.classes import Classes
from convscope.web.explorer.looks import Drawn, Looks
from convscope.web.explorer.pictures import draw_heat, draw_sheet, encode_png, told, whole_png
from convscope.web.explorer.uploads import Uploads

MOST_TILES = 4096
MOST_IMAGES = 1000


class ImageRoutes:
    """Images by id, and what is computed of each."""

    def __init__(self, desk: Desk, looks: Looks, classes: Classes) -> None:
        self._desk = desk
        self._explored = desk.explored
        self._looks = looks
        self._classes = classes
        self._uploads = Uploads(desk.explored.gallery.side)
        image = "/api/images/{image}"
        unit, whole = "/units/{layer}/{channel:number}/{y:number},{x:number}", "/channels/{layer}/{channel:number}"
        self.routes = [
            Route("/api/images", self.browse),
            Route("/api/images", self.take, methods=["POST"]),
            Route(image + ".png", self.send_image),
            Route(image, self.describe),
            Route(image + "/maps/{layer}.png", self.send_sheet),
            Route(image + "/maps/{layer}", self.tell_maps),
            *(Route(image + which + ".png", self.send_unit) for which in (unit, whole)),
            *(Route(image + which, self.tell_unit) for which in (unit, whole)),
            Route(image + "/attributions/{how}.png", self.send_attribution),
            Route(image + "/attributions/{how}", self.tell_attribution),
            Route(image + "/decisive", self.send_decisive),
        ]

    def close(self) -> None:
        """End the process that decodes uploads."""
        self._uploads.close()

    async def browse(self, request: Request) -> Response:
        """Some of the images of a split."""
        gallery = self._explored.gallery
        split = request.query_params.get("split", gallery.splits[0])
        gallery.count(split)
        target = self._desk.target(request)
        mistakes = request.query_params.get("mistakes", "0") not in ("", "0")
        offset = whole_number(request, "offset", 0, range(10**9))
        count = whole_number(request, "count", 60, range(1, MOST_IMAGES + 1))

        def find() -> object:
            return self._classes.browse(split, target=target, mistakes=mistakes, offset=offset, count=count)

        return as_json(await self._desk.find(find))

    async def take(self, request: Request) -> Response:
        """Keep an image that a person brings."""
        pixels = await self._uploads.take(request)
        return as_json({"id": self._explored.gallery.add(pixels.transpose(2, 0, 1))}, status=201)

    async def send_image(self, request: Request) -> Response:
        """An image as the network takes it."""
        image = request.path_params["image"]

        def draw() -> bytes:
            pixels = self._explored.gallery.pixels(image).mul(255).round().byte()
            return encode_png(np.ascontiguousarray(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()))

        return picture_answer(request, await self._desk.find(draw), image)

    async def describe(self, request: Request) -> Response:
        """What the network says of an image."""
        image = request.path_params["image"]
        return as_json(await self._desk.click(request, lambda network: self._looks.describe(network, image)))

    async def tell_maps(self, request: Request) -> Response:
        """How large a layer's maps of an image are."""
        image, layer = request.path_params["image"], self._desk.layer(request)
        maps = await self._desk.click(request, lambda network: self._looks.maps(network, image, layer))
        return as_json(
            {
                "channels": maps.shape[0],
                "height": maps.shape[1],
                "width": maps.shape[2],
                "signed": bool((maps < 0).any()),
                "command": self._explored.command("maps", layer=layer, image=self._explored.gallery.argument(image)),
            }
        )

    async def send_sheet(self, request: Request) -> Response:
        """A layer's maps of an image, side by side."""
        image, layer = request.path_params["image"], self._desk.layer(request)
        columns = whole_number(request, "columns", 8, range(1, MOST_TILES + 1))
        first = whole_number(request, "first", 0, range(self._explored.by_name[layer]["channels"]))
        count = whole_number(request, "count", 64, range(1, MOST_TILES + 1))

        def draw(network: Network) -> bytes:
            return encode_png(draw_sheet(self._looks.maps(network, image, layer), first, count, columns))

        data = await self._desk.click(request, draw)
        return picture_answer(request, data, f"maps-{slug(layer)}-{image}")

    async def send_unit(self, request: Request) -> Response:
        """What of an image one unit, or a whole channel, answers to."""
        image, layer, channel, at, rule = which = self._unit(request)
        named = "-".join([rule, slug(layer, channel), *map(str, at or ()), image])
        unit = await self._desk.click(request, lambda network: self._looks.unit(network, *which))
        if "download" not in request.query_params:
            return picture_answer(request, unit.png, named)
        whole = await self._desk.click(request, lambda network: self._looks.whole_unit(network, *which))
        return picture_answer(request, await self._desk.find(lambda: whole_png(whole, unit.command)), named)

    async def tell_unit(self, request: Request) -> Response:
        """The same in numbers."""
        which = self._unit(request)
        unit = await self._desk.click(request, lambda network: self._looks.unit(network, *which))
        return as_json({name: getattr(unit, name) for name in ("value", "dark", "caption", "command")})

    def _unit(self, request: Request) -> tuple[str, str, int, tuple[int, int] | None, Rule]:
        """The image, layer, channel, position and rule that the address names. Raises Missing and UsageError."""
        values = request.path_params
        layer, channel = self._desk.layer_and_channel(request)
        at = (values["y"], values["x"]) if "y" in values else None
        return values["image"], layer, channel, at, read_rule(request, "deconvnet")

    async def send_attribution(self, request: Request) -> Response:
        """Which pixels speak for a class, to lay over the image."""
        drawn = await self._draw_attribution(request)
        name = f"{drawn.picture.name}-{request.path_params['image']}"
        if "download" in request.query_params:
            return await drawn_answer(self._desk, request, drawn, name=name)
        return picture_answer(request, await self._desk.find(lambda: encode_png(draw_heat(drawn.picture))), name)

    async def tell_attribution(self, request: Request) -> Response:
        """The same in numbers."""
        drawn = await self._draw_attribution(request)
        return as_json(told(drawn.picture, drawn.command))

    async def _draw_attribution(self, request: Request) -> Drawn:
        """The attribution that the address names. Raises Missing and UsageError."""
        image, how = request.path_params["image"], request.path_params["how"]
        if how not in HOWS:
            raise Missing(f'no method "{how[:30]}"; allowed: {", ".join(HOWS)}')
        target = self._desk.target(request)
        return await self._desk.ask(request, lambda network: self._looks.attribution(network, image, how, target))

    async def send_decisive(self, request: Request) -> Response:
        """The channels whose removal changes the answer most."""
        image, target = request.path_params["image"], self._desk.target(request)
        tell = self._desk.telling(f"what decides {self._explored.gallery.name(image)}")
        return as_json(
            await self._desk.ask(request, lambda network: self._looks.decisive(network, image, target, tell))
        )
