"""What the explorer's page may ask about layers, channels and classes."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convscope.methods.needs import slug
from convscope.paint import png_bytes
from convscope.types import Network
from convscope.web.answers import as_json
from convscope.web.explorer.answers import Desk, drawn_answer, picture_answer, read_rule, waiting
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.channels import Channels
from convscope.web.explorer.classes import Classes
from convscope.web.explorer.films import Films
from convscope.web.explorer.looks import Drawn
from convscope.web.explorer.patterns import Patterns
from convscope.web.explorer.pictures import whole_png
from convscope.web.explorer.stream import Stream
from convscope.web.explorer.tops import TopImages

PATIENCE_SECONDS = 0.5
"""So long a channel's page waits for its connections."""


class ChannelRoutes:
    """Layers by name, their channels by number, and classes by number."""

    def __init__(self, desk: Desk, behind: Behind, classes: Classes, stream: Stream) -> None:
        self._desk = desk
        self._patterns = Patterns(desk.explored, behind)
        self._tops = TopImages(desk.explored, behind)
        self._films = Films(desk.explored, behind)
        self._channels = Channels(desk.explored, behind, self._patterns, self._tops, self._films)
        self._classes = classes
        self._stream = stream
        self._finding: set[int] = set()
        channel = "/api/layers/{layer}/channels/{channel:number}"
        self.routes = [
            Route("/api/layers/{layer}", self.tell_layer),
            Route(channel, self.tell_channel),
            Route(channel + "/pattern.png", self.send_pattern),
            Route(channel + "/filter.png", self.send_filter),
            Route(channel + "/top-image.png", self.send_top_image),
            Route(channel + "/top.png", self.send_top),
            Route(channel + "/variants.png", self.send_variants),
            Route(channel + "/film", self.tell_film),
            Route(channel + "/film.png", self.send_film_strip),
            Route(channel + "/film.webp", self.send_film),
            Route(channel + "/ablation", self.tell_ablation),
            Route("/api/classes/{target:number}", self.tell_class),
            Route("/api/classes/{target:number}/pattern.png", self.send_class_pattern),
        ]

    async def tell_layer(self, request: Request) -> Response:
        """A layer's table of channels."""
        layer = self._desk.layer(request)
        return as_json(await self._desk.click(request, lambda network: self._channels.table(network, layer)))

    async def tell_channel(self, request: Request) -> Response:
        """A channel's evidence; the page is told when connections that take long to find are there."""
        layer, channel = self._desk.layer_and_channel(request)
        if self._channels.links(layer, channel) is None:
            find = partial(self._find_links, layer=layer, channel=channel)
            await self._desk.order(find, patience=PATIENCE_SECONDS)
        return as_json(
            await self._desk.click(request, lambda network: self._channels.describe(network, layer, channel))
        )

    async def send_pattern(self, request: Request) -> Response:
        """A channel's maximized pattern."""
        return await self._send_pattern(request, *self._desk.layer_and_channel(request))

    async def _send_pattern(self, request: Request, layer: str, channel: int) -> Response:
        """The pattern as bare pixels, or whole where it is to be kept."""
        name = f"maximize-{slug(layer, channel)}"
        if "download" in request.query_params:
            drawn = await self._desk.click(request, lambda network: self._patterns.alone(network, layer, channel))
            return await drawn_answer(self._desk, request, drawn, name=name) if drawn else waiting()
        data = await self._desk.click(request, lambda network: self._patterns.png(network, layer, channel))
        return picture_answer(request, data, name) if data else waiting()

    async def send_filter(self, request: Request) -> Response:
        """A channel's filter."""
        layer, channel = self._desk.layer_and_channel(request)
        drawn = await self._desk.click(request, lambda network: self._channels.filter(network, layer, channel))
        return await drawn_answer(self._desk, request, drawn)

    async def send_top_image(self, request: Request) -> Response:
        """The patch that excites a channel most."""
        layer, channel = self._desk.layer_and_channel(request)
        data = await self._desk.click(request, lambda network: self._tops.patch_png(network, layer, channel))
        return picture_answer(request, data, f"top-image-{slug(layer, channel)}") if data else waiting()

    async def send_top(self, request: Request) -> Response:
        """The nine patches that excite a channel most, and what of each carried the signal."""
        layer, channel = self._desk.layer_and_channel(request)
        rule = read_rule(request, "guided")
        if not self._tops.are_found(layer):
            return waiting()
        tell = self._desk.telling(f"top images of {layer} {channel}")
        drawn = await self._desk.ask(request, lambda network: self._tops.picture(network, layer, channel, rule, tell))
        return await self._whole(request, drawn) if drawn else waiting()

    async def send_variants(self, request: Request) -> Response:
        """Patterns of a channel that are unlike each other."""
        layer, channel = self._desk.layer_and_channel(request)
        tell = self._desk.telling(f"variants of {layer} {channel}")
        return await self._whole(
            request,
            await self._desk.ask(request, lambda network: self._channels.variants(network, layer, channel, tell)),
        )

    async def tell_film(self, request: Request) -> Response:
        """When the frames of a channel's film were taken, and how many are drawn."""
        layer, channel = self._desk.layer_and_channel(request)
        return as_json(await self._desk.click(request, lambda network: self._films.tell(layer, channel)))

    async def send_film_strip(self, request: Request) -> Response:
        """How a channel formed: the frames side by side, drawn when they are asked for."""
        layer, channel = self._desk.layer_and_channel(request)
        data = await self._desk.ask(request, lambda network: self._films.strip(layer, channel))
        return picture_answer(request, data, f"film-{slug(layer, channel)}") if data else waiting()

    async def send_film(self, request: Request) -> Response:
        """The same as an animation to keep."""
        layer, channel = self._desk.layer_and_channel(request)
        data = await self._desk.ask(request, lambda network: self._films.animation(layer, channel))
        return picture_answer(request, data, f"film-{slug(layer, channel)}", kind="webp") if data else waiting()

    async def tell_ablation(self, request: Request) -> Response:
        """What the network loses without a channel."""
        layer, channel = self._desk.layer_and_channel(request)
        tell = self._desk.telling(f"ablation of {layer} {channel}")
        return as_json(
            await self._desk.ask(request, lambda network: self._channels.ablation(network, layer, channel, tell))
        )

    async def tell_class(self, request: Request) -> Response:
        """A class's images, and its channels where they are known; where not, they are looked for."""
        target = self._target(request)
        told = await self._desk.click(request, lambda network: self._classes.describe(network, target))
        sought = self._desk.explored.dataset is not None and told["for"] is None
        if sought and target not in self._finding:
            self._finding.add(target)
            await self._desk.order(lambda network: self._find(network, target))
        return as_json(told)

    def _find_links(self, network: Network, *, layer: str, channel: int) -> None:
        """Find a channel's connections, and say that they are there."""
        self._channels.find_links(network, layer, channel)
        self._stream.progress(f"connections of {layer} {channel}", 1, 1)

    def _find(self, network: Network, target: int) -> None:
        """Find a class's channels, and say that they are there."""
        try:
            self._classes.find_channels(network, target)
        finally:
            self._finding.discard(target)
        self._stream.progress(f"class {target}", 1, 1)

    async def send_class_pattern(self, request: Request) -> Response:
        """A class's maximized picture: that of its channel in the head."""
        target = self._target(request)
        return await self._send_pattern(request, self._classes.head(), target)

    def _target(self, request: Request) -> int:
        return self._desk.explored.target(request.path_params["target"])

    async def _whole(self, request: Request, drawn: Drawn) -> Response:
        """All of a picture with its captions, for which there is no page without them."""

        def paint() -> bytes:
            download = "download" in request.query_params
            return whole_png(drawn.picture, drawn.command) if download else png_bytes(drawn.picture)

        return picture_answer(request, await self._desk.find(paint), drawn.picture.name)
